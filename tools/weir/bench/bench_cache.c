/* SPDX-License-Identifier: MIT */
/*
 * weir bench cache - what a hit costs, against the block caches of RocksDB.
 *
 * Get and put of keys that are all there, in the order of a Zipf distribution, by one thread and by
 * two. Times are of the thread's own processor time, of the slower thread; each round times all
 * sides one after the other, and the ratio is of the two of one round. The bytes of the entries are
 * addresses and never touched, so that what is measured is the index. The peers are a shared
 * object beside this command (tools/peers); without it there are weir's numbers only.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/cache.h>

#include "../../peers/rocksdb.h"
#include "base/random.h"
#include "bench.h"
#include "bench_hollow.h"
#include "bench_race.h"
#include "ui.h"
#include "zipf.h"

#define NR_KEYS	    131072u
#define NR_ORDER    1048576u
#define NR_TIMES    4u
#define ENTRY_BYTES 4096u
#define ZIPF	    0.99
#define MAX_THREADS 2u
#define BAR_NS	    60.0
#define BAR_MS	    100.0

enum { SIDE_WEIR, SIDE_HCC, SIDE_LRU, NR_SIDES };

struct peer {
	void *library;
	struct wr_peer_rocksdb *p[NR_SIDES];
	__typeof__(wr_peer_rocksdb_open) *open;
	__typeof__(wr_peer_rocksdb_close) *close;
	__typeof__(wr_peer_rocksdb_hits) *hits;
};

struct bench {
	struct weir_cache *cache;
	struct weir_key *keys;
	uint32_t *order;
	struct peer peer;
	struct wr_bench_series ns[NR_SIDES][MAX_THREADS], ratio[NR_SIDES][MAX_THREADS];
	struct wr_bench_series scale;
	struct wr_bench_pressure pressure;
	_Atomic uint64_t nr_missed;
};

/* ---- the sides ---- */

static uint64_t our_hits(struct bench *b, const uint32_t *order, size_t n)
{
	struct weir_cache_item item = {.bytes = ENTRY_BYTES};
	uint64_t nr_found = 0;

	for (size_t i = 0; i < n; i++) {
		struct weir_pin pin;

		item.key = b->keys[order[i]];
		if (weir_cache_get(b->cache, &item, WEIR_CACHE_NO_FILL, &pin))
			continue;
		nr_found += pin.data != NULL;
		(void)weir_cache_put(b->cache, &pin);
	}
	return nr_found;
}

static uint64_t hits(struct bench *b, int side, const uint32_t *order, size_t n)
{
	return side == SIDE_WEIR ? our_hits(b, order, n)
				 : b->peer.hits(b->peer.p[side], b->keys, order, n);
}

/* ---- what they work on ---- */

/* Key number of each reference: rank r with a weight of r^-ZIPF, keys in no order of rank. */
static int make_order(struct bench *b)
{
	struct wr_zipf zipf;
	uint64_t random = 1;
	int rc = wr_zipf_init(&zipf, NR_KEYS, ZIPF);

	if (rc)
		return rc;
	for (uint32_t n = 0; n < NR_ORDER; n++) {
		uint32_t rank = (uint32_t)wr_zipf_rank(&zipf, wr_mix64(random++));

		b->order[n] = (uint32_t)(rank * 2654435761u) % NR_KEYS;
	}
	wr_zipf_fini(&zipf);
	return 0;
}

static int open_cache(struct bench *b)
{
	struct weir_cache_opts opts;
	struct weir_error err = {0};
	int rc;

	wr_bench_hollow_opts((uint64_t)NR_KEYS * ENTRY_BYTES, NR_KEYS, &opts);
	rc = weir_cache_open(&opts, &b->cache, &err);
	for (uint32_t i = 0; !rc && i < NR_KEYS; i++) {
		struct weir_cache_item item = {.key = b->keys[i], .bytes = ENTRY_BYTES};
		struct weir_pin pin;

		rc = weir_cache_get(b->cache, &item, 0, &pin);
		if (!rc)
			(void)weir_cache_put(b->cache, &pin);
	}
	return rc;
}

static int load_symbol(void *library, const char *name, void *ret)
{
	void *symbol = dlsym(library, name);

	memcpy(ret, &symbol, sizeof(symbol));
	return symbol ? 0 : -ENOENT;
}

/* build/peers/rocksdb.so beside build/weir. */
static void open_peer(struct bench *b)
{
	struct peer *peer = &b->peer;
	char path[PATH_MAX];
	ssize_t nr = readlink("/proc/self/exe", path, sizeof(path) - 32);

	if (nr <= 0)
		return;
	path[nr] = '\0';
	strcpy(strrchr(path, '/'), "/peers/rocksdb.so");
	peer->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!peer->library || load_symbol(peer->library, "wr_peer_rocksdb_open", &peer->open) ||
	    load_symbol(peer->library, "wr_peer_rocksdb_close", &peer->close) ||
	    load_symbol(peer->library, "wr_peer_rocksdb_hits", &peer->hits))
		return;
	for (int side = SIDE_HCC; side < NR_SIDES; side++)
		peer->p[side] = peer->open(side == SIDE_HCC, b->keys, NR_KEYS, ENTRY_BYTES);
}

static void fini(struct bench *b)
{
	for (int side = 0; side < NR_SIDES; side++)
		if (b->peer.p[side])
			b->peer.close(b->peer.p[side]);
	if (b->peer.library)
		dlclose(b->peer.library);
	weir_cache_close(b->cache);
	free(b->keys);
	free(b->order);
	free(b);
}

static int prepare(struct bench *b)
{
	int rc;

	b->keys = malloc(NR_KEYS * sizeof(*b->keys));
	b->order = malloc(NR_ORDER * sizeof(*b->order));
	if (!b->keys || !b->order)
		return -ENOMEM;
	for (uint32_t i = 0; i < NR_KEYS; i++)
		b->keys[i] = (struct weir_key){wr_mix64(2 * i + 1), wr_mix64(2 * i + 2)};
	rc = make_order(b);
	if (!rc)
		rc = open_cache(b);
	if (!rc)
		open_peer(b);
	return rc;
}

/* ---- measuring ---- */

struct turn {
	struct bench *b;
	int side;
};

#define PART (NR_ORDER / MAX_THREADS)

/* Each thread begins elsewhere in the same order. */
static void warm(void *arg, unsigned number)
{
	const struct turn *t = arg;

	(void)hits(t->b, t->side, t->b->order + number * PART, PART / 8);
}

static void take_all(void *arg, unsigned number)
{
	const struct turn *t = arg;

	for (uint32_t i = 0; i < NR_TIMES; i++)
		if (hits(t->b, t->side, t->b->order + number * PART, PART) != PART)
			atomic_fetch_add(&t->b->nr_missed, 1);
}

static double time_side(struct bench *b, int side, unsigned int nr)
{
	struct turn turn = {.b = b, .side = side};
	const struct wr_bench_race race = {.warm = warm, .work = take_all, .arg = &turn};

	return wr_bench_run_race(&race, nr) / NR_TIMES / PART;
}

static void measure_round(struct bench *b)
{
	double ns[NR_SIDES][MAX_THREADS];

	for (unsigned int nr = 1; nr <= MAX_THREADS; nr++)
		for (int side = 0; side < NR_SIDES; side++) {
			if (side != SIDE_WEIR && !b->peer.p[side])
				continue;
			ns[side][nr - 1] = time_side(b, side, nr);
			wr_bench_add(&b->ns[side][nr - 1], ns[side][nr - 1]);
			if (side != SIDE_WEIR)
				wr_bench_add(&b->ratio[side][nr - 1],
					     ns[SIDE_WEIR][nr - 1] / ns[side][nr - 1]);
		}
	wr_bench_add(&b->scale, 2 * ns[SIDE_WEIR][0] / ns[SIDE_WEIR][1]);
}

/* ---- telling ---- */

static const char *const side_names[NR_SIDES] = {"weir", "HyperClockCache", "LRUCache"};
/* Of weir to the side, by threads. */
static const double bars[NR_SIDES][MAX_THREADS] = {{0, 0}, {1.3, 0.6}, {0, 0.3}};

static int print_json(const struct bench *b)
{
	json_t *rows = json_array();

	for (int side = 0; side < NR_SIDES; side++)
		for (unsigned int nr = 0; nr < MAX_THREADS; nr++)
			json_array_append_new(rows, json_pack("{s:s, s:i, s:o, s:o, s:f}", "side",
							      side_names[side], "threads", nr + 1,
							      "ns", wr_bench_json(&b->ns[side][nr]),
							      "weir_to_it",
							      wr_bench_json(&b->ratio[side][nr]),
							      "bar", bars[side][nr]));
	return wr_ui_json_print(json_pack(
		"{s:o, s:s, s:b, s:o, s:o, s:I, s:o, s:o}", "conditions", wr_bench_conditions(NULL),
		"bench", "cache", "peer", b->peer.p[SIDE_HCC] != NULL, "rows", rows, "scale",
		wr_bench_json(&b->scale), "missed", (json_int_t)b->nr_missed, "pressure_ms",
		wr_bench_json(&b->pressure.ms), "pressure_cpu_ms",
		wr_bench_json(&b->pressure.cpu_ms)));
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column cols[] = {{"get and put", WR_UI_LEFT},
						   {"threads", WR_UI_RIGHT},
						   {"ns", WR_UI_RIGHT},
						   {"weir to it", WR_UI_RIGHT},
						   {"bar", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(cols, 5);
	char text[WR_BENCH_TEXT];
	int code;

	wr_bench_print_conditions(NULL);
	if (!b->peer.p[SIDE_HCC])
		wr_ui_say("Without RocksDB (make deps PEERS=1): no ratios.");
	for (int side = 0; side < NR_SIDES; side++)
		for (unsigned int nr = 0; nr < MAX_THREADS; nr++) {
			wr_ui_table_cell(t, "%s", side_names[side]);
			wr_ui_table_cell(t, "%u", nr + 1);
			wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->ns[side][nr], 1));
			wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->ratio[side][nr], 2));
			if (side == SIDE_WEIR && !nr)
				wr_ui_table_cell(t, "%.0f ns", BAR_NS);
			else if (bars[side][nr] > 0)
				wr_ui_table_cell(t, "%.1f", bars[side][nr]);
			else
				wr_ui_table_cell(t, "%s", "");
		}
	code = wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\ntwo threads to one: %s (1.8), %u keys, Zipf %.2f, all hits%s\n",
	       wr_bench_text(text, &b->scale, 2), NR_KEYS, ZIPF,
	       b->nr_missed ? "; NOT: some were missed" : "");
	printf("memory short, half of 512 MiB in entries of 4 KiB leaves: %s ms (%.0f)",
	       wr_bench_text(text, &b->pressure.ms, 0), BAR_MS);
	printf(", of a processor %s ms\n", wr_bench_text(text, &b->pressure.cpu_ms, 0));
	return code ? wr_ui_fail_code(false, "bench", code, "no memory for the table") : WR_EXIT_OK;
}

int wr_bench_cache(const struct wr_bench_args *args)
{
	struct bench *b = calloc(1, sizeof(*b));
	int rc = b ? prepare(b) : -ENOMEM;

	if (rc) {
		if (b)
			fini(b);
		return wr_ui_fail_code(args->json, "bench", rc, "no memory for the benchmark");
	}
	for (uint32_t i = 0; !rc && i < args->rounds; i++) {
		measure_round(b);
		rc = wr_bench_pressure_round(&b->pressure);
	}
	if (rc) {
		fini(b);
		return wr_ui_fail_code(args->json, "bench", rc, "a cache cannot be shrunk");
	}
	rc = args->json ? print_json(b) : print_text(b);
	fini(b);
	return rc;
}
