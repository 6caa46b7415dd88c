/* SPDX-License-Identifier: MIT */
/*
 * Typed pools: a limit, a count and a line of waiters for each kind, over one pool.
 *
 * The use is charged before memory is taken and credited after it was given back, so that
 * it is never below what is in spans. Which kind a span is of is kept in a byte for its
 * first block, with five bits of the generation: a span of the pool that did not come from
 * here, or came before, has another byte. Taking the byte away is the exchange that one of
 * several frees of a span wins.
 */
#include <weir/pool_type.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/magazine.h"
#include "pool/state.h"

/* X(name, default in MiB; 0: all) */
#define TYPES(X)                  \
	X("kv-cache", 512)        \
	X("image-features", 256)  \
	X("text-embeddings", 128) \
	X("gradients", 512)       \
	X("activations", 256)     \
	X("parameters", 1024)     \
	X("general", 0)

struct waiter {
	struct wr_cond wake;
	struct waiter *next; /* [POOL_TYPE] */
};

struct type {
	struct wr_mutex lock WR_RANKED(POOL_TYPE);
	struct weir_type_stats stats; /* [POOL_TYPE] */
	struct waiter *first;	      /* [POOL_TYPE] in the order of coming */
	uint64_t high_bytes;	      /* [POOL_TYPE] */
	uint64_t low_bytes;	      /* [POOL_TYPE] */
	void (*call)(void *arg, int type, bool is_high, uint64_t used_bytes); /* [POOL_TYPE] */
	void *arg;							      /* [POOL_TYPE] */
	bool is_high; /* [POOL_TYPE] the last call said so */
};

struct weir_types {
	struct weir_pool *pool; /* [const] */
	struct type types[WEIR_TYPES];
	/* [atomic] By zone and block: type + 1, and above it bits of the generation. */
	_Atomic uint8_t *marks[]; /* [const] */
};

/* What is to be told once no lock is held. */
struct news {
	void (*call)(void *arg, int type, bool is_high, uint64_t used_bytes);
	void *arg;
	uint64_t used_bytes;
	int type;
	bool is_high;
};

_Static_assert(WEIR_TYPES < 8, "a type and one fit three bits of a mark");
_Static_assert(sizeof(struct weir_types_opts) == 64 || sizeof(void *) != 8,
	       "a field was added to the options: copy and check it here");

static uint8_t mark_of(int type, uint32_t generation)
{
	return (uint8_t)((generation >> 1) << 3 | (unsigned)(type + 1));
}

static _Atomic uint8_t *mark_at(struct weir_types *t, const struct weir_span *span)
{
	return &t->marks[wr_span_zone(span->id)][span->id & WR_SPAN_BLOCK_MASK];
}

static void look_at_marks(struct type *t, int type, struct news *ret) WR_REQUIRES(t->lock)
{
	bool is_high = t->is_high;

	if (!t->call)
		return;
	if (t->stats.used_bytes >= t->high_bytes)
		is_high = true;
	else if (t->stats.used_bytes <= t->low_bytes)
		is_high = false;
	if (is_high == t->is_high)
		return;
	t->is_high = is_high;
	*ret = (struct news){t->call, t->arg, t->stats.used_bytes, type, is_high};
}

static void tell(const struct news *news)
{
	if (!news->call)
		return;
	wr_lock_assert_none_held("a watcher of a typed pool");
	news->call(news->arg, news->type, news->is_high, news->used_bytes);
}

static bool fits(const struct type *t, uint64_t bytes)
{
	return t->stats.used_bytes <= t->stats.limit_bytes &&
	       bytes <= t->stats.limit_bytes - t->stats.used_bytes;
}

static void step_out(struct type *t, struct waiter *w) WR_REQUIRES(t->lock)
{
	struct waiter **p;

	for (p = &t->first; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	t->stats.nr_waiting--;
	if (t->first)
		wr_cond_signal(&t->first->wake);
}

/* Until it is this call's turn and there is room below the limit. 0, -ETIMEDOUT. */
static int wait_for_limit(struct type *t, uint64_t bytes, uint64_t deadline_ns) WR_REQUIRES(t->lock)
{
	struct waiter w = {.next = NULL};
	struct waiter **p;
	int rc = 0;

	wr_cond_init(&w.wake);
	for (p = &t->first; *p; p = &(*p)->next)
		;
	*p = &w;
	t->stats.nr_waiting++;
	while (rc == 0 && !(t->first == &w && fits(t, bytes)))
		rc = wr_cond_timedwait(&w.wake, &t->lock, deadline_ns);
	if (t->first == &w && fits(t, bytes))
		rc = 0;
	step_out(t, &w);
	wr_cond_fini(&w.wake);
	return rc;
}

/* Count the bytes as used, when the limit allows or comes to allow it in time. */
static int charge(struct type *t, int type, uint64_t bytes, uint64_t timeout_ns,
		  uint64_t deadline_ns, struct news *news)
{
	int rc = 0;

	wr_mutex_lock(&t->lock);
	if (bytes > t->stats.limit_bytes)
		rc = -EINVAL;
	else if ((t->first || !fits(t, bytes)) && timeout_ns == 0)
		rc = -ENOSPC;
	else if (t->first || !fits(t, bytes))
		rc = wait_for_limit(t, bytes, deadline_ns);
	if (rc == 0) {
		t->stats.used_bytes += bytes;
		t->stats.peak_bytes = wr_max(t->stats.peak_bytes, t->stats.used_bytes);
		look_at_marks(t, type, news);
	} else if (rc != -EINVAL) {
		t->stats.nr_refused++;
	}
	wr_mutex_unlock(&t->lock);
	return rc;
}

/* Take the bytes off the use again; with them @nr_spans spans that are live no more. */
static void credit(struct type *t, int type, uint64_t bytes, uint64_t nr_spans, struct news *news)
{
	wr_mutex_lock(&t->lock);
	t->stats.used_bytes -= bytes;
	t->stats.nr_live -= nr_spans;
	look_at_marks(t, type, news);
	if (t->first)
		wr_cond_signal(&t->first->wake);
	wr_mutex_unlock(&t->lock);
}

static void count_alloc(struct type *t, bool is_refused)
{
	wr_mutex_lock(&t->lock);
	t->stats.nr_refused += is_refused;
	t->stats.nr_allocs += !is_refused;
	t->stats.nr_live += !is_refused;
	wr_mutex_unlock(&t->lock);
}

static int take(struct weir_types *types, int type, size_t bytes, int node, uint64_t timeout_ns,
		uint64_t deadline_ns, struct weir_span *ret)
{
	struct weir_span span;
	uint64_t now_ns;
	int rc;

	if (timeout_ns == 0) {
		rc = weir_pool_alloc(types->pool, bytes, node, &span);
	} else {
		now_ns = wr_now_ns();
		rc = weir_pool_alloc_wait(types->pool, bytes, node,
					  deadline_ns > now_ns ? deadline_ns - now_ns : 0, &span);
	}
	if (rc == 0) {
		wr_store_relaxed(mark_at(types, &span), mark_of(type, span.generation));
		*ret = span;
	}
	return rc;
}

int weir_types_alloc(struct weir_types *types, int type, size_t bytes, int node,
		     uint64_t timeout_ns, struct weir_span *ret)
{
	struct news rise = {0}, fall = {0};
	uint64_t rounded, deadline_ns;
	struct type *t;
	int rc;

	if (!types || !ret || type < 0 || type >= WEIR_TYPES || bytes == 0 ||
	    !wr_pool_is_ours(types->pool) ||
	    wr_align_up_overflow(bytes, 1ull << types->pool->block_shift, &rounded))
		return -EINVAL;
	if (timeout_ns > 0)
		wr_might_block("waiting for the limit of a typed pool");
	if (wr_add_overflow(wr_now_ns(), timeout_ns, &deadline_ns) || deadline_ns > INT64_MAX)
		deadline_ns = INT64_MAX;
	t = &types->types[type];
	rc = charge(t, type, rounded, timeout_ns, deadline_ns, &rise);
	if (rc != 0)
		return rc;
	rc = take(types, type, bytes, node, timeout_ns, deadline_ns, ret);
	if (rc != 0)
		credit(t, type, rounded, 0, &fall);
	if (rc == 0 || rc == -ENOSPC || rc == -ETIMEDOUT)
		count_alloc(t, rc != 0);
	tell(&rise);
	tell(&fall);
	return rc;
}

int weir_types_free(struct weir_types *types, struct weir_span span)
{
	struct news news = {0};
	uint8_t mark;
	int type, rc;

	if (!span.base && !span.bytes && !span.id && !span.generation)
		return 0;
	if (!types || !wr_pool_is_ours(types->pool))
		return -EINVAL;
	rc = wr_pool_check_span(types->pool, &span);
	if (rc != 0)
		return rc;
	mark = wr_load_relaxed(mark_at(types, &span));
	type = (mark & 7) - 1;
	if (type < 0 || mark != mark_of(type, span.generation) ||
	    !wr_cas_relaxed(mark_at(types, &span), &mark, 0))
		return -EINVAL;
	rc = weir_pool_free(types->pool, span);
	if (rc != 0)
		return rc; /* by weir_pool_free(), at the same moment: it is gone all the same */
	credit(&types->types[type], type, span.bytes, 1, &news);
	tell(&news);
	return 0;
}

/* Not in a fork child, where a lock may be held by a thread that there is not. */
static bool is_there(const struct weir_types *types, int type)
{
	return types && type >= 0 && type < WEIR_TYPES && wr_pool_is_ours(types->pool);
}

int weir_types_resize(struct weir_types *types, int type, uint64_t limit_bytes)
{
	struct type *t;

	if (!is_there(types, type) || limit_bytes == 0)
		return -EINVAL;
	t = &types->types[type];
	wr_mutex_lock(&t->lock);
	t->stats.limit_bytes = limit_bytes;
	if (t->first)
		wr_cond_signal(&t->first->wake);
	wr_mutex_unlock(&t->lock);
	return 0;
}

int weir_types_watch(struct weir_types *types, int type, uint64_t high_bytes, uint64_t low_bytes,
		     void (*call)(void *arg, int type, bool is_high, uint64_t used_bytes),
		     void *arg)
{
	struct news news = {0};
	struct type *t;

	if (!is_there(types, type) || low_bytes > high_bytes)
		return -EINVAL;
	t = &types->types[type];
	wr_mutex_lock(&t->lock);
	t->call = call;
	t->arg = arg;
	t->high_bytes = high_bytes;
	t->low_bytes = low_bytes;
	t->is_high = false;
	look_at_marks(t, type, &news);
	wr_mutex_unlock(&t->lock);
	tell(&news);
	return 0;
}

int weir_types_stats(struct weir_types *types, int type, struct weir_type_stats *ret)
{
	struct type *t;

	if (!ret || !is_there(types, type))
		return -EINVAL;
	t = &types->types[type];
	wr_mutex_lock(&t->lock);
	*ret = t->stats;
	wr_mutex_unlock(&t->lock);
	return 0;
}

static const struct {
	const char *name;
	uint64_t mib;
} type_table[] = {
#define TYPE(text, size) {text, size},
	TYPES(TYPE)
#undef TYPE
};

_Static_assert(sizeof(type_table) / sizeof(type_table[0]) == WEIR_TYPES, "a line for each type");

const char *weir_types_name(int type)
{
	return type >= 0 && type < WEIR_TYPES ? type_table[type].name : "unknown";
}

static void free_types(struct weir_types *types)
{
	size_t i;

	for (i = 0; i < types->pool->nr_zones; i++)
		wr_free(types->marks[i]);
	wr_free(types);
}

int weir_types_open(struct weir_pool *pool, const struct weir_types_opts *opts,
		    struct weir_types **ret, struct weir_error *err)
{
	struct weir_types_opts o = {0};
	struct weir_types *types;
	size_t i;
	int rc = 0;

	if (!pool || !ret || !wr_pool_is_ours(pool))
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE, "no pool to share out");
	if (opts)
		rc = wr_opts_copy(&o, sizeof(o), opts);
	if (rc != 0)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "options of typed pools: %s",
				    weir_strerror(rc));
	types = wr_calloc(1, sizeof(*types) + pool->nr_zones * sizeof(types->marks[0]));
	if (!types)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for types");
	types->pool = pool;
	for (i = 0; i < pool->nr_zones && rc == 0; i++) {
		types->marks[i] = wr_calloc(pool->zones[i].buddy.nr_blocks, 1);
		rc = types->marks[i] ? 0 : -ENOMEM;
	}
	if (rc != 0) {
		free_types(types);
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "no memory for types");
	}
	for (i = 0; i < WEIR_TYPES; i++) {
		wr_mutex_init(&types->types[i].lock, WR_RANK_POOL_TYPE, "pool.type");
		if (o.limit_bytes[i] == 0)
			o.limit_bytes[i] = type_table[i].mib ? type_table[i].mib * WR_POOL_MIB
							     : pool->nr_blocks << pool->block_shift;
		types->types[i].stats.limit_bytes = o.limit_bytes[i];
	}
	*ret = types;
	return 0;
}

void weir_types_close(struct weir_types *types)
{
	uint64_t nr_live = 0;
	size_t i;

	if (!types)
		return;
	for (i = 0; i < WEIR_TYPES; i++) {
		nr_live += types->types[i].stats.nr_live;
		if (wr_pool_is_ours(types->pool))
			wr_mutex_fini(&types->types[i].lock);
	}
	if (nr_live > 0 && wr_pool_is_ours(types->pool))
		wr_log(WEIR_LOG_WARN, "pool", "typed pools closed with %llu spans live",
		       (unsigned long long)nr_live);
	free_types(types);
}
