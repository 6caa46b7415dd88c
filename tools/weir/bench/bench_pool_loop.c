/* SPDX-License-Identifier: MIT */
/*
 * The loops of `weir bench pool`.
 *
 * All loops exist for spans, for pointers from a pool and for those of peers, made by the
 * compiler from one inline function with a constant argument. Which block goes next and how large the new one is
 * comes from a table that is the same for all arms, so that neither a stack nor a queue of
 * blocks is what decides.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/random.h"
#include "base/util.h"
#include "bench_pool.h"

#define LIVE	    64u
#define WARM	    192u
#define TABLE	    4096u
#define BATCH	    512u
#define NR_BATCHES  160u
#define MAX_SAMPLES 16384u
#define RUN_NS	    (30 * 1000000ull)
#define TRIES	    10
/* A run counts with so many samples that nobody disturbed. */
#define ENOUGH	     32u
#define LONG_WAIT_NS 500000.0
/* Blocks that change hands at a time, of the 64 that are on the way at most. */
#define HANDFUL 16u
#define WINDOW	(8 * HANDFUL)

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The blocks of one thread, and its place in the table. */
struct lane {
	struct weir_span live[LIVE];
	uint32_t at;
	uint64_t nr_failed;
};

struct table {
	uint8_t slot[TABLE];
	uint32_t bytes[TABLE];
};

static struct table tables[WR_PB_SIZES]; /* [const] after the first call */

const char *wr_pb_size_name(enum wr_pb_size size)
{
	static const char *const names[WR_PB_SIZES] = {"4 KiB", "64 KiB", "1 MiB", "mix"};

	return names[size];
}

const char *wr_pb_way_name(enum wr_pb_way way)
{
	static const char *const names[WR_PB_WAYS] = {"pair", "1 thread", "2 threads", "flow"};

	return names[way];
}

static const struct table *table_of(enum wr_pb_size size)
{
	static const uint32_t fixed[WR_PB_SIZES] = {4096, 65536, 1u << 20, 0};
	struct table *t = &tables[size];
	uint64_t x = 88172645463325252ull;

	for (uint32_t i = 0; i < TABLE && !t->bytes[TABLE - 1]; i++) {
		wr_xorshift64(&x);
		t->slot[i] = (uint8_t)(x >> 32) % LIVE;
		t->bytes[i] = fixed[size] ? fixed[size] : 4096u << (x >> 48) % 10;
	}
	return t;
}

/* 1 when the block was not taken back, which is no reason to stop the clock. */
ALWAYS_INLINE uint32_t put_block(const struct wr_pb_arm *arm, struct lane *lane, uint32_t slot,
				 enum wr_pb_form form)
{
	if (form == WR_PB_SPANS)
		return arm->give(arm->pool, &lane->live[slot]) != 0;
	if (form == WR_PB_COPIED_SPANS)
		return arm->give_copy(arm->pool, lane->live[slot]) != 0;
	if (form == WR_PB_POOL_POINTERS)
		return arm->pool_release(arm->pool, lane->live[slot].base) != 0;
	arm->release(lane->live[slot].base);
	return 0;
}

ALWAYS_INLINE uint32_t get_block(const struct wr_pb_arm *arm, struct lane *lane, uint32_t slot,
				 uint32_t bytes, enum wr_pb_form form)
{
	if (form == WR_PB_SPANS || form == WR_PB_COPIED_SPANS) {
		if (arm->take(arm->pool, bytes, WEIR_NODE_ANY, &lane->live[slot]) == 0)
			return 0;
		lane->live[slot] = (struct weir_span){0};
		return 1;
	}
	if (form == WR_PB_POOL_POINTERS)
		lane->live[slot].base = arm->pool_alloc(arm->pool, bytes);
	else
		lane->live[slot].base = arm->alloc(bytes);
	return !lane->live[slot].base;
}

/* What the loop itself counts stays in registers: a sum in memory is as slow as an allocator. */
ALWAYS_INLINE void steps(const struct wr_pb_arm *arm, struct lane *lane, const struct table *t,
			 uint32_t nr, enum wr_pb_form form)
{
	uint32_t first = lane->at;
	uint32_t nr_failed = 0;

	for (uint32_t i = first; i != first + nr; i++) {
		uint32_t at = i % TABLE;

		nr_failed += put_block(arm, lane, t->slot[at], form);
		nr_failed += get_block(arm, lane, t->slot[at], t->bytes[at], form);
	}
	lane->at = first + nr;
	lane->nr_failed += nr_failed;
}

/* One loop for each form, made by the compiler from the one above. */
static void run_steps(const struct wr_pb_arm *arm, struct lane *lane, const struct table *t,
		      uint32_t nr)
{
	if (arm->form == WR_PB_SPANS)
		steps(arm, lane, t, nr, WR_PB_SPANS);
	else if (arm->form == WR_PB_COPIED_SPANS)
		steps(arm, lane, t, nr, WR_PB_COPIED_SPANS);
	else if (arm->form == WR_PB_POOL_POINTERS)
		steps(arm, lane, t, nr, WR_PB_POOL_POINTERS);
	else
		steps(arm, lane, t, nr, WR_PB_MALLOC);
}

static void fill(const struct wr_pb_arm *arm, struct lane *lane, const struct table *t)
{
	memset(lane, 0, sizeof(*lane));
	for (uint32_t i = 0; i < LIVE; i++)
		lane->nr_failed += get_block(arm, lane, i, t->bytes[i], arm->form);
}

static void drain(const struct wr_pb_arm *arm, struct lane *lane)
{
	for (uint32_t i = 0; i < LIVE; i++)
		lane->nr_failed += put_block(arm, lane, i, arm->form);
}

/* Nanoseconds of a step, of a batch. A few steps before warm what other arms displaced. */
static double time_batch(const struct wr_pb_arm *arm, struct lane *lane, const struct table *t)
{
	uint64_t begin;

	run_steps(arm, lane, t, WARM);
	begin = wr_now_ns();
	run_steps(arm, lane, t, BATCH);
	return (double)(wr_now_ns() - begin) / BATCH;
}

/* The value that @permille of them lie below. */
static double quantile(double *v, size_t nr, unsigned permille)
{
	wr_bench_sort(v, nr);
	return nr ? v[(nr - 1) * permille / 1000] : NAN;
}

/* ---- all arms in turns, one thread ---- */

struct turns {
	struct lane lane[WR_PB_ARMS];
	double sample[WR_PB_ARMS][NR_BATCHES];
	uint64_t random;
};

/* Who comes after whom matters (caches, branch predictors): another order each time. */
static void shuffle(uint8_t order[WR_PB_ARMS], uint64_t *random)
{
	for (unsigned i = WR_PB_ARMS; i > 1; i--) {
		unsigned j = (unsigned)(wr_xorshift64(random) >> 40) % i;
		uint8_t swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

static void take_turns(const struct wr_pb_arm *arms, struct turns *turns, const struct table *t)
{
	uint8_t order[WR_PB_ARMS];

	for (uint8_t i = 0; i < WR_PB_ARMS; i++)
		order[i] = i;
	for (uint32_t b = 0; b < NR_BATCHES; b++) {
		shuffle(order, &turns->random);
		for (uint32_t k = 0; k < WR_PB_ARMS; k++) {
			uint32_t i = order[k];

			if (arms[i].is_there)
				turns->sample[i][b] = time_batch(&arms[i], &turns->lane[i], t);
		}
	}
}

int wr_pb_pairs(const struct wr_pb_arm *arms, enum wr_pb_size size, double *ret)
{
	struct turns *turns = calloc(1, sizeof(*turns));
	const struct table *t = table_of(size);
	uint64_t nr_failed = 0;

	if (!turns)
		return -ENOMEM;
	turns->random = 88172645463325252ull;
	for (uint32_t i = 0; i < WR_PB_ARMS; i++) {
		if (!arms[i].is_there)
			continue;
		fill(&arms[i], &turns->lane[i], t);
		/* Each somewhere else in the table, so that none learns from another. */
		turns->lane[i].at = i * (TABLE / WR_PB_ARMS);
		run_steps(&arms[i], &turns->lane[i], t, TABLE);
	}
	take_turns(arms, turns, t);
	for (int i = 0; i < WR_PB_ARMS; i++) {
		ret[i] = NAN;
		if (!arms[i].is_there)
			continue;
		drain(&arms[i], &turns->lane[i]);
		nr_failed += turns->lane[i].nr_failed;
		ret[i] = quantile(turns->sample[i], NR_BATCHES, 250);
	}
	free(turns);
	return nr_failed ? -ENOSPC : 0;
}

/* ---- threads ---- */

/* Blocks on their way from one thread to another, as spans or as pointers. */
struct belt {
	_Alignas(WR_CACHE_LINE) _Atomic uint64_t nr_put; /* A1 */
	_Alignas(WR_CACHE_LINE) _Atomic uint64_t nr_got; /* A2 */
	_Alignas(WR_CACHE_LINE) _Atomic bool is_done;	 /* A3 */
	_Alignas(WR_CACHE_LINE) void *pointer[LIVE];
	_Alignas(WR_CACHE_LINE) struct weir_span span[LIVE];
};

struct run {
	const struct wr_pb_arm *arm;
	const struct table *table;
	enum wr_pb_way way;
	pthread_barrier_t start;
	struct belt *belt;
};

struct sample {
	uint64_t begin_ns, end_ns;
	double ns;	   /* of a block */
	bool is_preempted; /* another process took the processor meanwhile */
};

struct worker {
	struct run *run;
	pthread_t thread;
	unsigned index;
	struct lane lane;
	size_t nr_samples;
	struct sample sample[MAX_SAMPLES];
	double value[MAX_SAMPLES]; /* to be sorted */
};

/* Threads of a run stay on processors of their own, where there are enough. */
static void stay_apart(unsigned index)
{
	cpu_set_t all, one;
	int left = (int)index;

	if (sched_getaffinity(0, sizeof(all), &all) != 0 || CPU_COUNT(&all) <= left)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || left-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* Of this thread so far. */
static long nr_preemptions(void)
{
	struct rusage usage = {0};

	(void)getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static void work_alone(struct worker *w)
{
	struct run *run = w->run;
	struct sample *s;
	long before, after;
	uint64_t end;

	fill(run->arm, &w->lane, run->table);
	/* Not all threads at one place of the table. */
	w->lane.at = w->index * TABLE / 2;
	run_steps(run->arm, &w->lane, run->table, TABLE);
	pthread_barrier_wait(&run->start);
	before = nr_preemptions();
	end = wr_now_ns() + RUN_NS;
	while (wr_now_ns() < end && w->nr_samples < MAX_SAMPLES) {
		s = &w->sample[w->nr_samples++];
		s->begin_ns = wr_now_ns();
		s->ns = time_batch(run->arm, &w->lane, run->table);
		s->end_ns = wr_now_ns();
		after = nr_preemptions();
		s->is_preempted = after != before;
		before = after;
	}
	drain(run->arm, &w->lane);
}

/* Wait a little, then let others run. */
static void pass_time(unsigned *spins)
{
	if (++*spins % 512)
		wr_cpu_relax();
	else
		sched_yield();
}

ALWAYS_INLINE void load_belt(struct worker *w, uint64_t from, enum wr_pb_form form)
{
	const struct table *t = w->run->table;
	struct belt *belt = w->run->belt;

	for (uint64_t n = from; n < from + HANDFUL; n++) {
		w->lane.nr_failed +=
			get_block(w->run->arm, &w->lane, n % LIVE, t->bytes[n % TABLE], form);
		if (form == WR_PB_SPANS || form == WR_PB_COPIED_SPANS)
			belt->span[n % LIVE] = w->lane.live[n % LIVE];
		else
			belt->pointer[n % LIVE] = w->lane.live[n % LIVE].base;
	}
}

ALWAYS_INLINE void unload_belt(struct worker *w, uint64_t from, enum wr_pb_form form)
{
	struct belt *belt = w->run->belt;

	for (uint64_t n = from; n < from + HANDFUL; n++) {
		if (form == WR_PB_SPANS || form == WR_PB_COPIED_SPANS)
			w->lane.live[n % LIVE] = belt->span[n % LIVE];
		else
			w->lane.live[n % LIVE].base = belt->pointer[n % LIVE];
		w->lane.nr_failed += put_block(w->run->arm, &w->lane, n % LIVE, form);
	}
}

static void load_belt_by_form(struct worker *w, uint64_t from)
{
	if (w->run->arm->form == WR_PB_SPANS)
		load_belt(w, from, WR_PB_SPANS);
	else if (w->run->arm->form == WR_PB_COPIED_SPANS)
		load_belt(w, from, WR_PB_COPIED_SPANS);
	else if (w->run->arm->form == WR_PB_POOL_POINTERS)
		load_belt(w, from, WR_PB_POOL_POINTERS);
	else
		load_belt(w, from, WR_PB_MALLOC);
}

static void unload_belt_by_form(struct worker *w, uint64_t from)
{
	if (w->run->arm->form == WR_PB_SPANS)
		unload_belt(w, from, WR_PB_SPANS);
	else if (w->run->arm->form == WR_PB_COPIED_SPANS)
		unload_belt(w, from, WR_PB_COPIED_SPANS);
	else if (w->run->arm->form == WR_PB_POOL_POINTERS)
		unload_belt(w, from, WR_PB_POOL_POINTERS);
	else
		unload_belt(w, from, WR_PB_MALLOC);
}

static void produce(struct worker *w)
{
	struct belt *belt = w->run->belt;
	uint64_t end, n = 0;
	unsigned spins = 0;

	pthread_barrier_wait(&w->run->start);
	end = wr_now_ns() + RUN_NS;
	while (n % WINDOW || wr_now_ns() < end) {
		/* A2: pairs with the release in consume() */
		while (n - wr_load_acquire(&belt->nr_got) > LIVE - HANDFUL)
			pass_time(&spins);
		load_belt_by_form(w, n);
		n += HANDFUL;
		/* A1: pairs with the acquire in consume() */
		wr_store_release(&belt->nr_put, n);
	}
	/* A3: pairs with the acquire in consume() */
	wr_store_release(&belt->is_done, true);
}

/* The time that the last blocks took, by the one who gives them back. */
static void note_window(struct worker *w, uint64_t *begin)
{
	uint64_t now = wr_now_ns();

	if (w->nr_samples < MAX_SAMPLES)
		w->sample[w->nr_samples++] =
			(struct sample){.begin_ns = *begin, .ns = (double)(now - *begin) / WINDOW};
	*begin = now;
}

static void consume(struct worker *w)
{
	struct belt *belt = w->run->belt;
	unsigned spins = 0;
	uint64_t begin, n = 0;
	bool done;

	pthread_barrier_wait(&w->run->start);
	begin = wr_now_ns();
	for (;;) {
		/* A3, then A1: what was put before the end is seen after it. */
		done = wr_load_acquire(&belt->is_done);
		if (wr_load_acquire(&belt->nr_put) == n) {
			if (done)
				break;
			pass_time(&spins);
			continue;
		}
		unload_belt_by_form(w, n);
		n += HANDFUL;
		/* A2: pairs with the acquire in produce() */
		wr_store_release(&belt->nr_got, n);
		if (n % WINDOW == 0)
			note_window(w, &begin);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	stay_apart(w->index);
	if (w->run->way != WR_PB_FLOW)
		work_alone(w);
	else if (w->index)
		consume(w);
	else
		produce(w);
	return NULL;
}

/* Start the threads and join them. The barrier waits for all, so none may be missing. */
static int run_workers(struct run *run, struct worker *workers, unsigned nr)
{
	unsigned i;
	int rc;

	rc = -pthread_barrier_init(&run->start, NULL, nr + 1);
	if (rc)
		return rc;
	for (i = 0; i < nr && !rc; i++) {
		workers[i].run = run;
		workers[i].index = i;
		rc = -pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
	}
	if (rc) {
		/* Those that run wait for the others, for ever: there is no way back. */
		wr_log(WEIR_LOG_ERROR, "bench", "a thread could not be started");
		_exit(1);
	}
	pthread_barrier_wait(&run->start);
	for (i = 0; i < nr; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&run->start);
	return 0;
}

/*
 * With two threads only those samples count that lie within samples of the other, and all of
 * them without another process in between: both really ran.
 */
static size_t keep_shared_time(struct worker *w, const struct worker *other)
{
	size_t k = 0, nr = 0;

	for (size_t i = 0; i < w->nr_samples; i++) {
		const struct sample *s = &w->sample[i];
		bool alone = s->is_preempted;
		size_t l;

		while (k + 1 < other->nr_samples && other->sample[k].end_ns <= s->begin_ns)
			k++;
		for (l = k; l < other->nr_samples && other->sample[l].begin_ns < s->end_ns; l++)
			alone |= other->sample[l].is_preempted;
		if (!alone && l > k && other->sample[l - 1].end_ns >= s->end_ns)
			w->value[nr++] = s->ns;
	}
	return nr;
}

/*
 * A thread that waited for the other's lock and then for a processor lost it to another
 * process as well, though it is not counted as preempted. Two threads hold each other up for
 * microseconds; what took half a millisecond more than eight times the usual was not that.
 */
static void mark_long_waits(struct worker *w)
{
	double usual;

	for (size_t i = 0; i < w->nr_samples; i++)
		w->value[i] = w->sample[i].ns;
	usual = quantile(w->value, w->nr_samples, 250);
	for (size_t i = 0; i < w->nr_samples; i++)
		w->sample[i].is_preempted |=
			w->sample[i].ns * BATCH > 8 * usual * BATCH + LONG_WAIT_NS;
}

static size_t keep_undisturbed(struct worker *w)
{
	size_t nr = 0;

	for (size_t i = 0; i < w->nr_samples; i++)
		if (!w->sample[i].is_preempted)
			w->value[nr++] = w->sample[i].ns;
	return nr;
}

static double mean(const double *v, size_t nr)
{
	double sum = 0;

	for (size_t i = 0; i < nr; i++)
		sum += v[i];
	return sum / (double)nr;
}

/*
 * Returns how many samples the result rests on. The time that threads wait for each other is
 * in few and long samples, so the mean it is. A belt moves only while both threads run: what
 * it waited for a processor is in the slow windows.
 */
static size_t result_of(struct worker *workers, enum wr_pb_way way, double *ret)
{
	size_t nr, nr_other;

	if (way == WR_PB_FLOW) {
		nr = keep_undisturbed(&workers[1]);
		*ret = quantile(workers[1].value, nr, 250);
		return nr;
	}
	if (way == WR_PB_ONE) {
		nr = keep_undisturbed(&workers[0]);
		*ret = mean(workers[0].value, nr);
		return nr;
	}
	mark_long_waits(&workers[0]);
	mark_long_waits(&workers[1]);
	nr = keep_shared_time(&workers[0], &workers[1]);
	nr_other = keep_shared_time(&workers[1], &workers[0]);
	*ret = (mean(workers[0].value, nr) + mean(workers[1].value, nr_other)) / 2;
	return wr_min(nr, nr_other);
}

static int run_once(const struct wr_pb_arm *arm, enum wr_pb_size size, enum wr_pb_way way,
		    double *ret, size_t *ret_nr)
{
	struct run run = {.arm = arm, .table = table_of(size), .way = way};
	unsigned nr = way == WR_PB_ONE ? 1 : 2;
	struct worker *workers = calloc(nr, sizeof(*workers));
	uint64_t nr_failed = 0;
	int rc = -ENOMEM;

	run.belt = aligned_alloc(WR_CACHE_LINE, sizeof(*run.belt));
	if (!workers || !run.belt)
		goto out;
	memset(run.belt, 0, sizeof(*run.belt));
	rc = run_workers(&run, workers, nr);
	if (rc)
		goto out;
	for (unsigned i = 0; i < nr; i++)
		nr_failed += workers[i].lane.nr_failed;
	if (nr_failed) {
		rc = -ENOSPC;
		goto out;
	}
	*ret_nr = result_of(workers, way, ret);
out:
	free(run.belt);
	free(workers);
	return rc;
}

int wr_pb_threads(const struct wr_pb_arm *arm, enum wr_pb_size size, enum wr_pb_way way,
		  double *ret)
{
	size_t most = 0;

	*ret = NAN;
	for (int try = 0; try < TRIES && most < ENOUGH; try++) {
		double ns = NAN;
		size_t nr = 0;
		int rc = run_once(arm, size, way, &ns, &nr);

		if (rc)
			return rc;
		if (nr <= most)
			continue;
		most = nr;
		*ret = most < ENOUGH ? NAN : ns;
	}
	return 0;
}
