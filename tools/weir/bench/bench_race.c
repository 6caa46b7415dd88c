/* SPDX-License-Identifier: MIT */
/* See bench_race.h. */
#include "bench_race.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

struct racer {
	const struct wr_bench_race *race;
	pthread_barrier_t *start;
	unsigned number;
	uint64_t ns;
};

uint64_t wr_bench_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* To the @n-th processor we may use: two threads left alone share one for milliseconds. */
static void pin(unsigned n)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && n-- == 0)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one))
		(void)sched_setaffinity(0, sizeof(one), &one);
}

static void *run(void *arg)
{
	struct racer *r = arg;
	uint64_t start;

	pin(r->number);
	if (r->race->warm)
		r->race->warm(r->race->arg, r->number);
	pthread_barrier_wait(r->start);
	start = wr_bench_cpu_ns();
	r->race->work(r->race->arg, r->number);
	r->ns = wr_bench_cpu_ns() - start;
	return NULL;
}

double wr_bench_run_race(const struct wr_bench_race *race, unsigned nr)
{
	struct racer racers[WR_BENCH_RACERS];
	pthread_t threads[WR_BENCH_RACERS];
	pthread_barrier_t start;
	uint64_t most = 0;

	pthread_barrier_init(&start, NULL, nr);
	for (unsigned i = 0; i < nr; i++) {
		racers[i] = (struct racer){.race = race, .start = &start, .number = i};
		/* The others wait for it at the barrier: there is no way on. */
		if (pthread_create(&threads[i], NULL, run, &racers[i]))
			abort();
	}
	for (unsigned i = 0; i < nr; i++) {
		pthread_join(threads[i], NULL);
		most = racers[i].ns > most ? racers[i].ns : most;
	}
	pthread_barrier_destroy(&start);
	return (double)most;
}
