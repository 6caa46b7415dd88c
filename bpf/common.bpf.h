/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What every program shares: the maps that say what is traced and what came of it. The loader makes
 * each of them once and gives it to all objects; an object alone has its own.
 */
#ifndef WR_BPF_COMMON_H
#define WR_BPF_COMMON_H

#include <bpf/bpf_helpers.h>

/* The process as the kernel numbers it; set before loading. A section of its own: found by name. */
const volatile int target SEC(".rodata.target") = 0;

/* An array that readers map. */
#define ARRAY(name_, value_, nr_)                  \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);  \
		__uint(map_flags, BPF_F_MMAPABLE); \
		__uint(max_entries, nr_);          \
		__type(key, __u32);                \
		__type(value, value_);             \
	} name_ SEC(".maps")

ARRAY(meta, struct weir_trace_meta, 1);
ARRAY(config, struct weir_trace_config, 1);
ARRAY(totals, struct weir_trace_totals, 1);
ARRAY(events, struct weir_trace_event, WEIR_TRACE_EVENTS);

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 4096);
	__uint(key_size, 4);
	__uint(value_size, WEIR_TRACE_FRAMES * 8);
} stacks SEC(".maps");

/* Written by the loader, and kept here because they end with the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_TRACE_MODULES);
	__type(key, __u32);
	__type(value, struct weir_module);
} modules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct weir_addr_key);
	__type(value, struct weir_lock_name);
} lock_names SEC(".maps");

#define add(to, n) ((void)__sync_fetch_and_add(&(to), (n)))

/* Two CPUs at once may lose the greater of two new maxima; nothing else. */
static __always_inline void raise_to(__u64 *to, __u64 n)
{
	if (*to < n)
		*to = n;
}

/* Bucket i: from 2^(i-1) to below 2^i ns. */
static __always_inline __u32 bucket(__u64 ns)
{
	__u32 high = ns >> 32, low = ns, i = 0;

	if (high != 0)
		return WEIR_LOCK_BUCKETS - 1;
	if (low >= 1u << 16) {
		i += 16;
		low >>= 16;
	}
	if (low >= 1u << 8) {
		i += 8;
		low >>= 8;
	}
	if (low >= 1u << 4) {
		i += 4;
		low >>= 4;
	}
	if (low >= 1u << 2) {
		i += 2;
		low >>= 2;
	}
	if (low >= 2)
		i += 2;
	else
		i += low;
	return i < WEIR_LOCK_BUCKETS ? i : WEIR_LOCK_BUCKETS - 1;
}

static __always_inline struct weir_trace_totals *sums(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

/* The config when @part is switched on, or NULL. */
static __always_inline const struct weir_trace_config *switched_on(__u32 part)
{
	__u32 zero = 0;
	const struct weir_trace_config *c = bpf_map_lookup_elem(&config, &zero);

	return c && (c->enabled & part) ? c : NULL;
}

/* The same on a thread of the process that is traced, else NULL. */
static __always_inline const struct weir_trace_config *wanted(__u32 part)
{
	return bpf_get_current_pid_tgid() >> 32 == (__u32)target ? switched_on(part) : NULL;
}

static __always_inline void dropped(void)
{
	__u32 zero = 0;
	struct weir_trace_meta *m = bpf_map_lookup_elem(&meta, &zero);

	if (m)
		add(m->nr_dropped, 1);
}

/* The element of @key, which begins as @fresh; NULL: there is no room, and that is counted. */
static __always_inline void *get_or_add(void *map, const void *key, const void *fresh)
{
	void *v = bpf_map_lookup_elem(map, key);

	if (v)
		return v;
	bpf_map_update_elem(map, key, fresh, BPF_NOEXIST);
	v = bpf_map_lookup_elem(map, key);
	if (!v)
		dropped();
	return v;
}

/* Word @n of the saved registers of a program on a breakpoint. */
static __always_inline __u64 saved_word(const void *ctx, __u32 n)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (const char *)ctx + n * sizeof(value));
	return value;
}

/* The next place for an event, its sequence number to be written last. */
static __always_inline struct weir_trace_event *next_event(__u64 *ret_seq)
{
	struct weir_trace_totals *t = sums();
	struct weir_trace_event *e;
	__u32 at;

	if (!t)
		return NULL;
	*ret_seq = __sync_fetch_and_add(&t->events, 1) + 1;
	at = (*ret_seq - 1) % WEIR_TRACE_EVENTS;
	e = bpf_map_lookup_elem(&events, &at);
	if (e)
		*(volatile __u64 *)&e->seq = 0;
	return e;
}

/* Count @ns in the slot of a timeline that @now is in. */
static __always_inline void in_timeline(void *map, __u64 now, __u32 shift, __u64 ns)
{
	__u64 stamp = now >> (shift & 63);
	__u32 at = stamp % WEIR_TRACE_SLOTS;
	struct weir_trace_slot *slot = bpf_map_lookup_elem(map, &at);
	__u64 was;

	if (!slot)
		return;
	was = *(volatile __u64 *)&slot->stamp;
	/* Who changes the stamp clears; what others add in between is lost. */
	if (was != stamp && __sync_val_compare_and_swap(&slot->stamp, was, stamp) == was)
		__builtin_memset(slot->log2_ns, 0, sizeof(slot->log2_ns));
	add(slot->log2_ns[bucket(ns) & (WEIR_LOCK_BUCKETS - 1)], 1);
}

#endif /* WR_BPF_COMMON_H */
