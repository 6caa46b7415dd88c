/* SPDX-License-Identifier: MIT */
/*
 * Between the cache and those who foresee: what happened goes from the cache into a line of
 * events, a thread takes them out in batches, and begins what is worth it.
 *
 *	hit      ring of its thread --+
 *	miss, wait, slow hit ---------+--> events, under CACHE --> batch --> predictor, manager,
 *	fetch ended, evicted ---------+                                     under CACHE_AHEAD
 *	                                                                        |
 *	     weir_cache_prefetch(), cancel, no lock held  <-- lists of what to do
 *
 * The rings of hits are those of the policies. While the thread listens, epoch stays 0, so that
 * every hit is told; that is all a hit pays, and one test of a flag that hardly ever changes.
 *
 * What the manager starts and cancels it only puts into lists, which are worked off when its lock
 * has been let go; so no two of CACHE and CACHE_AHEAD are ever held at once.
 */
#ifndef WR_CACHE_AHEAD_INTERNAL_H
#define WR_CACHE_AHEAD_INTERNAL_H

#include <pthread.h>

#include <weir/cache_ahead.h>

#include "cache/cache_internal.h"
#include "cache/known.h"
#include "predict/predict.h"
#include "prefetch/prefetch.h"

#define WR_AHEAD_EVENTS 2048u
#define WR_AHEAD_REFS	1024u /* of them, references at most */
#define WR_AHEAD_OTHERS 1792u /* and evictions with them; ends of fetches always find room */
#define WR_AHEAD_EXPECT 32u
#define WR_AHEAD_RECUR	(2 * WR_PREDICT_MAX) /* of two layers at least */

enum wr_ahead_kind { WR_AHEAD_REF, WR_AHEAD_NEEDED, WR_AHEAD_FILLED, WR_AHEAD_EVICTED };

struct wr_ahead_event {
	struct weir_key key;
	uint64_t bytes;
	uint64_t at_ns; /* 0: when it is taken out */
	int32_t result; /* of a fetch */
	uint8_t kind;
	uint8_t outcome; /* enum wr_prefetch_outcome */
	uint8_t class_id;
	bool is_owned; /* evicted: for a fetch of ours */
};

struct wr_ahead_expected {
	struct weir_key key;
	uint32_t distance;
	uint32_t prob;
};

struct wr_ahead {
	struct weir_cache *cache; /* [const] */
	pthread_t thread;	  /* [const] */
	uint32_t classes;	  /* [const] */
	uint8_t every;		  /* [const] hits after which the thread is woken, a power of two */
	struct wr_cond wake;
	_Atomic bool is_asleep;	       /* [atomic] written under CACHE */
	bool is_stopping;	       /* [CACHE] */
	bool has_ended;		       /* [CACHE] the thread is joined */
	bool is_off;		       /* [CACHE] by the host */
	bool is_listening;	       /* [CACHE] */
	bool is_on;		       /* [CACHE] what the manager's switch says */
	bool is_asked;		       /* [CACHE] a hint came, or the switch moved */
	uint32_t enough;	       /* [CACHE] events for which the thread is woken */
	uint64_t deaf_until_ns;	       /* [CACHE] */
	uint32_t nr_events;	       /* [CACHE] */
	uint64_t nr_lost;	       /* [CACHE] */
	struct wr_ahead_event *events; /* [CACHE] */

	/* Of the thread alone. */
	struct wr_ahead_event *batch;
	uint32_t nr_batch;
	bool was_off;
	bool has_hints;
	_Atomic bool is_short; /* some wait for others to end */
	bool is_worth_it;      /* the manager's switch */
	bool wants_off;	       /* it has listened long enough */
	uint64_t heard;	       /* references since it went off or began to listen */
	uint64_t listens_since_ns;
	uint64_t listening_ns; /* what it spent since then */
	uint64_t thought_at_ns;
	uint64_t free_ns;		       /* it may spend without having to gain */
	uint32_t layer, nr_chosen, nr_typical; /* experts of it heard of, and of the one before */
	uint32_t nr_under_way;		       /* begun, and not told to have ended */
	struct weir_key under_way[WR_PREFETCH_READING];
	uint32_t nr_starts, nr_cancels, nr_unwanted, nr_expected, nr_ended;
	struct weir_key starts[WR_PREFETCH_READING];
	struct weir_key cancels[WR_PREFETCH_READING];
	struct weir_key unwanted[WR_PREFETCH_READING];
	struct wr_ahead_expected expected[WR_AHEAD_EXPECT];
	uint32_t nr_recurs, recur_class;
	uint64_t nr_missed; /* of the references heard */
	struct wr_recurrent recurs[WR_AHEAD_RECUR];
	struct wr_ahead_event ended[WR_PREFETCH_READING]; /* what could not be begun */
	struct wr_forecast forecasts[WR_PREDICT_MAX];

	struct wr_mutex lock WR_RANKED(CACHE_AHEAD);
	struct wr_predict *predict;   /* [CACHE_AHEAD] */
	struct wr_prefetch *prefetch; /* [CACHE_AHEAD] */
	uint64_t nr_forecasts;	      /* [CACHE_AHEAD] */
	uint64_t nr_refused;	      /* [CACHE_AHEAD] not counted by the manager */
	uint64_t spent_ns;	      /* [CACHE_AHEAD] */

	struct wr_known known;
};

/* ---- for the cache ---- */

static inline bool wr_ahead_watches(const struct wr_ahead *a, uint32_t class_id)
{
	return a->classes >> class_id & 1;
}

/* The item of a get that is no simple hit. No lock held. */
void wr_ahead_learn(struct wr_ahead *a, const struct weir_cache_item *item);
/* A get that went the slow way. */
void wr_ahead_got(struct weir_cache *cache, struct weir_key key, uint64_t bytes, uint32_t class_id,
		  enum wr_prefetch_outcome outcome) WR_REQUIRES(cache->lock);
/* A hit that a ring told of. */
void wr_ahead_told(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* A thread has noted so many hits. No lock held. */
void wr_ahead_wake(struct weir_cache *cache);
/* Whether it is the thread of this cache that calls. */
bool wr_ahead_is_caller(const struct wr_ahead *a);
/* A fetch of ours has ended. */
void wr_ahead_filled(struct weir_cache *cache, uint32_t index, int result) WR_REQUIRES(cache->lock);
/* A copy leaves L2 for room. */
void wr_ahead_evicted(struct weir_cache *cache, uint32_t index) WR_REQUIRES(cache->lock);
/* Whether hints are for us now; if so they are taken. No lock held. */
bool wr_ahead_likely(struct wr_ahead *a, const struct weir_cache_item *item, uint32_t permille);
void wr_ahead_need(struct wr_ahead *a, const struct weir_cache_item *item);
void wr_ahead_plan(struct wr_ahead *a, const struct weir_key *keys, size_t nr, bool is_cyclic);
/* A fetch was begun for a need: a miss that nobody waits for yet. */
void wr_ahead_fetching(struct wr_ahead *a, const struct weir_cache_item *item);
/* After hints: look at them. */
void wr_ahead_look(struct wr_ahead *a);
/* As weir_cache_ahead_switch(). */
void wr_ahead_switch(struct weir_cache *cache, bool on) WR_REQUIRES(cache->lock);
/* Ends the thread, if there is one. No lock held. */
void wr_ahead_stop(struct weir_cache *cache);
void wr_ahead_free(struct wr_ahead *a);

/* ---- between its files ---- */

/* What the manager works on, with the wr_ahead as its ctx. */
extern const struct wr_prefetch_ops wr_ahead_ops;
/* The thread. */
void *wr_ahead_work(void *arg);

#endif /* WR_CACHE_AHEAD_INTERNAL_H */
