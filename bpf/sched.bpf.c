// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Waits at locks (T1), of any program: who waits how long at which futex, who let it go, and how
 * much of the wait was for a CPU and not for the lock.
 *
 * Attached to: tp_btf/sched_switch, sched_waking, sched_process_exit, sched_process_exec.
 * Oldest kernel: 5.16 (task_struct.__state, bpf_task_pt_regs).
 * Cost: none on system calls and on locks that are free. About 0.1 us for each context switch of
 *   any process; 0.4 us for each wait of the process that is traced, 0.8 us with stacks.
 * Missing: without BTF or rights, only what a program times itself (weir/lock_trace.h).
 *
 * The kernel knows of a lock only when somebody must wait, so a hold is seen from the moment that
 * the first waiter blocks: a lower bound. Spinning and holds that nobody waited for are not seen.
 * A thread that is preempted while it runs does not wait and is skipped.
 */
#include "kern.h"

#include <linux/bpf.h>
#include <weir/trace_abi.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "common.bpf.h"

#if defined(__TARGET_ARCH_arm64)
#define NR_FUTEX 98
#else
#define NR_FUTEX 202
#endif
/* The same on every machine (Linux 6.7). */
#define NR_FUTEX_WAKE 454
#define NR_FUTEX_WAIT 455

/* linux/futex.h */
#define FUTEX_WAIT	      0
#define FUTEX_WAKE	      1
#define FUTEX_REQUEUE	      3
#define FUTEX_CMP_REQUEUE     4
#define FUTEX_WAKE_OP	      5
#define FUTEX_LOCK_PI	      6
#define FUTEX_UNLOCK_PI	      7
#define FUTEX_WAIT_BITSET     9
#define FUTEX_WAKE_BITSET     10
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_LOCK_PI2	      13
#define FUTEX_CMD	      127

/* What the process measures itself (T0) is in maps that no program touches: it maps them. */
ARRAY(lock_meta, struct weir_lock_meta, 1);
ARRAY(lock_ranks, struct weir_lock_rank, WEIR_LOCK_RANKS);
ARRAY(lock_self, struct weir_lock_self, WEIR_LOCK_SLOTS);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct weir_waiting);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_addr_key);
	__type(value, struct weir_lock_waits);
} lock_waits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct weir_site_key);
	__type(value, struct weir_site);
} lock_holders SEC(".maps"), lock_waiters SEC(".maps");

ARRAY(timeline, struct weir_trace_slot, WEIR_TRACE_SLOTS);

/* What a new element begins as; too large for the stack. */
struct weir_lock_waits no_waits;

struct call {
	long nr;
	__u64 addr;
	__u64 arg1, arg2;
};

static __always_inline void call_of(struct task_struct *task, struct call *ret)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_arm64)
	ret->nr = regs->syscallno;
	ret->addr = regs->orig_x0;
	ret->arg1 = regs->regs[1];
	ret->arg2 = regs->regs[2];
#else
	ret->nr = (long)regs->orig_ax;
	ret->addr = regs->di;
	ret->arg1 = regs->si;
	ret->arg2 = regs->dx;
#endif
}

/*
 * What the call waits for. The C library's mutex waits with FUTEX_WAIT until the word is no longer
 * 2; its timed mutex and its rwlock with FUTEX_WAIT_BITSET and 2 or 3; its conditions and
 * semaphores with FUTEX_WAIT_BITSET and 0. musl keeps the owner and bit 31 in the word.
 */
static __always_inline __u32 kind_of(const struct call *c)
{
	__u32 op = c->arg1 & FUTEX_CMD, value = c->arg2;

	if (c->nr == NR_FUTEX_WAIT)
		return WEIR_WAIT_MAYBE_LOCK;
	if (c->nr != NR_FUTEX)
		return WEIR_WAIT_UNKNOWN;
	if (op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2)
		return WEIR_WAIT_LOCK;
	if (op == FUTEX_WAIT)
		return value == 2 || (value & 1u << 31) ? WEIR_WAIT_LOCK : WEIR_WAIT_OTHER;
	if (op == FUTEX_WAIT_BITSET)
		return value == 2 || value == 3 ? WEIR_WAIT_MAYBE_LOCK : WEIR_WAIT_OTHER;
	return op == FUTEX_WAIT_REQUEUE_PI ? WEIR_WAIT_OTHER : WEIR_WAIT_UNKNOWN;
}

static __always_inline bool is_wake(const struct call *c, __u64 addr)
{
	__u32 op = c->arg1 & FUTEX_CMD;

	if (c->nr == NR_FUTEX_WAKE)
		return c->addr == addr;
	if (c->nr != NR_FUTEX)
		return false;
	/* A requeue or a wake of two words may wake at another than its first. */
	if (op == FUTEX_REQUEUE || op == FUTEX_CMP_REQUEUE || op == FUTEX_WAKE_OP)
		return true;
	return c->addr == addr &&
	       (op == FUTEX_WAKE || op == FUTEX_WAKE_BITSET || op == FUTEX_UNLOCK_PI);
}

static __always_inline __s32 stack_of(void *ctx, bool wanted)
{
	return wanted ? (__s32)bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK) : -2 /* ENOENT */;
}

/*
 * The C library keeps no frame pointers, so a stack lacks the function that called it. The address
 * that it returns to is the first one on the stack above the library's own, of which there are few:
 * a word that points behind a call, and not into the library.
 */
#define CALLER_WORDS 32

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[CALLER_WORDS]);
} caller_words SEC(".maps");

#if defined(__TARGET_ARCH_arm64)
static __always_inline __u64 caller_of(const struct weir_trace_config *c, struct task_struct *task,
				       bool wanted)
{
	return 0;
}
#else
/* call rel32, or call through a register or memory: ff /2 of two, three, four, six, seven bytes. */
static __always_inline bool is_behind_call(__u64 address)
{
	__u8 b[8];

	if (address < 4096 || address >> 47 != 0 ||
	    bpf_probe_read_user(b, 7, (void *)(address - 7)))
		return false;
	return b[2] == 0xe8 || (b[5] == 0xff && (b[6] & 0x38) == 0x10) ||
	       (b[4] == 0xff && (b[5] & 0x38) == 0x10) || (b[3] == 0xff && (b[4] & 0x38) == 0x10) ||
	       (b[1] == 0xff && (b[2] & 0x38) == 0x10) || (b[0] == 0xff && (b[1] & 0x38) == 0x10);
}

static __always_inline __u64 caller_of(const struct weir_trace_config *c, struct task_struct *task,
				       bool wanted)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u32 zero = 0;
	__u64 *words;

	if (!wanted || c->libc_end == 0)
		return 0;
	words = bpf_map_lookup_elem(&caller_words, &zero);
	if (!words || bpf_probe_read_user(words, CALLER_WORDS * 8, (void *)regs->sp))
		return 0;
	for (int i = 0; i < CALLER_WORDS; i++) {
		__u64 word = words[i];

		if (word - c->libc_begin < c->libc_end - c->libc_begin)
			continue;
		if (is_behind_call(word))
			return word;
	}
	return 0;
}
#endif

static __always_inline void block(void *ctx, struct task_struct *task)
{
	const struct weir_trace_config *c = switched_on(WEIR_TRACE_LOCKS);
	struct weir_waiting w = {};
	struct call call;
	__u32 tid = task->pid;

	/* TASK_RUNNING: it only gives up the CPU. */
	if (!c || task->__state == 0)
		return;
	call_of(task, &call);
	w.kind = kind_of(&call);
	if (w.kind == WEIR_WAIT_UNKNOWN)
		return;
	w.addr = call.addr;
	w.since_ns = bpf_ktime_get_ns();
	w.stack_id = -2;
	w.own_stack_id = stack_of(ctx, c->stacks & WEIR_TRACE_WAITER_STACKS);
	w.own_caller = caller_of(c, task, c->stacks & WEIR_TRACE_WAITER_STACKS);
	/* glibc: __owner stands 8 bytes behind the word; of a condition it would be anything. */
	if (w.kind == WEIR_WAIT_LOCK)
		bpf_probe_read_user(&w.owner, sizeof(w.owner), (void *)(call.addr + 8));
	if (bpf_map_update_elem(&waiting, &tid, &w, BPF_ANY))
		dropped();
}

static __always_inline void add_site(void *map, const struct weir_site_key *key, __u64 ns,
				     const char *comm)
{
	struct weir_site *site = bpf_map_lookup_elem(map, key), fresh = {};

	if (!site) {
		__builtin_memcpy(fresh.comm, comm, sizeof(fresh.comm));
		site = get_or_add(map, key, &fresh);
	}
	if (!site)
		return;
	add(site->times, 1);
	add(site->ns, ns);
}

static __always_inline void add_waits(const struct weir_waiting *w, __u64 held, __u64 wait)
{
	struct weir_addr_key key = {w->addr};
	struct weir_lock_waits *v = get_or_add(&lock_waits, &key, &no_waits);

	if (!v)
		return;
	add(v->waits, 1);
	add(v->wait_ns, wait);
	add(v->held_ns, held);
	add(v->runq_ns, wait - held);
	if (w->waker == 0)
		add(v->no_waker, 1);
	else
		v->last_waker = w->waker;
	v->kind = w->kind;
	raise_to(&v->max_wait_ns, wait);
	raise_to(&v->max_held_ns, held);
	add(v->wait_log2_ns[bucket(wait) & (WEIR_LOCK_BUCKETS - 1)], 1);
	add(v->held_log2_ns[bucket(held) & (WEIR_LOCK_BUCKETS - 1)], 1);
}

static __always_inline void add_totals(const struct weir_waiting *w, __u64 held, __u64 wait)
{
	struct weir_trace_totals *t = sums();

	if (!t)
		return;
	if (w->kind == WEIR_WAIT_LOCK) {
		add(t->lock_waits, 1);
		add(t->lock_wait_ns, wait);
		add(t->lock_held_ns, held);
		add(t->lock_runq_ns, wait - held);
	} else if (w->kind == WEIR_WAIT_MAYBE_LOCK) {
		add(t->maybe_waits, 1);
	} else {
		add(t->other_waits, 1);
		add(t->other_wait_ns, wait);
	}
}

static __always_inline void add_event(const struct weir_waiting *w, struct task_struct *task,
				      __u64 woken, __u64 now)
{
	__u64 seq;
	struct weir_trace_event *e = next_event(&seq);

	if (!e)
		return;
	e->addr = w->addr;
	e->start_ns = w->since_ns;
	e->woken_ns = woken;
	e->end_ns = now;
	e->tid = task->pid;
	e->other = w->waker;
	e->stack_id = w->stack_id;
	e->kind = (enum weir_event_kind)w->kind;
	bpf_probe_read_kernel(e->comm, sizeof(e->comm), task->comm);
	*(volatile __u64 *)&e->seq = seq;
}

static __always_inline void run(struct task_struct *task)
{
	__u32 tid = task->pid;
	struct weir_waiting *w = bpf_map_lookup_elem(&waiting, &tid);
	const struct weir_trace_config *c;
	struct weir_site_key key = {};
	__u64 now, woken;
	char comm[WEIR_COMM_BYTES];

	if (!w)
		return;
	c = switched_on(WEIR_TRACE_LOCKS);
	if (!c)
		goto out;
	now = bpf_ktime_get_ns();
	/* A wake that came between the wait's beginning and the switch was not seen. */
	woken = w->woken_ns ? w->woken_ns : now;
	add_waits(w, woken - w->since_ns, now - w->since_ns);
	add_totals(w, woken - w->since_ns, now - w->since_ns);
	key.addr = w->addr;
	if (w->kind != WEIR_WAIT_OTHER) {
		key.tid = tid;
		key.stack_id = w->own_stack_id;
		key.caller = w->own_caller;
		bpf_probe_read_kernel(comm, sizeof(comm), task->comm);
		add_site(&lock_waiters, &key, now - w->since_ns, comm);
		in_timeline(&timeline, now, c->slot_shift, woken - w->since_ns);
	}
	if (w->kind != WEIR_WAIT_OTHER && w->waker != 0) {
		key.tid = w->waker;
		key.stack_id = w->stack_id;
		key.caller = w->waker_caller;
		add_site(&lock_holders, &key, woken - w->since_ns, w->waker_comm);
	}
	if (now - w->since_ns >= c->min_event_ns)
		add_event(w, task, woken, now);
out:
	bpf_map_delete_elem(&waiting, &tid);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	if (prev->tgid == target && !preempt)
		block(ctx, prev);
	if (next->tgid == target)
		run(next);
	return 0;
}

SEC("tp_btf/sched_waking")
int BPF_PROG(on_waking, struct task_struct *task)
{
	const struct weir_trace_config *c;
	struct task_struct *self;
	struct weir_waiting *w;
	struct call call;
	__u32 tid;

	if (task->tgid != target)
		return 0;
	tid = task->pid;
	w = bpf_map_lookup_elem(&waiting, &tid);
	c = w && w->woken_ns == 0 ? switched_on(WEIR_TRACE_LOCKS) : NULL;
	if (!c)
		return 0;
	w->woken_ns = bpf_ktime_get_ns();
	self = bpf_get_current_task_btf();
	if (self->tgid != target)
		return 0;
	/* A timer that fires while a thread of the process runs is not that thread's wake. */
	call_of(self, &call);
	if (!is_wake(&call, w->addr))
		return 0;
	w->waker = self->pid;
	bpf_get_current_comm(w->waker_comm, sizeof(w->waker_comm));
	w->stack_id = stack_of(ctx, c->stacks & WEIR_TRACE_HOLDER_STACKS);
	w->waker_caller = caller_of(c, self, c->stacks & WEIR_TRACE_HOLDER_STACKS);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 zero = 0, tid;
	struct weir_trace_config *c;
	struct weir_trace_meta *m;

	if (task->tgid != target)
		return 0;
	tid = task->pid;
	/* A thread killed while it waits leaves nothing for a later one of its number. */
	bpf_map_delete_elem(&waiting, &tid);
	/* The number of the process may be given to another one: all stops here. */
	if (task->signal->live.counter > 0)
		return 0;
	m = bpf_map_lookup_elem(&meta, &zero);
	c = bpf_map_lookup_elem(&config, &zero);
	if (m)
		m->ended_ns = bpf_ktime_get_ns();
	if (c)
		c->enabled = 0;
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	__u32 zero = 0;
	struct weir_trace_meta *m;

	if (task->tgid != target)
		return 0;
	m = bpf_map_lookup_elem(&meta, &zero);
	if (m)
		add(m->nr_execs, 1);
	return 0;
}

const char programs_license[] SEC("license") = "Dual MIT/GPL";
