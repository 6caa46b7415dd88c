// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * All takes and holds of the C library's mutexes (T3), of any program: from breakpoints in the
 * library, at the first instructions of its functions that the kernel need not execute by a single
 * step (lib/trace/step.c).
 *
 * Attached to: pthread_mutex_lock, trylock, timedlock, clocklock and their returns;
 *   pthread_mutex_unlock; pthread_cond_wait, timedwait, clockwait. Links of many places
 *   (uprobe_multi), of this process only.
 * Oldest kernel: 6.6. Reads no kernel struct by name: loads without BTF.
 * Cost: 2 us for each lock and unlock, in the process that is traced; none for others.
 * Missing: on machines other than x86-64, without a C library that is found, or where a place would
 *   have to be stepped singly, at ten times the price.
 *
 * A hold ends where a condition is waited for. What is held when that wait returns is not timed: a
 * breakpoint on the return would stand in the way of a thread that is cancelled there.
 */
#include <linux/bpf.h>
#include <weir/trace_abi.h>

#include <stdbool.h>

#include "common.bpf.h"

/* Places in the saved registers, in words: the kernel keeps them for its users (asm/ptrace.h). */
#define RAX 10
#define RSI 13
#define RDI 14

#define EOWNERDEAD 130

struct begun {
	__u64 addr;
	__u64 since_ns;
};

struct held_key {
	__u64 addr;
	__u32 tid;
	__u32 pad;
};

/* A recursive mutex is held until the last unlock. */
struct held {
	__u64 since_ns;
	__u64 depth;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct begun);
} deep_begun SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct held_key);
	__type(value, struct held);
} deep_held SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_addr_key);
	__type(value, struct weir_lock_deep);
} lock_deep SEC(".maps");

ARRAY(deep_timeline, struct weir_trace_slot, WEIR_TRACE_SLOTS);

/* What a new element begins as; too large for the stack. */
struct weir_lock_deep no_deep;

static __always_inline struct weir_lock_deep *deep_of(__u64 addr)
{
	struct weir_addr_key key = {addr};

	return get_or_add(&lock_deep, &key, &no_deep);
}

SEC("uprobe")
int on_deep_lock(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct begun b;

	if (!wanted(WEIR_TRACE_DEEP))
		return 0;
	b.addr = saved_word(ctx, RDI);
	b.since_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&deep_begun, &tid, &b, BPF_ANY);
	return 0;
}

SEC("uprobe")
int on_deep_locked(void *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct held_key key = {.tid = tid};
	struct held *held, fresh = {.depth = 1};
	struct weir_trace_totals *t;
	struct weir_lock_deep *v;
	struct begun *b, was;
	__u64 wait;
	__u32 result;

	if (!wanted(WEIR_TRACE_DEEP))
		return 0;
	b = bpf_map_lookup_elem(&deep_begun, &tid);
	if (!b)
		return 0;
	was = *b;
	bpf_map_delete_elem(&deep_begun, &tid);
	result = saved_word(ctx, RAX);
	if (result != 0 && result != EOWNERDEAD)
		return 0;
	key.addr = was.addr;
	held = bpf_map_lookup_elem(&deep_held, &key);
	if (held) {
		held->depth++;
		return 0;
	}
	fresh.since_ns = bpf_ktime_get_ns();
	wait = fresh.since_ns - was.since_ns;
	bpf_map_update_elem(&deep_held, &key, &fresh, BPF_ANY);
	v = deep_of(was.addr);
	if (!v)
		return 0;
	t = sums();
	if (t) {
		add(t->deep_takes, 1);
		add(t->deep_wait_ns, wait);
	}
	add(v->takes, 1);
	add(v->wait_ns, wait);
	raise_to(&v->max_wait_ns, wait);
	add(v->wait_log2_ns[bucket(wait) & (WEIR_LOCK_BUCKETS - 1)], 1);
	return 0;
}

/* The calling thread lets go of @addr; @all: however often it took it. */
static __always_inline void let_go(const struct weir_trace_config *c, __u64 addr, bool all)
{
	struct held_key key = {.addr = addr, .tid = (__u32)bpf_get_current_pid_tgid()};
	struct held *held = bpf_map_lookup_elem(&deep_held, &key);
	struct weir_trace_totals *t;
	struct weir_lock_deep *v;
	__u64 now, hold;

	if (held && !all && --held->depth > 0)
		return;
	v = deep_of(addr);
	if (!v)
		return;
	/* Taken before tracing began, or behind a wait for a condition. */
	if (!held) {
		add(v->unknown, 1);
		return;
	}
	now = bpf_ktime_get_ns();
	hold = now - held->since_ns;
	bpf_map_delete_elem(&deep_held, &key);
	t = sums();
	if (t) {
		add(t->deep_holds, 1);
		add(t->deep_hold_ns, hold);
	}
	add(v->holds, 1);
	add(v->hold_ns, hold);
	raise_to(&v->max_hold_ns, hold);
	v->last_holder = key.tid;
	add(v->hold_log2_ns[bucket(hold) & (WEIR_LOCK_BUCKETS - 1)], 1);
	in_timeline(&deep_timeline, now, c->slot_shift, hold);
}

SEC("uprobe")
int on_deep_unlock(void *ctx)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_DEEP);

	if (c)
		let_go(c, saved_word(ctx, RDI), false);
	return 0;
}

SEC("uprobe")
int on_deep_cond(void *ctx)
{
	const struct weir_trace_config *c = wanted(WEIR_TRACE_DEEP);

	if (c)
		let_go(c, saved_word(ctx, RSI), true);
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
