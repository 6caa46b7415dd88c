/* SPDX-License-Identifier: MIT */
/**
 * weir/cache_ahead.h - A cache that fetches ahead of its host.
 *
 * After weir_cache_ahead() a thread of the cache watches what is got, foresees what will be got
 * next, and begins fetches of what is worth one, as weir_cache_prefetch() does. A get never does
 * more than before but note its key; it joins the fetch that is under way, if there is one, and
 * that goes on as a demand.
 *
 * What is foreseen: cycles and sequences, strides, intervals, for the experts of a model which
 * follow the ones chosen one and two layers before (weir_cache_declare()), and what the host says.
 * weir_cache_need() comes first, then weir_cache_plan() and weir_cache_likely(), then the rest.
 *
 * A fetch is begun when it is probable enough: how often forecasts like it came true is counted.
 * All that was fetched in vain stays within a budget of what demand fetches, and thinking itself
 * is held against what it saves. Where nothing is gained the thread stops after some hundred gets,
 * and then listens for less than a fiftieth of the time until it finds that it would pay again.
 *
 * Guarantees:
 *  (a) What a get returns is the same with it and without.
 *  (b) Budgets of tiers hold; room for what was fetched ahead is made by dropping only.
 *  (c) No lock is held while a fetch begins, and none that a hit takes: a hit takes none.
 */
#ifndef WEIR_CACHE_AHEAD_H
#define WEIR_CACHE_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>
#include <weir/cache.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct weir_cache_ahead_opts - What to foresee, and what it may cost. Zero means the default.
 * @size:             sizeof(struct weir_cache_ahead_opts)
 * @classes:          Bit 1 << enum weir_cache_class for each class that is watched. 0: all.
 * @nr_items:         Keys known at a time, 64 to 2^24; memory for all is taken now, some 300
 *                    bytes each. Default 4096, or twice the experts if that is more.
 * @nr_layers:        Layers with experts of the host's model, up to 65536. 0: no experts.
 * @nr_experts:       Experts of each, up to 256; 0 with @nr_layers 0.
 * @spare_permille:   Bytes fetched in vain may be so many thousandths of what is fetched on
 *                    demand, up to 1000000. Default 240.
 * @ahead_bytes:      Under way, or fetched and not got yet. Default a sixteenth of L2's budget.
 * @latency_ns:       Of a fetch, before its first byte. Default 100 us.
 * @bytes_per_second: Of fetches, until they have shown it. Default 10^9.
 */
struct weir_cache_ahead_opts {
	size_t size;
	uint32_t classes;
	uint32_t nr_items;
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint64_t spare_permille;
	uint64_t ahead_bytes;
	uint64_t latency_ns;
	uint64_t bytes_per_second;
};

/**
 * weir_cache_ahead() - Begin to fetch ahead, until the cache is closed.
 * @cache: The cache.
 * @opts:  Options, or NULL.
 * @err:   On failure: what and why. May be NULL.
 *
 * From now on the cookie and the source of each item of a watched class that is got or declared
 * must stay good until the cache is closed, or weir_cache_ahead_end(): it may be fetched again at
 * any time. Its source's functions are called from the cache's thread too; one with @read has one fetch ahead at a time.
 *
 * Context: Any thread, once.
 * Return:  0, -EINVAL, -E2BIG, -EALREADY (it does), -ENOMEM, -EAGAIN (no thread), -ENOSPC (the
 *          table of knobs is full).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_ahead(struct weir_cache *cache,
					      const struct weir_cache_ahead_opts *opts,
					      struct weir_error *err);

/* No layer, no expert. */
#define WEIR_CACHE_NO_PLACE UINT32_MAX

/**
 * weir_cache_declare() - Make an item known before it is first got.
 * @cache:  The cache, after weir_cache_ahead().
 * @item:   The item. Its name is copied; as for what else it names, see weir_cache_ahead().
 * @layer:  Number of its layer, from 0, or WEIR_CACHE_NO_PLACE: it is no expert.
 * @expert: Its number in the layer, from 0, or WEIR_CACHE_NO_PLACE.
 *
 * Without it an item is known from its first get on, and as no expert. A declared one is never
 * forgotten; declared again, it is what the last call says, but stays in its place.
 *
 * Context: Any thread. Takes CACHE_AHEAD. Does not block.
 * Return:  0, -EINVAL (also: no such layer or expert), -ENOSPC (as many are declared as can be
 *          known), -EOPNOTSUPP (nothing is foreseen), -ENODEV (no such tier).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_declare(struct weir_cache *cache,
						const struct weir_cache_item *item, uint32_t layer,
						uint32_t expert);

/**
 * weir_cache_ahead_switch() - Stop fetching ahead, or go on.
 * @cache: The cache.
 * @on:    false: what is being fetched ahead and nobody waits for is cancelled, and nothing is
 *         watched any more; hints act as without weir_cache_ahead(). true: it goes on.
 *
 * As moving the knob "cache.ahead" does, of a cache that has a table of them, but at once.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Return:  0, -EOPNOTSUPP (there is nothing to switch).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_ahead_switch(struct weir_cache *cache, bool on);

/**
 * weir_cache_ahead_end() - Stop fetching ahead for good.
 * @cache: The cache.
 *
 * Cookies and sources of items need then stay good only as for any other cache: when it returns
 * no fetch begins of itself any more, neither by a switch nor by a knob. One that is under way is
 * awaited by weir_cache_remove(). The numbers stay as they are.
 *
 * Context: Any thread. May block: until what it thinks or begins just now is done.
 * Return:  0, -EOPNOTSUPP (nothing was fetched ahead).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_ahead_end(struct weir_cache *cache);

/* Why nothing is being fetched ahead. */
enum weir_cache_ahead_off {
	WEIR_AHEAD_ON = 0,   /* it is */
	WEIR_AHEAD_HOST = 1, /* weir_cache_ahead_switch(), _end(), or the knob */
	WEIR_AHEAD_IDLE = 2, /* nothing that was foreseen was worth a fetch */
	WEIR_AHEAD_LOSS = 3, /* it cost more than it saved */
};

/**
 * struct weir_cache_ahead_stats - What came of fetching ahead, since it began.
 * @off_why:            enum weir_cache_ahead_off
 * @precision_permille: Of what was fetched and is judged, the part that was got, of late.
 * @nr_references:      Gets that were heard of, and
 * @nr_lost:            those that were not while it listened, because too many came at once.
 * @nr_forecasts:       How often it was asked what comes.
 * @nr_started:         Fetches begun; of these
 * @nr_useful:          were got when they were there,
 * @nr_late:            were got while they were on their way,
 * @nr_wasted:          were not got in time, or at all,
 * @nr_cancelled:       ended unread,
 * @nr_failed:          ended with an error, or could not be begun.
 * @nr_stops:           Times it stopped by itself,
 * @stopped_at:         the last time after so many of @nr_references.
 * @started_bytes:      Of fetches begun, without what was not read of those cancelled.
 * @useful_bytes:       Of those useful or late.
 * @wasted_bytes:       Of those wasted or cancelled.
 * @spent_ns:           Time of a processor that all this took.
 * @nr_items:           Items known.
 */
struct weir_cache_ahead_stats {
	uint32_t off_why;
	uint32_t precision_permille;
	uint64_t nr_references;
	uint64_t nr_lost;
	uint64_t nr_forecasts;
	uint64_t nr_started;
	uint64_t nr_useful;
	uint64_t nr_late;
	uint64_t nr_wasted;
	uint64_t nr_cancelled;
	uint64_t nr_failed;
	uint64_t nr_stops;
	uint64_t stopped_at;
	uint64_t started_bytes;
	uint64_t useful_bytes;
	uint64_t wasted_bytes;
	uint64_t spent_ns;
	uint64_t nr_items;
};

/**
 * weir_cache_ahead_stats() - Read them.
 * @cache: The cache.
 * @ret:   Filled; untouched on failure.
 *
 * Context: Any thread. Takes CACHE_AHEAD. Does not block.
 * Return:  0, -EOPNOTSUPP (nothing is foreseen).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_ahead_stats(struct weir_cache *cache,
						    struct weir_cache_ahead_stats *ret);

/**
 * struct weir_cache_ahead_source - What one way of foreseeing has done, since it began.
 * @name:                Static: "need", "plan", "likely" (hints of the host), "sequence", "stride",
 *                       "rhythm", "expert" (from those before), "hot" (from how often).
 * @confidence_permille: What its forecasts are believed: the part that came true of late.
 * @nr_told:             Forecasts it gave.
 * @nr_judged:           Times it was held against what came, also without being asked, and
 * @nr_right:            was right.
 * @nr_started:          Fetches begun because of it; as in struct weir_cache_ahead_stats, but with
 *                       those that could not be begun, are these and the next four.
 * @nr_useful:           got when they were there,
 * @nr_late:             got while they were on their way,
 * @nr_wasted:           not got in time, or at all,
 * @nr_cancelled:        ended unread.
 */
struct weir_cache_ahead_source {
	const char *name;
	uint64_t confidence_permille;
	uint64_t nr_told;
	uint64_t nr_judged;
	uint64_t nr_right;
	uint64_t nr_started;
	uint64_t nr_useful;
	uint64_t nr_late;
	uint64_t nr_wasted;
	uint64_t nr_cancelled;
};

/**
 * weir_cache_ahead_source() - Read those of one.
 * @cache: The cache.
 * @index: From 0, in the order of their names above.
 * @ret:   Filled; untouched on failure.
 *
 * Context: Any thread. Takes CACHE_AHEAD. Does not block.
 * Return:  0, -ENOENT (there are not so many), -EOPNOTSUPP (nothing is foreseen).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_ahead_source(struct weir_cache *cache, uint32_t index,
						     struct weir_cache_ahead_source *ret);

/**
 * weir_cache_ahead_off_name() - Why it is off, as text.
 * @off_why: enum weir_cache_ahead_off.
 *
 * Context: Any thread.
 * Return:  "on", "host", "idle", "loss"; "unknown" for what is none of them.
 * Since:   0.1
 */
WEIR_API const char *weir_cache_ahead_off_name(uint32_t off_why);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_CACHE_AHEAD_H */
