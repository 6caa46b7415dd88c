// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Cache misses of the CPU where it has counters, and page faults: by thread and by place in the
 * code.
 *
 * Attached to: perf events, one for each CPU and source. An event bound to a process would cover
 *   one thread only, and would cost at each context switch.
 * Oldest kernel: 5.15 (pinned links of perf events). Reads no kernel struct: loads without BTF.
 * Cost: 0.3 us for each sample of any process; there is one in `period` events.
 * Missing: a virtual machine often has no counters (ENOENT). Then there is no number of CPU misses,
 *   and none of another kind under that name.
 *
 * Which counter a program stands for comes in the cookie of its link.
 */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <weir/trace_abi.h>

#include <stdbool.h>

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_miss_key);
	__type(value, struct weir_miss);
} cache_misses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_miss_site_key);
	__type(value, struct weir_miss);
} miss_sites SEC(".maps");

static __always_inline void add_miss(void *map, const void *key, __u64 period, __u64 addr)
{
	struct weir_miss *v = bpf_map_lookup_elem(map, key), fresh = {};

	if (!v) {
		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		v = get_or_add(map, key, &fresh);
	}
	if (!v)
		return;
	add(v->samples, 1);
	add(v->events, period);
	v->last_addr = addr;
}

SEC("perf_event")
int on_miss(struct bpf_perf_event_data *ctx)
{
	__u64 id = bpf_get_current_pid_tgid(), period, addr = 0;
	__u64 source = bpf_get_attach_cookie(ctx);
	bool fault = source == WEIR_MISS_FAULT_MAJOR || source == WEIR_MISS_FAULT_MINOR;
	struct weir_miss_key key = {id, source};
	struct weir_miss_site_key site = {0, source};
	const struct weir_trace_config *c;
	struct weir_trace_totals *t;

	if (id >> 32 != (__u32)target)
		return 0;
	c = switched_on(fault ? WEIR_TRACE_FAULTS : WEIR_TRACE_CPU_MISSES);
	t = sums();
	if (!c || !t)
		return 0;
	period = ctx->sample_period;
	/* For other events the field is what the last one left. */
	if (fault)
		addr = ctx->addr;
	add_miss(&cache_misses, &key, period, addr);
	if (source == WEIR_MISS_FAULT_MAJOR)
		add(t->major_faults, period);
	else if (source == WEIR_MISS_FAULT_MINOR)
		add(t->minor_faults, period);
	else
		add(t->cpu_misses, period);
	if (!(c->stacks & WEIR_TRACE_MISS_STACKS))
		return 0;
	site.stack_id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	add_miss(&miss_sites, &site, period, addr);
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
