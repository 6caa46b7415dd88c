/* SPDX-License-Identifier: MIT */
/* What is done for the takes that are timed; see lock/timing.h. */
#include "lock/timing.h"

#include <string.h>

#include "base/random.h"

WR_PROBE_DEFINE(lock_contended);
WR_PROBE_DEFINE(lock_release);

_Atomic uint32_t wr_timing_every;

/* Timed takes for reading that a thread may have at once; one more goes untimed. */
#define NR_READS 8

struct reading {
	const struct wr_lock *lock;
	uint64_t since_ns, wait_ns;
	uint32_t weight;
};

struct reader {
	uint32_t nr;
	uint32_t sample_in;
	struct reading reads[NR_READS];
};

/* Small enough for the room that a library loaded later gets. */
static _Thread_local struct reader self __attribute__((tls_model("initial-exec"))); /* [thread] */
static _Thread_local uint32_t seed __attribute__((tls_model("initial-exec")));	    /* [thread] */

/* 1 to 2 * @every - 1, @every on average. */
static uint32_t random_countdown(uint32_t every)
{
	/* What it starts from differs by thread and time. */
	if (seed == 0)
		seed = (uint32_t)((uintptr_t)&seed >> 4 ^ wr_now_ns()) | 1;
	return 1 + (uint32_t)(wr_xorshift32(&seed) * (2 * (uint64_t)every - 1) >> 32);
}

/* One uncontended take: how many it stands for, 0 when it is not timed. */
static uint32_t count_down(uint32_t *sample_in, uint32_t every)
{
	uint32_t in = *sample_in;

	if (every == 0)
		every = WEIR_LOCK_SAMPLE_EVERY;
	if (in > 1 && in <= 2 * every) {
		*sample_in = in - 1;
		return 0;
	}
	*sample_in = random_countdown(every);
	/* The first take of all only starts the countdown: not every lock's first is special. */
	return in == 1 || every == 1 ? every : 0;
}

void wr_timing_contended(struct wr_lock *lock, const void *addr, uint32_t owner_tid)
{
	wr_store_relaxed(&lock->holder_tid, owner_tid);
	if (wr_probe_enabled(lock_contended))
		wr_probe2(lock_contended, (uintptr_t)addr, owner_tid);
}

void wr_timing_begin_slowly(struct wr_lock *lock, uint64_t wait_ns, uint32_t every)
{
	uint32_t weight = wait_ns != 0 ? 1 : count_down(&lock->sample_in, every);

	if (weight == 0)
		return;
	lock->waited_ns = wait_ns;
	lock->weight = weight;
	lock->since_ns = wr_now_ns();
}

void wr_timing_end_slowly(struct wr_lock *lock, const void *addr, struct wr_timed *ret)
{
	*ret = (struct wr_timed){
		.addr = addr,
		.wait_ns = lock->waited_ns,
		.weight = lock->weight,
		.slot = wr_segment_slot(lock, addr),
		.holder_tid = wr_load_relaxed(&lock->holder_tid),
		.hold_ns = wr_now_ns() - lock->since_ns,
	};
	lock->since_ns = 0;
}

void wr_timing_read_begin(struct wr_lock *lock, uint64_t wait_ns)
{
	uint32_t every = wr_load_relaxed(&wr_timing_every);
	uint32_t weight;

	if (!wr_timing_is_on(every))
		return;
	weight = wait_ns != 0 ? 1 : count_down(&self.sample_in, every);
	if (weight == 0 || self.nr == NR_READS)
		return;
	self.reads[self.nr++] = (struct reading){
		.lock = lock, .since_ns = wr_now_ns(), .wait_ns = wait_ns, .weight = weight};
}

bool wr_timing_read_end(struct wr_lock *lock, const void *addr, struct wr_timed *ret)
{
	for (uint32_t i = 0; i < self.nr; i++) {
		const struct reading *r = &self.reads[i];

		if (r->lock != lock)
			continue;
		*ret = (struct wr_timed){.addr = addr,
					 .wait_ns = r->wait_ns,
					 .weight = r->weight,
					 .slot = wr_segment_slot(lock, addr),
					 .holder_tid = wr_load_relaxed(&lock->holder_tid),
					 .hold_ns = wr_now_ns() - r->since_ns};
		self.reads[i] = self.reads[--self.nr];
		return true;
	}
	return false;
}

void wr_timing_record(const struct wr_timed *timed)
{
	if (timed->slot != 0)
		wr_segment_add(timed);
	if (wr_probe_enabled(lock_release))
		wr_probe3(lock_release, (uintptr_t)timed->addr, timed->wait_ns, timed->hold_ns);
}
