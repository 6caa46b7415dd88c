/* SPDX-License-Identifier: MIT */
/*
 * The claimer's side of a gate, and the barrier that makes the owner's side cheap.
 *
 * Where membarrier() worked at first and is refused later (a filter that a process puts
 * on itself), a page's protection is changed instead: the kernel interrupts the same
 * processors to forget it, which is a barrier on each.
 */
#include "pool/gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

/* Then the owner has lost its processor, and waiting should not take it from it. */
#define LOOKS_BEFORE_YIELD 64
#define YIELDS_BEFORE_NAP  64

static bool is_light; /* [const] after wr_gate_prepare() */

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void choose(void)
{
	long commands = membarrier(MEMBARRIER_CMD_QUERY);

	is_light = commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) &&
		   membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void wr_gate_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose);
}

void wr_gate_init(struct wr_gate *gate)
{
	wr_store_relaxed(&gate->state, is_light ? 0 : WR_GATE_HEAVY);
}

static void barrier_by_page(void)
{
	long bytes = sysconf(_SC_PAGESIZE);
	uint8_t *page;

	page = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (page == MAP_FAILED) {
		/* Store buffers empty in nanoseconds; a processor that sleeps has emptied its own. */
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		return;
	}
	*(volatile uint8_t *)page = 1;
	(void)mprotect(page, (size_t)bytes, PROT_READ);
	munmap(page, (size_t)bytes);
}

void wr_gate_barrier(void)
{
	if (!is_light || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
		return;
	/* A fork child may have to say again that it uses the call. */
	if (errno == EPERM && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
	    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
		return;
	barrier_by_page();
}

void wr_gate_mark(struct wr_gate *gate)
{
	wr_store_seq_cst(&gate->state, wr_load_relaxed(&gate->state) | WR_GATE_CLAIMED);
}

void wr_gate_wait(struct wr_gate *gate)
{
	unsigned looks = 0;

	while (wr_load_seq_cst(&gate->inside) != 0) { /* acquires G1 */
		looks++;
		if (looks < LOOKS_BEFORE_YIELD)
			wr_cpu_relax();
		else if (looks < LOOKS_BEFORE_YIELD + YIELDS_BEFORE_NAP)
			sched_yield();
		else
			nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
}

void wr_gate_unmark(struct wr_gate *gate)
{
	wr_store_release(&gate->state, wr_load_relaxed(&gate->state) & ~WR_GATE_CLAIMED); /* G2 */
}

void wr_gate_set_shut(struct wr_gate *gate, bool shut)
{
	uint32_t state = wr_load_relaxed(&gate->state);

	wr_store_release(&gate->state, shut ? state | WR_GATE_SHUT : state & ~WR_GATE_SHUT);
}
