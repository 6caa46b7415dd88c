/* SPDX-License-Identifier: MIT */
/* bench_race.h - The same work in several threads at once, timed by the processor they used. */
#ifndef WR_TOOLS_BENCH_RACE_H
#define WR_TOOLS_BENCH_RACE_H

#include <stdint.h>

#define WR_BENCH_RACERS 8u

/* Nanoseconds of processor that the calling thread used: what other programs use does not count. */
uint64_t wr_bench_cpu_ns(void);

/**
 * struct wr_bench_race - What the threads do.
 * @warm: Before the start, or NULL.
 * @work: What is timed.
 * @arg:  Handed to both, with the thread's number from 0 on.
 */
struct wr_bench_race {
	void (*warm)(void *arg, unsigned number);
	void (*work)(void *arg, unsigned number);
	void *arg;
};

/*
 * Run it in @nr threads, WR_BENCH_RACERS at most, each on a processor of its own as far as there
 * are; all begin when all are warm. Nanoseconds of the slowest.
 */
double wr_bench_run_race(const struct wr_bench_race *race, unsigned nr);

#endif /* WR_TOOLS_BENCH_RACE_H */
