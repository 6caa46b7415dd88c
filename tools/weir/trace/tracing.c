/* SPDX-License-Identifier: MIT */
/* Copies what a trace holds; see tracing.h. */
#include "tracing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* Append @item of @bytes to the array at @list. */
static int append(void *list, size_t *nr, const void *item, size_t bytes)
{
	void *old, *grown;

	memcpy(&old, list, sizeof(old));
	if ((*nr & (*nr - 1)) == 0) {
		grown = reallocarray(old, *nr ? *nr * 2 : 1, bytes);
		if (!grown)
			return -ENOMEM;
		memcpy(list, &grown, sizeof(grown));
		old = grown;
	}
	memcpy((char *)old + *nr * bytes, item, bytes);
	(*nr)++;
	return 0;
}

static int add_lock(void *arg, const struct weir_trace_lock *lock)
{
	struct wr_tracing *t = arg;

	return append(&t->locks, &t->nr_locks, lock, sizeof(*lock));
}

static int add_holder(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_holder holder = {*key, *site};
	int rc = append(&t->let_go, &t->nr_let_go, &holder, sizeof(holder));

	if (rc)
		return rc;
	/* One thread at one lock is one holder here, wherever in the code it let go. */
	for (size_t i = 0; i < t->nr_holders; i++) {
		struct wr_tracing_holder *h = &t->holders[i];

		if (h->key.addr != key->addr || h->key.tid != key->tid)
			continue;
		h->site.times += site->times;
		h->site.ns += site->ns;
		return 0;
	}
	return append(&t->holders, &t->nr_holders, &holder, sizeof(holder));
}

static int add_waiter(void *arg, const struct weir_site_key *key, const struct weir_site *site)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_holder waiter = {*key, *site};

	return append(&t->waiters, &t->nr_waiters, &waiter, sizeof(waiter));
}

static int add_hold(void *arg, const struct weir_trace_hold *hold)
{
	struct wr_tracing *t = arg;

	return append(&t->holds, &t->nr_holds, hold, sizeof(*hold));
}

static int add_deep(void *arg, const struct weir_trace_deep_lock *lock)
{
	struct wr_tracing *t = arg;

	return append(&t->deeps, &t->nr_deeps, lock, sizeof(*lock));
}

static int add_cache(void *arg, const struct weir_cache_key *key,
		     const struct weir_cache_events *events)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_cache cache = {*key, *events};

	return append(&t->caches, &t->nr_caches, &cache, sizeof(cache));
}

static int add_miss_site(void *arg, const struct weir_miss_site_key *key,
			 const struct weir_miss *miss)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_miss_site site = {*key, *miss};

	return append(&t->miss_sites, &t->nr_miss_sites, &site, sizeof(site));
}

static int add_file(void *arg, const struct weir_file_key *key, const struct weir_file *file)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_file f = {*key, *file};

	return append(&t->files, &t->nr_files, &f, sizeof(f));
}

static int add_io(void *arg, const struct weir_io_key *key, const struct weir_io_times *times)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_io io = {*key, *times};

	return append(&t->ios, &t->nr_ios, &io, sizeof(io));
}

static int add_miss(void *arg, const struct weir_miss_key *key, const struct weir_miss *miss)
{
	struct wr_tracing *t = arg;
	struct wr_tracing_miss m = {*key, *miss};

	return append(&t->misses, &t->nr_misses, &m, sizeof(m));
}

static int by_wait(const void *a, const void *b)
{
	const struct weir_trace_lock *x = a, *y = b;

	return x->waits.wait_ns < y->waits.wait_ns   ? 1
	       : x->waits.wait_ns > y->waits.wait_ns ? -1
						     : 0;
}

static int by_hold(const void *a, const void *b)
{
	const struct weir_trace_hold *x = a, *y = b;

	return x->holds.hold_ns < y->holds.hold_ns   ? 1
	       : x->holds.hold_ns > y->holds.hold_ns ? -1
						     : 0;
}

static int by_deep_hold(const void *a, const void *b)
{
	const struct weir_trace_deep_lock *x = a, *y = b;

	return x->deep.hold_ns < y->deep.hold_ns ? 1 : x->deep.hold_ns > y->deep.hold_ns ? -1 : 0;
}

static int by_time(const void *a, const void *b)
{
	const struct wr_tracing_holder *x = a, *y = b;

	return x->site.ns < y->site.ns ? 1 : x->site.ns > y->site.ns ? -1 : 0;
}

static int by_misses(const void *a, const void *b)
{
	const struct wr_tracing_file *x = a, *y = b;

	return x->file.miss_pages < y->file.miss_pages	 ? 1
	       : x->file.miss_pages > y->file.miss_pages ? -1
							 : 0;
}

static int read_locks(struct weir_trace *trace, struct wr_tracing *t)
{
	int rc = weir_trace_each_lock(trace, add_lock, t);

	if (!rc)
		rc = weir_trace_each_hold(trace, add_hold, t);
	if (!rc)
		rc = weir_trace_each_deep(trace, add_deep, t);
	if (!rc)
		rc = weir_trace_each_holder(trace, add_holder, t);
	if (!rc)
		rc = weir_trace_each_waiter(trace, add_waiter, t);
	return rc;
}

static int read_rest(struct weir_trace *trace, struct wr_tracing *t)
{
	int rc = weir_trace_each_file(trace, add_file, t);

	if (!rc)
		rc = weir_trace_each_io(trace, add_io, t);
	if (!rc)
		rc = weir_trace_each_miss(trace, add_miss, t);
	if (!rc)
		rc = weir_trace_each_miss_site(trace, add_miss_site, t);
	if (!rc)
		rc = weir_trace_each_cache(trace, add_cache, t);
	return rc;
}

static void sort(void *list, size_t nr, size_t bytes, int (*by)(const void *, const void *))
{
	if (nr)
		qsort(list, nr, bytes, by);
}

int wr_tracing_read(struct weir_trace *trace, struct wr_tracing *ret)
{
	int rc;

	memset(ret, 0, sizeof(*ret));
	ret->trace = trace;
	rc = weir_trace_symbols_open(trace, &ret->symbols);
	weir_trace_meta(trace, &ret->meta);
	weir_trace_totals(trace, &ret->totals);
	if (!rc)
		rc = read_locks(trace, ret);
	if (!rc)
		rc = read_rest(trace, ret);
	if (rc) {
		wr_tracing_fini(ret);
		return rc;
	}
	sort(ret->locks, ret->nr_locks, sizeof(*ret->locks), by_wait);
	sort(ret->holds, ret->nr_holds, sizeof(*ret->holds), by_hold);
	sort(ret->deeps, ret->nr_deeps, sizeof(*ret->deeps), by_deep_hold);
	sort(ret->waiters, ret->nr_waiters, sizeof(*ret->waiters), by_time);
	sort(ret->let_go, ret->nr_let_go, sizeof(*ret->let_go), by_time);
	sort(ret->files, ret->nr_files, sizeof(*ret->files), by_misses);
	return 0;
}

void wr_tracing_fini(struct wr_tracing *t)
{
	weir_trace_symbols_close(t->symbols);
	free(t->locks);
	free(t->holds);
	free(t->deeps);
	free(t->holders);
	free(t->let_go);
	free(t->waiters);
	free(t->files);
	free(t->ios);
	free(t->misses);
	free(t->miss_sites);
	free(t->caches);
}

const struct wr_tracing_holder *wr_tracing_worst(const struct wr_tracing *t, uint64_t addr)
{
	const struct wr_tracing_holder *worst = NULL;

	for (size_t i = 0; i < t->nr_holders; i++) {
		const struct wr_tracing_holder *h = &t->holders[i];

		if (h->key.addr == addr && (!worst || h->site.ns > worst->site.ns))
			worst = h;
	}
	return worst;
}

const char *wr_tracing_wait(int kind)
{
	return kind == WEIR_WAIT_LOCK	      ? "lock"
	       : kind == WEIR_WAIT_MAYBE_LOCK ? "maybe lock"
					      : "condition";
}

const char *wr_tracing_miss_source(int source)
{
	static const char *const words[] = {
		[WEIR_MISS_NONE] = "none",
		[WEIR_MISS_HW_LLC] = "cpu-cache",
		[WEIR_MISS_HW_LL_READ] = "cpu-cache-read",
		[WEIR_MISS_FAULT_MAJOR] = "major-fault",
		[WEIR_MISS_FAULT_MINOR] = "minor-fault",
	};

	return source >= 0 && (size_t)source < wr_array_size(words) ? words[source] : "unknown";
}
