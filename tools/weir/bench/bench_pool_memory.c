/* SPDX-License-Identifier: MIT */
/*
 * What the pool's memory is worth, and what it wastes.
 *
 * Loads: the address of each depends on the value of the one before, so that they cannot
 * overlap; all values are 0, so that both arms visit the same places.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"
#include "base/util.h"
#include "bench_pool.h"
#include "mkmodel_priv.h"

#define MIB	     ((size_t)1 << 20)
#define LOADS_BYTES  (2048 * MIB)
#define LOADS_LEAST  (256 * MIB)
#define NR_LOADS     2000u
#define NR_TURNS     120u
#define SPARE_FACTOR 7 / 2

static uint64_t available_bytes(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	if (!f)
		return 0;
	while (!kib && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
			kib = 0;
	fclose(f);
	return kib * 1024;
}

/* Where the next load goes: @state chooses, and each value loaded changes it. */
struct walk {
	const uint8_t *base;
	unsigned shift;
	uint64_t state;
	double *sample;
};

static struct walk walk_over(const uint8_t *base, size_t bytes, double *sample)
{
	return (struct walk){.base = base,
			     .shift = 64 - (unsigned)(__builtin_ctzll(bytes) - 6),
			     .state = 0x9e3779b97f4a7c15ull,
			     .sample = sample};
}

/* Nanoseconds of a load. */
static double time_loads(struct walk *w)
{
	uint64_t state = w->state;
	uint64_t begin = wr_now_ns();

	/* The high bits choose the cache line. */
	for (uint32_t i = 0; i < NR_LOADS; i++) {
		size_t line = (size_t)(state >> w->shift) << 6;
		uint64_t value = *(const volatile uint64_t *)(const void *)(w->base + line);

		state = wr_lcg64(&state) + value;
	}
	w->state = state;
	return (double)(wr_now_ns() - begin) / NR_LOADS;
}

/* Memory from malloc() with ordinary pages, touched. */
static uint8_t *malloc_4k(size_t bytes)
{
	uint8_t *p = malloc(bytes);
	uintptr_t first = wr_align_up((uintptr_t)p, 4096);

	if (!p)
		return NULL;
	/* Where the system gives huge pages to all, not here. Without them it is refused. */
	(void)madvise((void *)first, wr_align_down(bytes - 4096, 4096), MADV_NOHUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

static int open_pool(size_t bytes, uint32_t kinds, uint32_t flags, struct weir_pool **ret,
		     struct weir_error *err)
{
	struct weir_pool_opts opts = {
		.size = sizeof(opts), .capacity_bytes = bytes, .page_kinds = kinds, .flags = flags};

	return weir_pool_open(&opts, ret, err);
}

/* A mapping and nothing else, touched, in the largest pages that come without a reservation. */
static uint8_t *map_huge(size_t bytes, void **ret_map, size_t *ret_bytes)
{
	uint8_t *first;
	void *map;

	*ret_bytes = bytes + 2 * MIB;
	map = mmap(NULL, *ret_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	first = (uint8_t *)wr_align_up((uintptr_t)map, 2 * MIB);
	if (madvise(first, bytes, MADV_HUGEPAGE) != 0) {
		munmap(map, *ret_bytes);
		return NULL;
	}
	memset(first, 0, bytes);
	*ret_map = map;
	return first;
}

enum { POOL, PLAIN, LIMIT, MEMORIES };

/* In turns of about a millisecond; of those that were interrupted least, the slowest. */
static void compare_loads(uint32_t rounds, const uint8_t *const memory[MEMORIES],
			  struct wr_pb_loads *ret)
{
	static double sample[MEMORIES][NR_TURNS];
	struct wr_bench_series *const series[] = {&ret->pool_ns, &ret->malloc_ns, &ret->limit_ns};
	struct walk w[MEMORIES];
	double ns[MEMORIES] = {0};
	uint32_t nr = memory[LIMIT] ? MEMORIES : LIMIT;

	for (uint32_t k = 0; k < nr; k++)
		w[k] = walk_over(memory[k], ret->bytes, sample[k]);
	for (uint32_t r = 0; r < rounds; r++) {
		for (uint32_t i = 0; i < NR_TURNS; i++)
			for (uint32_t k = 0; k < nr; k++)
				w[(i + k) % nr].sample[i] = time_loads(&w[(i + k) % nr]);
		for (uint32_t k = 0; k < nr; k++) {
			wr_bench_sort(sample[k], NR_TURNS);
			ns[k] = sample[k][NR_TURNS / 4];
			wr_bench_add(series[k], ns[k]);
		}
		wr_bench_add(&ret->ratio, ns[POOL] / ns[PLAIN]);
		if (nr > LIMIT)
			wr_bench_add(&ret->limit, ns[LIMIT] / ns[PLAIN]);
	}
}

int wr_pb_loads(uint32_t rounds, struct wr_pb_loads *ret, struct weir_error *err)
{
	uint64_t available = available_bytes();
	struct weir_pool_stats stats;
	struct weir_pool *pool = NULL;
	struct weir_span span = {0};
	size_t bytes = LOADS_BYTES;
	uint8_t *plain = NULL;
	size_t map_bytes;
	void *map = NULL;
	int rc;

	memset(ret, 0, sizeof(*ret));
	while (bytes >= LOADS_LEAST && bytes * SPARE_FACTOR > available)
		bytes /= 2;
	if (bytes < LOADS_LEAST)
		return 0;
	rc = open_pool(bytes, 0, 0, &pool, err);
	if (rc)
		return rc;
	weir_pool_stats(pool, &stats);
	ret->page_kind = weir_pool_page_kind(pool);
	ret->metadata = (double)stats.metadata_bytes / (double)stats.capacity_bytes;
	/* A pool of several nodes gives no span over all of them. */
	while (weir_pool_alloc(pool, bytes, WEIR_NODE_ANY, &span) != 0 && bytes > LOADS_LEAST)
		bytes /= 2;
	plain = span.base ? malloc_4k(bytes) : NULL;
	if (plain) {
		memset(span.base, 0, bytes);
		ret->bytes = bytes;
		compare_loads(rounds,
			      (const uint8_t *const[]){span.base, plain,
						       map_huge(bytes, &map, &map_bytes)},
			      ret);
	}
	if (map)
		munmap(map, map_bytes);
	free(plain);
	weir_pool_free(pool, span);
	weir_pool_close(pool);
	return 0;
}

/* ---- tensors ---- */

struct tensors {
	struct wr_mk_tensors list;
	struct weir_span *spans;
	uint32_t *order;
	uint64_t random;
};

static uint32_t random_below(struct tensors *t, uint32_t n)
{
	return wr_random_below(wr_xorshift64(&t->random), n);
}

static void shuffle(struct tensors *t)
{
	for (uint32_t i = (uint32_t)t->list.nr; i > 1; i--) {
		uint32_t j = random_below(t, i);
		uint32_t swap = t->order[i - 1];

		t->order[i - 1] = t->order[j];
		t->order[j] = swap;
	}
}

static int take_all(struct weir_pool *pool, struct tensors *t)
{
	for (size_t i = 0; i < t->list.nr; i++) {
		uint32_t k = t->order[i];
		int rc = weir_pool_alloc(pool, t->list.v[k].bytes, WEIR_NODE_ANY, &t->spans[k]);

		if (rc)
			return rc;
	}
	return 0;
}

static void give_all(struct weir_pool *pool, struct tensors *t)
{
	for (size_t i = 0; i < t->list.nr; i++) {
		weir_pool_free(pool, t->spans[t->order[i]]);
		t->spans[t->order[i]] = (struct weir_span){0};
	}
}

static uint64_t resident_bytes(void)
{
	unsigned long long all = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &all, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A region is whole when all of it can be had at once. */
static void count_whole_regions(struct weir_pool *pool, struct wr_pb_tensors *ret)
{
	struct weir_pool_region region;
	struct weir_span span;

	ret->nr_regions = weir_pool_nr_regions(pool);
	for (size_t i = 0; i < ret->nr_regions; i++) {
		int node = WEIR_NODE_ANY;

		if (weir_pool_region(pool, i, &region))
			continue;
		if (region.node >= 0)
			node = region.node;
		if (weir_pool_alloc(pool, region.bytes, node, &span))
			continue;
		ret->nr_whole++;
		weir_pool_free(pool, span);
	}
}

static int run_rounds(struct weir_pool *pool, struct tensors *t, uint32_t rounds,
		      struct wr_pb_tensors *ret)
{
	uint64_t before = 0;

	for (uint32_t r = 0; r < rounds; r++) {
		int rc;

		shuffle(t);
		rc = take_all(pool, t);
		if (rc)
			return rc;
		shuffle(t);
		give_all(pool, t);
		if (r == rounds / 2)
			before = resident_bytes();
	}
	ret->rounds = rounds;
	ret->grown_bytes = (int64_t)(resident_bytes() - before);
	count_whole_regions(pool, ret);
	return 0;
}

static int look_at_waste(struct weir_pool *pool, struct tensors *t, struct wr_pb_tensors *ret)
{
	struct weir_pool_stats stats;
	int rc = take_all(pool, t);

	if (rc)
		return rc;
	weir_pool_stats(pool, &stats);
	ret->used_bytes = stats.used_bytes;
	give_all(pool, t);
	return 0;
}

static int open_tensors(const char *name, struct tensors *t, struct wr_pb_tensors *ret)
{
	const struct wr_mk_model *model = wr_mk_model_find(name);
	int rc;

	memset(t, 0, sizeof(*t));
	memset(ret, 0, sizeof(*ret));
	t->random = 88172645463325252ull;
	if (!model)
		return -EINVAL;
	rc = wr_mk_shapes(model, 0, &t->list);
	if (rc)
		return rc;
	t->spans = calloc(t->list.nr, sizeof(*t->spans));
	t->order = calloc(t->list.nr, sizeof(*t->order));
	if (!t->spans || !t->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->list.nr; i++) {
		t->order[i] = i;
		ret->bytes += t->list.v[i].bytes;
	}
	ret->nr_tensors = t->list.nr;
	return 0;
}

static void close_tensors(struct tensors *t)
{
	wr_mk_tensors_fini(&t->list);
	free(t->spans);
	free(t->order);
}

int wr_pb_tensors(const char *model, uint32_t rounds, struct wr_pb_tensors *ret,
		  struct weir_error *err)
{
	struct weir_pool *pool = NULL;
	struct tensors t;
	int rc;

	*err = (struct weir_error){.offset = WEIR_OFFSET_NONE};
	rc = open_tensors(model, &t, ret);
	if (!rc)
		/* Twice the room, since the holes between tensors hold no others; untouched. */
		rc = open_pool(wr_align_up(2 * ret->bytes, 64 * MIB),
			       1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K, WEIR_POOL_LAZY, &pool,
			       err);
	if (!rc)
		rc = rounds ? run_rounds(pool, &t, rounds, ret) : look_at_waste(pool, &t, ret);
	weir_pool_close(pool);
	close_tensors(&t);
	err->code = rc;
	return rc;
}
