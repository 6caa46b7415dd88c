// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * True holds of locks, sampled (T2), what a cache does, and stages of streams: from the probe sites that weir's library
 * has in the program (lib/base/probe.h).
 *
 * Attached to: the sites of weir:lock_release, lock_contended, cache_hit, cache_miss, cache_evict
 *   and stage in the files that the process has mapped, by links of many sites (uprobe_multi).
 * Oldest kernel: 6.6 for these; before, by perf events, which need CAP_SYS_ADMIN. Reads no kernel
 *   struct by name: loads without BTF.
 * Cost: 0.8 us for each time that a probe fires in the process: one in 64 takes of a free lock,
 *   each take that waited, one in 64 hits, each miss, eviction and stage. None for other processes.
 * Missing: a process without these sites, or a kernel without uprobes.
 *
 * Where a site keeps its arguments comes in the cookie: for each a byte, its register's place in the
 * saved registers.
 */
#include <linux/bpf.h>
#include <weir/trace_abi.h>

#include <stdbool.h>

#include "common.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_addr_key);
	__type(value, struct weir_lock_holds);
} lock_holds SEC(".maps");

ARRAY(hold_timeline, struct weir_trace_slot, WEIR_TRACE_SLOTS);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_cache_key);
	__type(value, struct weir_cache_events);
} cache_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_cache_site_key);
	__type(value, struct weir_cache_events);
} cache_sites SEC(".maps");

/* What a new element begins as; too large for the stack. */
struct weir_lock_holds no_holds;

/* Argument @n of the site that the program runs for. */
static __always_inline __u64 arg(const void *ctx, __u64 cookie, __u32 n)
{
	return saved_word(ctx, cookie >> n * 8 & 0xff);
}

static __always_inline struct weir_lock_holds *holds_of(__u64 addr)
{
	struct weir_addr_key key = {addr};

	return get_or_add(&lock_holds, &key, &no_holds);
}

SEC("uprobe")
int on_lock_release(void *ctx)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_HOLDS);
	__u64 cookie, wait, hold;
	struct weir_lock_holds *v;
	struct weir_trace_totals *t = sums();

	if (!c || !t)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	v = holds_of(arg(ctx, cookie, 0));
	if (!v)
		return 0;
	wait = arg(ctx, cookie, 1);
	hold = arg(ctx, cookie, 2);
	if (wait != 0) {
		add(v->contended, 1);
		add(v->wait_ns, wait);
		raise_to(&v->max_wait_ns, wait);
	} else {
		add(v->samples, 1);
	}
	add(v->hold_ns, hold);
	raise_to(&v->max_hold_ns, hold);
	v->last_holder = bpf_get_current_pid_tgid();
	add(v->hold_log2_ns[bucket(hold) & (WEIR_LOCK_BUCKETS - 1)], 1);
	add(t->holds, 1);
	add(t->hold_ns, hold);
	in_timeline(&hold_timeline, bpf_ktime_get_ns(), c->slot_shift, hold);
	return 0;
}

SEC("uprobe")
int on_lock_contended(void *ctx)
{
	struct weir_lock_holds *v;
	__u64 cookie;

	if (!wanted(WEIR_TRACE_HOLDS))
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	v = holds_of(arg(ctx, cookie, 0));
	if (!v)
		return 0;
	add(v->blocked, 1);
	v->last_owner = arg(ctx, cookie, 1);
	return 0;
}

struct told {
	__u64 key, bytes, events;
};

static __always_inline void add_events(void *map, const void *key, const struct told *told)
{
	struct weir_cache_events *v = bpf_map_lookup_elem(map, key), fresh = {};

	if (!v) {
		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		v = get_or_add(map, key, &fresh);
	}
	if (!v)
		return;
	add(v->samples, 1);
	add(v->events, told->events);
	add(v->bytes, told->bytes * told->events);
	v->last_key = told->key;
}

static __always_inline void count(void *ctx, const struct weir_trace_config *c, __u32 event,
				  __u32 tier, const struct told *told)
{
	struct weir_cache_key key = {.tier = tier, .event = event};
	struct weir_cache_site_key site = {0, event};
	struct weir_trace_totals *t = sums();

	if (!t)
		return;
	key.tid = bpf_get_current_pid_tgid();
	add_events(&cache_events, &key, told);
	if (event == WEIR_CACHE_EVENT_HIT)
		add(t->cache_hits, told->events);
	else if (event == WEIR_CACHE_EVENT_MISS)
		add(t->cache_misses, told->events);
	else
		add(t->cache_evictions, told->events);
	if (!(c->stacks & WEIR_TRACE_MISS_STACKS))
		return;
	site.stack_id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	add_events(&cache_sites, &site, told);
}

SEC("uprobe")
int on_cache_hit(void *ctx)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_CACHE);
	struct told told = {};
	__u64 cookie;

	if (!c)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	told.bytes = arg(ctx, cookie, 1);
	told.events = arg(ctx, cookie, 2);
	count(ctx, c, WEIR_CACHE_EVENT_HIT, arg(ctx, cookie, 0), &told);
	return 0;
}

/* One that is not sampled, and says of which key it is. */
static __always_inline int one_event(void *ctx, __u32 event)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_CACHE);
	struct told told = {.events = 1};
	__u64 cookie;

	if (!c)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	told.key = arg(ctx, cookie, 1);
	told.bytes = arg(ctx, cookie, 2);
	count(ctx, c, event, arg(ctx, cookie, 0), &told);
	return 0;
}

SEC("uprobe")
int on_cache_miss(void *ctx)
{
	return one_event(ctx, WEIR_CACHE_EVENT_MISS);
}

SEC("uprobe")
int on_cache_evict(void *ctx)
{
	return one_event(ctx, WEIR_CACHE_EVENT_EVICT);
}

/* A stage ended. */
SEC("uprobe")
int on_stage(void *ctx)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_STAGES);
	struct weir_trace_totals *t = sums();
	struct weir_trace_event *e;
	__u64 cookie, now, since, seq;

	if (!c || !t)
		return 0;
	cookie = bpf_get_attach_cookie(ctx);
	now = bpf_ktime_get_ns();
	since = arg(ctx, cookie, 2);
	add(t->stages, 1);
	if (since > now || now - since < c->min_event_ns)
		return 0;
	e = next_event(&seq);
	if (!e)
		return 0;
	e->addr = arg(ctx, cookie, 1);
	e->start_ns = since;
	e->woken_ns = now;
	e->end_ns = now;
	e->tid = bpf_get_current_pid_tgid();
	e->other = 0;
	e->stack_id = -2;
	e->kind = (enum weir_event_kind)arg(ctx, cookie, 0);
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	*(volatile __u64 *)&e->seq = seq;
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
