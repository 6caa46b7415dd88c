/* SPDX-License-Identifier: MIT */
/*
 * Which thread has which set. A thread gets a set of a pool at its first call there and
 * keeps it until it ends; then everything goes back to the zones and the set waits for
 * the next new thread. So there are as many sets as threads were ever at once.
 *
 * A thread finds its sets in a few slots of its own, by a number that no other pool ever
 * gets: a slot that names a closed pool, or one from before a fork, matches nothing.
 */
#include <pthread.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/magazine.h"

/* Open pools, so that a thread that ends finds its sets. */
static struct wr_mutex pools_lock WR_RANKED(POOL_THREADS) = WR_MUTEX_INIT(WR_RANK_POOL_THREADS,
									  "pool.threads");
static struct weir_pool *pools WR_GLOBAL_GUARDED_BY(pools_lock);

__thread struct wr_tls_slot wr_pool_tls = {.pool = WR_TLS_NO_POOL};

/* Pools that take turns in a thread. */
#define NR_RECENT 8u

/* [thread] By key: a number that no other pool ever gets. */
static __thread struct recent {
	uint64_t key;
	struct wr_pool_set *set;
} recent[NR_RECENT];

static __thread bool has_ended; /* [thread] its last destructors are running */

static pthread_key_t at_exit; /* [const] once has_key is set */
static bool has_key;	      /* [const] after the first pool */

/* An address that no other thread living now has. */
static struct wr_tls_slot *this_thread(void)
{
	return &wr_pool_tls;
}

static void forget_sets(void)
{
	wr_store_relaxed(&wr_pool_tls.pool, WR_TLS_NO_POOL);
	memset(recent, 0, sizeof(recent));
}

/* The set of a thread in a pool, NULL when there is none. */
static struct wr_pool_set *find_set(struct weir_pool *pool, const struct wr_tls_slot *thread)
	WR_REQUIRES(pool->claim_lock)
{
	struct wr_pool_set *set;
	uint32_t id;

	for (id = 1; id <= pool->nr_sets; id++) {
		set = wr_load_relaxed(&pool->sets[id]);
		if (wr_load_relaxed(&set->thread) == thread)
			return set;
	}
	return NULL;
}

static void leave_pool(struct weir_pool *pool)
{
	struct wr_pool_set *set;

	wr_claim_all(pool);
	set = find_set(pool, this_thread());
	if (set) {
		wr_claim_drain(set);
		wr_store_relaxed(&set->thread, NULL);
	}
	wr_claim_end(pool);
}

static void thread_ends(void *unused)
{
	struct weir_pool *pool;

	(void)unused;
	wr_mutex_lock(&pools_lock);
	for (pool = pools; pool; pool = pool->next_open)
		if (wr_pool_is_ours(pool))
			leave_pool(pool);
	wr_mutex_unlock(&pools_lock);
	/* A later destructor of this thread may call us again, and goes without a set. */
	forget_sets();
	has_ended = true;
}

static WR_NO_THREAD_SAFETY void before_fork(void)
{
	wr_mutex_lock(&pools_lock);
}

static WR_NO_THREAD_SAFETY void after_fork(void)
{
	wr_mutex_unlock(&pools_lock);
}

static WR_NO_THREAD_SAFETY void in_child(void)
{
	wr_mutex_unlock(&pools_lock);
	forget_sets();
	wr_pool_count_fork();
}

static void prepare(void)
{
	/* Without memory for the handlers a child's calls are not refused; that is all. */
	(void)pthread_atfork(before_fork, after_fork, in_child);
	has_key = pthread_key_create(&at_exit, thread_ends) == 0;
	wr_gate_prepare();
}

void wr_threads_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
}

void wr_threads_add_pool(struct weir_pool *pool)
{
	wr_mutex_lock(&pools_lock);
	pool->next_open = pools;
	pools = pool;
	wr_mutex_unlock(&pools_lock);
}

void wr_threads_remove_pool(struct weir_pool *pool)
{
	struct weir_pool **p;

	struct wr_tls_slot *tls;
	struct weir_pool *old;
	uint32_t id;

	wr_mutex_lock(&pools_lock);
	/* The next pool may lie at this address. The lock keeps the threads from ending. */
	for (id = 1; wr_pool_is_ours(pool) && id <= pool->nr_sets; id++) {
		old = pool;
		tls = wr_load_relaxed(&wr_load_relaxed(&pool->sets[id])->thread);
		if (tls)
			(void)wr_cas_relaxed(&tls->pool, &old, WR_TLS_NO_POOL);
	}
	for (p = &pools; *p; p = &(*p)->next_open) {
		if (*p == pool) {
			*p = pool->next_open;
			break;
		}
	}
	wr_mutex_unlock(&pools_lock);
}

static void init_group(struct wr_mag_group *g, struct weir_pool *pool, struct wr_pool_zone *zone)
{
	struct wr_magazine *m;
	unsigned order, size;

	g->zone = zone;
	for (size = 8; size < 8 + WR_MAGAZINE_SIZES; size++)
		g->mag[size % WR_MAGAZINE_SIZES].bytes = 1ull << size;
	for (order = 0; order < WR_MAGAZINE_ORDERS && pool->magazine_caps[order] > 0; order++) {
		size = wr_magazine_of_order(pool, order);
		m = &g->mag[size];
		m->cap = pool->magazine_caps[order];
		m->low_word = size << WR_CELL_SIZE_SHIFT;
	}
}

/* What the fast way needs of the first zone. */
static void init_fast(struct wr_pool_set *set, const struct weir_pool *pool)
{
	const struct wr_pool_zone *zone = &pool->zones[0];

	set->nr_blocks = zone->buddy.nr_blocks;
	set->cells = zone->cells;
	set->base = zone->base;
	set->id_prefix = zone->id_prefix;
	set->block_shift = pool->block_shift;
	set->block_bytes = 1u << pool->block_shift;
}

static void set_fini(struct wr_pool_set *set)
{
	if (!set)
		return;
	wr_spin_fini(&set->inbox_lock);
	wr_free(set);
}

static struct wr_pool_set *new_set(struct weir_pool *pool)
{
	struct wr_pool_set *set;
	size_t i;

	set = wr_calloc_aligned(_Alignof(struct wr_pool_set), pool->set_bytes);
	if (!set)
		return NULL;
	wr_spin_init(&set->inbox_lock, WR_RANK_POOL_INBOX, "pool.inbox");
	wr_gate_init(&set->gate);
	set->pool = pool;
	init_fast(set, pool);
	for (i = 0; i < pool->nr_zones; i++)
		init_group(&set->group[i], pool, &pool->zones[i]);
	return set;
}

/* This thread's set, or a vacant one made its own. */
static struct wr_pool_set *adopt_set(struct weir_pool *pool) WR_REQUIRES(pool->claim_lock)
{
	struct wr_pool_set *set = find_set(pool, this_thread());

	if (!set)
		set = find_set(pool, NULL);
	if (set)
		wr_store_relaxed(&set->thread, this_thread());
	return set;
}

static void add_set(struct weir_pool *pool, struct wr_pool_set *set) WR_REQUIRES(pool->claim_lock)
{
	struct wr_magazine *m;
	unsigned size;
	size_t zone;

	set->id = ++pool->nr_sets;
	set->live_word = set->id | WR_CELL_LIVE;
	for (zone = 0; zone < pool->nr_zones; zone++) {
		for (size = 0; size < WR_MAGAZINE_SIZES; size++) {
			m = &set->group[zone].mag[size];
			m->low_word |= (uint32_t)set->live_word;
			m->key = m->low_word ^ (uint32_t)pool->zones[zone].node;
		}
	}
	wr_store_relaxed(&set->thread, this_thread());
	if (wr_claim_shut_count(pool) % 2 == 1)
		wr_gate_set_shut(&set->gate, true);
	wr_store_release(&pool->sets[set->id], set); /* S1: pairs with remote.c:deliver_all() */
}

static struct wr_pool_set *get_set(struct weir_pool *pool)
{
	struct wr_pool_set *set, *spare;
	bool full;

	wr_mutex_lock(&pool->claim_lock);
	set = adopt_set(pool);
	full = pool->nr_sets == WR_CELL_MAX_OWNER;
	wr_mutex_unlock(&pool->claim_lock);
	if (set || full)
		return set;
	spare = new_set(pool);
	if (!spare)
		return NULL;
	wr_mutex_lock(&pool->claim_lock);
	set = adopt_set(pool);
	if (!set && pool->nr_sets < WR_CELL_MAX_OWNER) {
		set = spare;
		spare = NULL;
		add_set(pool, set);
	}
	wr_mutex_unlock(&pool->claim_lock);
	set_fini(spare);
	return set;
}

/* Let the fast way find it, where there is one. */
static void use_set(struct weir_pool *pool, struct wr_pool_set *set)
{
	if (pool->nr_zones > 1)
		return;
	wr_pool_tls.set = set;
	wr_store_relaxed(&wr_pool_tls.pool, pool);
}

struct wr_pool_set *wr_set_of_thread(struct weir_pool *pool)
{
	struct recent *slot = &recent[pool->key % NR_RECENT];
	struct wr_pool_set *set;

	if (slot->key == pool->key) {
		use_set(pool, slot->set);
		return slot->set;
	}
	/* Without the destructor a thread would leave with what it holds. */
	if (pool->magazine_limit == 0 || !has_key || has_ended ||
	    (!pthread_getspecific(at_exit) && pthread_setspecific(at_exit, &wr_pool_tls) != 0))
		return NULL;
	set = get_set(pool);
	if (set) {
		*slot = (struct recent){.key = pool->key, .set = set};
		use_set(pool, set);
	}
	return set;
}

/* Sizes up to this have magazines, as far as the pool is large enough. */
#define LARGEST_BYTES (2 * WR_POOL_MIB)
/* Bytes in one magazine: the first; for a few blocks the second; never above a part of a zone. */
#define MAGAZINE_BYTES (4 * WR_POOL_MIB)
#define MAGAZINE_MOST  (16 * WR_POOL_MIB)
#define MAGAZINE_FEW   16u
#define MAGAZINE_SHARE 64u

void wr_magazines_configure(struct weir_pool *pool, bool off)
{
	uint64_t share = UINT64_MAX;
	uint64_t bytes, cap;
	unsigned order;
	size_t i;

	for (i = 0; i < pool->nr_zones; i++)
		share = wr_min(share, pool->zones[i].bytes / MAGAZINE_SHARE);
	/* The cells of larger blocks have no place for an order. */
	off = off || pool->block_shift > WR_CELL_OWNED_SPARE_BITS;
	for (order = 0; order < WR_MAGAZINE_ORDERS && !off; order++) {
		bytes = 1ull << (pool->block_shift + order);
		cap = wr_min(MAGAZINE_MOST / bytes, (uint64_t)MAGAZINE_FEW);
		cap = wr_max(MAGAZINE_BYTES / bytes, cap);
		cap = wr_min(wr_min(cap, share / bytes), (uint64_t)WR_MAGAZINE_SLOTS);
		if (bytes > LARGEST_BYTES || cap < 2)
			break;
		pool->magazine_caps[order] = (uint32_t)cap;
		pool->magazine_limit = (size_t)bytes;
	}
	pool->set_bytes = (size_t)wr_align_up(sizeof(struct wr_pool_set) +
						      pool->nr_zones * sizeof(struct wr_mag_group),
					      WR_CACHE_LINE);
}

void wr_sets_fini(struct weir_pool *pool)
{
	uint32_t id;

	for (id = 1; id <= pool->nr_sets; id++)
		set_fini(wr_load_relaxed(&pool->sets[id]));
	pool->nr_sets = 0;
}
