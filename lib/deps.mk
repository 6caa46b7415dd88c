# SPDX-License-Identifier: MIT
# Which module calls which: the only statement of it. `make check-arrows` compares this with the includes and with
# the symbols of the objects. A module names all it uses directly, and only modules above its own line here.
deps_base :=
owner_key := base
deps_lock := base
owner_lock_trace := lock
deps_metrics := base lock
deps_knob := base lock
deps_topo := base lock
deps_weights := base
deps_pool := base lock
owner_pool_handle := pool
owner_pool_map := pool
owner_pool_share := pool
deps_io := base lock knob
deps_tier := base lock io
owner_tier_ops := tier
deps_policy := base
deps_predict := base
deps_prefetch := base predict
deps_cache := base lock knob pool tier policy predict prefetch
owner_cache_ahead := cache
owner_cache_rows := cache
deps_load := base lock weights pool io
deps_stream := base lock metrics knob weights pool io cache load
deps_trace := base lock metrics
owner_trace_abi := lock
owner_trace_symbol := trace
deps_ctx := base metrics knob topo pool io cache load stream
# Public headers of a module that has several.
owner_experts := stream
owner_rows := stream
owner_metrics_sample := metrics
owner_metrics_segment := metrics
owner_metrics_system := metrics
# weir bench lock and store measure modules themselves and weir replay the policies; every other tool uses public headers and base.
deps_tools := lock tier policy predict prefetch
