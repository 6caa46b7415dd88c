// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * How long the process's I/O takes: io_uring requests from submission to completion, requests of
 * block devices from issue to completion.
 *
 * Attached to: tp_btf/io_uring_submit_req, io_uring_complete, block_rq_issue, block_rq_complete.
 * Oldest kernel: 6.3 for io_uring (the name of the first), 5.16 for block devices.
 * Cost: 0.3 us for each request of the process; a lookup for each completion of others.
 * Missing: each half goes without the other.
 *
 * A request that a worker thread of the kernel issues on behalf of the process does not carry its
 * number and is not counted; io_uring's own workers do carry it.
 */
#include "kern.h"

#include <linux/bpf.h>
#include <weir/trace_abi.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "common.bpf.h"

struct start {
	__u64 ns;
	__u64 bytes;
	__u32 op;
	__u32 tid;
	char comm[WEIR_COMM_BYTES];
};

/* By the kernel's address of the request. One that is never completed is pushed out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct start);
} io_starts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct weir_io_key);
	__type(value, struct weir_io_times);
} io_times SEC(".maps");

struct weir_io_times no_times;

static __always_inline void begin(__u64 request, __u32 op, __u64 bytes)
{
	struct start s = {.ns = bpf_ktime_get_ns(), .bytes = bytes, .op = op};

	s.tid = bpf_get_current_pid_tgid();
	bpf_get_current_comm(s.comm, sizeof(s.comm));
	bpf_map_update_elem(&io_starts, &request, &s, BPF_ANY);
}

static __always_inline void add_times(__u32 source, const struct start *s, __u64 ns)
{
	struct weir_io_key key = {source, s->op};
	struct weir_io_times *v = get_or_add(&io_times, &key, &no_times);

	if (!v)
		return;
	add(v->requests, 1);
	add(v->ns, ns);
	add(v->bytes, s->bytes);
	raise_to(&v->max_ns, ns);
	add(v->log2_ns[bucket(ns) & (WEIR_LOCK_BUCKETS - 1)], 1);
}

static __always_inline void add_event(__u32 kind, const struct start *s, __u64 now)
{
	__u64 seq;
	struct weir_trace_event *e = next_event(&seq);

	if (!e)
		return;
	e->addr = 0;
	e->start_ns = s->ns;
	e->woken_ns = now;
	e->end_ns = now;
	e->tid = s->tid;
	e->other = s->op;
	e->stack_id = -2;
	e->kind = (enum weir_event_kind)kind;
	__builtin_memcpy(e->comm, s->comm, sizeof(e->comm));
	*(volatile __u64 *)&e->seq = seq;
}

static __always_inline void end(__u64 request, __u32 source)
{
	struct start *s = bpf_map_lookup_elem(&io_starts, &request);
	struct weir_trace_totals *t = sums();
	const struct weir_trace_config *c;
	__u64 now;

	if (!s || !t)
		return;
	c = switched_on(WEIR_TRACE_IO);
	if (!c)
		goto out;
	now = bpf_ktime_get_ns();
	add_times(source, s, now - s->ns);
	if (source == WEIR_IO_SOURCE_URING) {
		add(t->io_requests, 1);
		add(t->io_ns, now - s->ns);
	} else {
		add(t->block_requests, 1);
		add(t->block_ns, now - s->ns);
		add(t->block_bytes, s->bytes);
	}
	if (now - s->ns >= c->min_event_ns)
		add_event(source == WEIR_IO_SOURCE_URING ? WEIR_EVENT_IO_URING
							 : WEIR_EVENT_BLOCK_IO,
			  s, now);
out:
	bpf_map_delete_elem(&io_starts, &request);
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_submit, struct io_kiocb *request)
{
	if (wanted(WEIR_TRACE_IO))
		begin((__u64)request, BPF_CORE_READ(request, opcode), 0);
	return 0;
}

/* The second argument is the request on every kernel; those behind it were changed. */
SEC("tp_btf/io_uring_complete")
int on_complete(__u64 *ctx)
{
	end(ctx[1], WEIR_IO_SOURCE_URING);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *request)
{
	if (wanted(WEIR_TRACE_IO))
		begin((__u64)request, BPF_CORE_READ(request, cmd_flags) & 0xff,
		      BPF_CORE_READ(request, __data_len));
	return 0;
}

SEC("tp_btf/block_rq_complete")
int on_block_complete(__u64 *ctx)
{
	end(ctx[0], WEIR_IO_SOURCE_BLOCK);
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
