/* SPDX-License-Identifier: MIT */
/*
 * weir bench instrument - what counting, timing and probing cost the library as a whole.
 *
 * The library is compiled twice, once without any of it (WR_INSTRUMENT=0), and both are loaded
 * into this process, so that they take turns of microseconds. On: a context that others can watch,
 * its collector running, as every host has. Both are loaded once more under other names: one to
 * time its locks too, the other to show what the noise is.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/lock_trace.h>
#include <weir/weir.h>

#include "bench.h"
#include "bench_instrument.h"
#include "bench_pool.h"
#include "ui.h"

#define BUDGET_BYTES ((size_t)256 << 20)
#define BAR	     1.02

enum { ON, OFF, TIMED, AGAIN, NR_ARMS };

_Static_assert((int)NR_ARMS == (int)WR_BI_ARMS, "the cache's side takes all");

static const struct {
	const char *name, *file;
	bool copy, time_locks;
} arms[NR_ARMS] = {
	[ON] = {"on", "libweir.so", false, false},
	[OFF] = {"compiled out", "bare/libweir.so", false, false},
	[TIMED] = {"on, lock times 1/64", "libweir.so", true, true},
	[AGAIN] = {"compiled out, again", "bare/libweir.so", true, false},
};

/* What is set against what. */
static const struct {
	const char *name;
	int arm, against;
	double bar; /* 0: none */
} claims[] = {
	{"on / compiled out", ON, OFF, BAR},
	{"on, lock times / compiled out", TIMED, OFF, 0},
	{"null: compiled out / again", AGAIN, OFF, 0},
};

#define NR_CLAIMS (sizeof(claims) / sizeof(claims[0]))
/* Allocation and free, each size and then two threads; a hit of the cache by one thread and two. */
enum { POOL_TWO = WR_PB_SIZES, CACHE_ONE, CACHE_TWO, NR_LOADS };

struct one {
	void *library;
	struct weir *weir;
	__typeof__(weir_open) *open;
	__typeof__(weir_close) *close;
	__typeof__(weir_get_pool) *get_pool;
	__typeof__(weir_get_cache) *get_cache;
	__typeof__(weir_lock_trace_start) *start;
	__typeof__(weir_lock_trace_stop) *stop;
};

struct bench {
	struct one one[NR_ARMS];
	struct wr_pb_arm arms[WR_PB_ARMS];
	struct wr_bi_cache caches[NR_ARMS];
	struct wr_bench_series ns[NR_LOADS][NR_ARMS];
	struct wr_bench_series ratio[NR_LOADS][NR_CLAIMS];
	char missing[PATH_MAX];
};

static const char *load_name(int load)
{
	static const char *const others[] = {"mix, 2 threads", "cache hit", "cache hit, 2 threads"};

	return load < WR_PB_SIZES ? wr_pb_size_name((enum wr_pb_size)load)
				  : others[load - WR_PB_SIZES];
}

/* The loader takes one file for one library: a second one needs a file of its own. */
static int copy_of(const char *path, char ret[static 64])
{
	struct stat st;
	off_t at = 0;
	int from = open(path, O_RDONLY | O_CLOEXEC), to, rc = 0;

	if (from < 0)
		return -errno;
	strcpy(ret, "/tmp/weir-bench-XXXXXX");
	to = mkostemp(ret, O_CLOEXEC);
	if (to < 0 || fstat(from, &st)) {
		rc = -errno;
	} else {
		while (!rc && at < st.st_size)
			rc = sendfile(to, from, &at, (size_t)(st.st_size - at)) > 0 ? 0 : -EIO;
	}
	if (to >= 0)
		close(to);
	close(from);
	return rc;
}

static int load_symbol(void *library, const char *name, void *ret)
{
	void *symbol = dlsym(library, name);

	memcpy(ret, &symbol, sizeof(symbol));
	return symbol ? 0 : -ENOENT;
}

static int load(struct one *one, const char *path, bool copy)
{
	char other[64];
	int rc = copy ? copy_of(path, other) : 0;

	if (rc)
		return rc;
	one->library = dlopen(copy ? other : path, RTLD_NOW | RTLD_LOCAL);
	if (copy)
		unlink(other);
	if (!one->library)
		return -ENOENT;
	if (load_symbol(one->library, "weir_open", &one->open) ||
	    load_symbol(one->library, "weir_close", &one->close) ||
	    load_symbol(one->library, "weir_get_pool", &one->get_pool) ||
	    load_symbol(one->library, "weir_get_cache", &one->get_cache) ||
	    load_symbol(one->library, "weir_lock_trace_start", &one->start) ||
	    load_symbol(one->library, "weir_lock_trace_stop", &one->stop))
		return -ENOENT;
	return 0;
}

static int open_one(struct bench *b, int i, const char *folder, struct weir_error *err)
{
	struct weir_cache_opts cache_opts;
	struct weir_opts opts = {.size = sizeof(opts),
				 .budget_bytes = BUDGET_BYTES,
				 .page_kinds = 1u << WEIR_PAGE_THP | 1u << WEIR_PAGE_4K,
				 .flags = WEIR_OPEN_NO_PIN,
				 .cache = &cache_opts};
	struct wr_bi_cache *cache = &b->caches[i];
	struct wr_pb_arm *arm = &b->arms[i];
	struct one *one = &b->one[i];
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s/%s", folder, arms[i].file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	rc = load(one, path, arms[i].copy);
	if (rc) {
		snprintf(b->missing, sizeof(b->missing), "%s", path);
		return rc;
	}
	if (i == OFF || i == AGAIN)
		opts.flags |= WEIR_OPEN_PRIVATE;
	wr_bi_cache_opts(&cache_opts);
	rc = one->open(&opts, &one->weir, err);
	if (rc)
		return rc;
	if (load_symbol(one->library, "weir_cache_get", &cache->get) ||
	    load_symbol(one->library, "weir_cache_put", &cache->put) ||
	    load_symbol(one->library, "weir_pool_alloc", &arm->take) ||
	    load_symbol(one->library, "weir_pool_span_free", &arm->give))
		return -ENOENT;
	arm->name = arms[i].name;
	arm->form = WR_PB_SPANS;
	arm->pool = one->get_pool(one->weir);
	arm->is_there = true;
	cache->cache = one->get_cache(one->weir);
	rc = wr_bi_cache_fill(cache);
	return !rc && arms[i].time_locks ? one->start(WEIR_LOCK_SAMPLE_EVERY) : rc;
}

static int open_all(struct bench *b, struct weir_error *err)
{
	char folder[PATH_MAX];
	ssize_t nr = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	int rc = nr > 0 ? 0 : -errno;

	if (rc)
		return rc;
	folder[nr] = '\0';
	*strrchr(folder, '/') = '\0';
	for (int i = 0; !rc && i < NR_ARMS; i++)
		rc = open_one(b, i, folder, err);
	return rc;
}

/* The libraries stay: threads of theirs may still be on their way out. */
static void close_all(struct bench *b)
{
	for (int i = 0; i < NR_ARMS; i++) {
		if (arms[i].time_locks && b->one[i].stop)
			b->one[i].stop();
		if (b->one[i].weir)
			b->one[i].close(b->one[i].weir);
	}
}

static void add_load(struct bench *b, int load, const double *ns)
{
	for (int i = 0; i < NR_ARMS; i++)
		wr_bench_add(&b->ns[load][i], ns[i]);
	for (size_t c = 0; c < NR_CLAIMS; c++)
		wr_bench_add(&b->ratio[load][c], ns[claims[c].arm] / ns[claims[c].against]);
}

static int measure_round(struct bench *b)
{
	double ns[WR_PB_ARMS];
	int rc = 0;

	for (int size = 0; !rc && size < WR_PB_SIZES; size++) {
		rc = wr_pb_pairs(b->arms, (enum wr_pb_size)size, ns);
		if (!rc)
			add_load(b, size, ns);
	}
	for (int i = 0; !rc && i < NR_ARMS; i++)
		rc = wr_pb_threads(&b->arms[i], WR_PB_MIX, WR_PB_TWO, &ns[i]);
	if (!rc)
		add_load(b, POOL_TWO, ns);
	if (!rc)
		rc = wr_bi_cache_pairs(b->caches, ns);
	if (!rc)
		add_load(b, CACHE_ONE, ns);
	for (int i = 0; !rc && i < NR_ARMS; i++)
		rc = wr_bi_cache_threads(&b->caches[i], &ns[i]);
	if (!rc)
		add_load(b, CACHE_TWO, ns);
	return rc;
}

static int print_text(const struct bench *b)
{
	static const struct wr_ui_column cols[] = {
		{"what is done", WR_UI_LEFT}, {"ns", WR_UI_RIGHT}, {"of", WR_UI_LEFT}};
	static const struct wr_ui_column against[] = {
		{"ratio", WR_UI_LEFT}, {"", WR_UI_RIGHT}, {"bar", WR_UI_RIGHT}};
	struct wr_ui_table *t = wr_ui_table_open(cols, 3);
	char text[WR_BENCH_TEXT], bar[16], what[64];

	wr_bench_print_conditions(NULL);
	for (int l = 0; l < NR_LOADS; l++)
		for (int i = 0; i < NR_ARMS; i++) {
			wr_ui_table_cell(t, "%s", load_name(l));
			wr_ui_table_cell(t, "%s", wr_bench_text(text, &b->ns[l][i], 1));
			wr_ui_table_cell(t, "%s", arms[i].name);
		}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	printf("\n");
	t = wr_ui_table_open(against, 3);
	for (size_t c = 0; c < NR_CLAIMS; c++)
		for (int l = 0; l < NR_LOADS; l++) {
			snprintf(what, sizeof(what), "%s, %s", claims[c].name, load_name(l));
			snprintf(bar, sizeof(bar), claims[c].bar > 0 ? "%.2f" : "-", claims[c].bar);
			wr_bench_row(t, what, &b->ratio[l][c], 3, bar);
		}
	(void)wr_ui_table_print(t, stdout);
	wr_ui_table_close(t);
	return WR_EXIT_OK;
}

static int print_json(const struct bench *b)
{
	json_t *rows = json_array();

	for (int l = 0; l < NR_LOADS; l++)
		for (size_t c = 0; c < NR_CLAIMS; c++)
			json_array_append_new(
				rows,
				json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "load",
					  load_name(l), "arm", arms[claims[c].arm].name, "against",
					  arms[claims[c].against].name, "ns",
					  wr_bench_json(&b->ns[l][claims[c].arm]), "against_ns",
					  wr_bench_json(&b->ns[l][claims[c].against]), "ratio",
					  wr_bench_json(&b->ratio[l][c]), "bar",
					  claims[c].bar > 0 ? json_real(claims[c].bar)
							    : json_null()));
	return wr_ui_json_print(json_pack("{s:o, s:s, s:o}", "conditions",
					  wr_bench_conditions(NULL), "bench", "instrument",
					  "ratios", rows));
}

int wr_bench_instrument(const struct wr_bench_args *args)
{
	static struct bench b;
	struct weir_error err = {.message = ""};
	int rc;

	/* Four libraries beside this program. */
	if (!wr_pb_has_tls_room())
		(void)wr_pb_exec_with_tls_room("instrument", args);
	wr_ui_interrupt_init();
	rc = open_all(&b, &err);
	for (uint32_t r = 0; !rc && r < args->rounds && !wr_ui_interrupted(); r++)
		rc = measure_round(&b);
	if (b.missing[0])
		rc = wr_ui_fail_code(args->json, "bench instrument", rc,
				     "%s is not there: make instrument builds it", b.missing);
	else if (rc)
		rc = wr_ui_fail_code(args->json, "bench instrument", rc, "%s",
				     err.message[0] ? err.message : weir_strerror(rc));
	else if (wr_ui_interrupted())
		rc = wr_ui_fail_interrupted(args->json, "bench instrument");
	else
		rc = args->json ? print_json(&b) : print_text(&b);
	close_all(&b);
	return rc;
}
