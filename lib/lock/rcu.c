/* SPDX-License-Identifier: MIT */
/*
 * Grace periods, and the thread that frees after them.
 *
 * The thread takes all that was called since it last looked, waits for one grace period and runs it.
 * Then it rests for a millisecond, so that a stream of calls costs a thousand grace periods a second
 * and not one each; a barrier, and the end, wake it from that.
 *
 * liburcu has a thread of this kind too; it is not used because it cannot be made to end before a
 * library is unloaded.
 */
#include "lock/rcu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>

#include "base/atomic.h"
#include "base/util.h"
#include "lock/lock.h"

#define REST_NS UINT64_C(1000000)

#if WR_SANITIZE_THREAD
char wr_rcu_grace;
#endif

/* The worker, while somebody has it open. */
static struct wr_mutex run_lock WR_RANKED(RCU_RUN) = WR_MUTEX_INIT(WR_RANK_RCU_RUN, "run");
static unsigned nr_open; /* [RCU_RUN] */
static pthread_t worker; /* [RCU_RUN] */

static struct wr_mutex lock WR_RANKED(RCU) = WR_MUTEX_INIT(WR_RANK_RCU, "calls");
static struct wr_cond wake; /* [const] once: the worker has something to do */
static struct wr_cond done; /* [const] once: a barrier has been passed */
static bool hurry;	    /* [RCU] somebody waits */
static bool stop;	    /* [RCU] */

/* Newest first. R1: a push pairs with the worker's exchange. */
static _Atomic(struct wr_rcu_head *) calls;

#if HAVE_URCU

static void wait_for_readers(void)
{
	urcu_bp_synchronize_rcu();
	wr_rcu_tsan_acquire();
}

static void follow_forks(void)
{
	(void)pthread_atfork(urcu_bp_before_fork, urcu_bp_after_fork_parent,
			     urcu_bp_after_fork_child);
}

#else

/*
 * A reader counts itself in and out in the stripe of its thread, under the phase that it finds. The
 * writer waits until it has seen each count at 0. Everything is sequentially consistent: a reader
 * whose count comes after the writer looked also sees what the writer did before. Two phases, so
 * that new readers do not keep a count from 0.
 */
#define NR_STRIPES 64

struct stripe {
	_Alignas(WR_CACHE_LINE) _Atomic uint64_t nr[2];
};

static struct stripe stripes[NR_STRIPES];
static _Atomic unsigned phase;
static _Atomic unsigned next_stripe;
static struct wr_mutex grace_lock WR_RANKED(RCU_GRACE) = WR_MUTEX_INIT(WR_RANK_RCU_GRACE, "grace");

static _Thread_local struct reader {
	unsigned nest, phase;
	struct stripe *stripe;
} reader; /* [thread] */

void wr_rcu_read_lock(void)
{
	wr_validate_read_begin();
	if (reader.nest++ > 0)
		return;
	if (reader.stripe == NULL)
		reader.stripe = &stripes[wr_fetch_add_relaxed(&next_stripe, 1) % NR_STRIPES];
	reader.phase = wr_load_seq_cst(&phase) & 1;
	wr_fetch_add_seq_cst(&reader.stripe->nr[reader.phase], 1);
}

void wr_rcu_read_unlock(void)
{
	if (--reader.nest == 0)
		wr_fetch_add_seq_cst(&reader.stripe->nr[reader.phase], (uint64_t)-1);
	wr_validate_read_end();
}

static void wait_for_phase(unsigned which)
{
	for (unsigned i = 0; i < NR_STRIPES; i++)
		while (wr_load_seq_cst(&stripes[i].nr[which]) != 0)
			sched_yield();
}

static void wait_for_readers(void)
{
	wr_mutex_lock(&grace_lock);
	for (int i = 0; i < 2; i++) {
		unsigned now = wr_load_seq_cst(&phase) & 1;

		wait_for_phase(now ^ 1);
		wr_store_seq_cst(&phase, now ^ 1);
	}
	wr_mutex_unlock(&grace_lock);
}

static void follow_forks(void)
{
}

#endif /* HAVE_URCU */

void wr_rcu_synchronize(void)
{
	wr_might_block("waiting for readers");
	wait_for_readers();
}

static void prepare(void)
{
	wr_cond_init(&wake);
	wr_cond_init(&done);
	follow_forks();
}

/* All that was called, oldest first. */
static struct wr_rcu_head *take_calls(void)
{
	/* R1: pairs with the release in wr_rcu_call(). */
	struct wr_rcu_head *head = wr_exchange_acquire(&calls, NULL), *oldest = NULL;

	while (head != NULL) {
		struct wr_rcu_head *next = head->next;

		head->next = oldest;
		oldest = head;
		head = next;
	}
	return oldest;
}

static void run_calls(struct wr_rcu_head *head)
{
	wait_for_readers();
	while (head != NULL) {
		struct wr_rcu_head *next = head->next;

		head->fn(head);
		head = next;
	}
}

/* Waits for calls or the end; the calls. NULL: the end. */
static struct wr_rcu_head *next_calls(void)
{
	struct wr_rcu_head *head;

	wr_mutex_lock(&lock);
	while ((head = take_calls()) == NULL && !stop)
		wr_cond_wait(&wake, &lock);
	hurry = stop;
	wr_mutex_unlock(&lock);
	return head;
}

static void rest(void)
{
	uint64_t deadline_ns = wr_now_ns() + REST_NS;

	wr_mutex_lock(&lock);
	while (!hurry && wr_cond_timedwait(&wake, &lock, deadline_ns) == 0)
		continue;
	wr_mutex_unlock(&lock);
}

static void *work(void *arg)
{
	struct wr_rcu_head *head;

	while ((head = next_calls()) != NULL) {
		run_calls(head);
		rest();
	}
	return arg;
}

int wr_rcu_open(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int rc = 0;

	pthread_once(&once, prepare);
	wr_mutex_lock(&run_lock);
	if (nr_open == 0) {
		wr_mutex_lock(&lock);
		stop = false;
		hurry = false;
		wr_mutex_unlock(&lock);
		rc = -pthread_create(&worker, NULL, work, NULL);
	}
	if (rc == 0)
		nr_open++;
	wr_mutex_unlock(&run_lock);
	return rc;
}

void wr_rcu_close(void)
{
	wr_rcu_barrier();
	wr_mutex_lock(&run_lock);
	wr_assert(nr_open > 0);
	if (--nr_open == 0) {
		wr_mutex_lock(&lock);
		stop = true;
		hurry = true;
		wr_cond_signal(&wake);
		wr_mutex_unlock(&lock);
		pthread_join(worker, NULL);
	}
	wr_mutex_unlock(&run_lock);
}

void wr_rcu_call(struct wr_rcu_head *head, void (*fn)(struct wr_rcu_head *head))
{
	struct wr_rcu_head *first = wr_load_relaxed(&calls);

	head->fn = fn;
	do
		head->next = first;
	/* R1: pairs with the exchange in take_calls(). */
	while (!wr_cas_acq_rel(&calls, &first, head));
	if (first != NULL)
		return;
	/* Under the lock, or the worker could look before and sleep after. */
	wr_mutex_lock(&lock);
	wr_cond_signal(&wake);
	wr_mutex_unlock(&lock);
}

struct barrier {
	struct wr_rcu_head head;
	bool passed; /* [RCU] */
};

static void pass(struct wr_rcu_head *head)
{
	struct barrier *b = wr_container_of(head, struct barrier, head);

	wr_mutex_lock(&lock);
	b->passed = true;
	wr_cond_broadcast(&done);
	wr_mutex_unlock(&lock);
}

void wr_rcu_barrier(void)
{
	struct barrier b = {.passed = false};

	wr_might_block("waiting for functions called through RCU");
	wr_rcu_call(&b.head, pass);
	wr_mutex_lock(&lock);
	hurry = true;
	wr_cond_signal(&wake);
	while (!b.passed)
		wr_cond_wait(&done, &lock);
	wr_mutex_unlock(&lock);
}
