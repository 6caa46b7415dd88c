/* SPDX-License-Identifier: MIT */
/*
 * The selector: the shadows of shadow.c, and the test that says when to change.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "policy/policy_ops.h"
#include "policy/selector.h"
#include "policy/shadow.h"

/* A shadow has at least so many entries, if the cache has. */
#define LEAST_ENTRIES 512
#define MAX_SHIFT     6
#define REASON_BYTES  160

/* The numbers below are tuned on the matrix of docs/policies.md and on variations of it. */

/* A gain of less than so many hits per reference is none. */
#define DRIFT 0.002
/* What a change costs, in hits per entry that fits, and in any case. */
#define COST	   0.03
#define LEAST_GAIN 8.0
/* Standard deviations of the gain that may be luck. */
#define SIGMAS 3.0
/* Gains are remembered for so many references per entry, and in any case. */
#define MEMORY	     12.0
#define LEAST_MEMORY 2000.0
/* Each change makes the next one so much dearer; that wears off over so many memories. */
#define BACKOFF 2.0
#define FORGIVE 8.0

/* A shadow is doubted when it promises more than this, per reference, in vain ... */
#define TOLERATED 0.08
/* ... and the cache has had so many references per entry to become what was promised. */
#define SETTLE 2

/*
 * The cache may hit this much less than lru's shadow, per reference, and besides that lose so
 * many hits per entry to it, before it turns to lru. Changes before make that dearer, too, but
 * not by much: a cache that is filled with the wrong things can hit nothing for long.
 */
#define GUARD_TOLERATED 0.05
#define GUARD_COST	0.2
#define GUARD_BACKOFF	3.0

/* sieve is left out: where it is best it is best by little, and it made the choice worse. */
static const char *const ours[] = {"arc", "lru", "s3-fifo", "w-tinylfu", "lfu", "loop", "forecast"};

struct wr_selector {
	struct wr_shadows shadows;
	const char *names[WR_SELECTOR_MAX];
	size_t nr;
	size_t choice;
	size_t lru;	/* its index; nr: it is no candidate */
	unsigned shift; /* one key in 2^shift is in the sample */
	uint64_t capacity;
	uint64_t nr_entries; /* of a shadow */
	bool by_bytes;
	uint64_t seed;
	/* The test. */
	double gain[WR_SELECTOR_MAX];	/* over the choice since that was made */
	double spread[WR_SELECTOR_MAX]; /* variance of the gain */
	double lag; /* hits that the cache has lost to lru's shadow, less what is tolerated */
	double backoff;
	double bias[WR_SELECTOR_MAX]; /* hits per reference that a shadow promised in vain */
	double tracking;	      /* of the choice's bias, from one reference to the next */
	uint64_t settled;	      /* sampled references since the choice */
	double keep;		      /* of the gain, from one reference to the next */
	double forgive;		      /* of the backoff, likewise */
	double mean_bytes;
	/* For people, halved every so often. */
	double hits[WR_SELECTOR_MAX];
	double total;
	uint64_t since; /* sampled references since the last halving */
	uint64_t nr_changes;
	char reason[REASON_BYTES];
};

int wr_selector_open(const struct wr_selector_opts *opts, struct wr_selector **ret)
{
	struct wr_selector_opts full = *opts;
	struct wr_selector *s;
	double memory;
	int rc;

	if (!full.candidates) {
		full.candidates = ours;
		full.nr_candidates = wr_array_size(ours);
	}
	if (!full.nr_candidates || full.nr_candidates > WR_SELECTOR_MAX || !full.capacity_bytes)
		return -EINVAL;
	s = wr_calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	while (s->shift < MAX_SHIFT && full.nr_entries >> (s->shift + 1) >= LEAST_ENTRIES)
		s->shift++;
	s->capacity = full.capacity_bytes;
	s->nr_entries = wr_max(full.nr_entries >> s->shift, (uint64_t)1);
	s->by_bytes = full.by_bytes;
	memory = wr_max(MEMORY * (double)s->nr_entries, LEAST_MEMORY);
	s->keep = 1 - 1 / memory;
	s->forgive = 1 - 1 / (memory * FORGIVE);
	s->tracking = 2 / memory;
	s->backoff = 1;
	s->seed = full.seed;
	s->nr = full.nr_candidates;
	s->lru = s->nr;
	for (size_t i = s->nr; i--;) {
		s->names[i] = full.candidates[i];
		if (!strcmp(s->names[i], wr_policy_lru.name))
			s->lru = i;
	}
	rc = wr_shadows_init(&s->shadows, &full, full.capacity_bytes >> s->shift, s->nr_entries);
	if (rc) {
		wr_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void wr_selector_close(struct wr_selector *s)
{
	if (!s)
		return;
	wr_shadows_fini(&s->shadows);
	wr_free(s);
}

bool wr_selector_is_sampled(const struct wr_selector *s, uint64_t hash)
{
	return !(hash >> 40 & (((uint64_t)1 << s->shift) - 1));
}

static const char *sample(const struct wr_selector *s, char *buf, size_t size)
{
	if (!s->shift)
		return "all keys";
	snprintf(buf, size, "1/%llu of the keys", 1ull << s->shift);
	return buf;
}

static void explain(struct wr_selector *s, size_t from, size_t to)
{
	char of[48];

	snprintf(s->reason, sizeof(s->reason), "%s hits %.1f %% on %s, %s %.1f %%", s->names[to],
		 100 * s->hits[to] / s->total, sample(s, of, sizeof(of)), s->names[from],
		 100 * s->hits[from] / s->total);
}

static void explain_lag(struct wr_selector *s)
{
	char of[48];

	snprintf(s->reason, sizeof(s->reason), "lru had over %.0f hits more than the cache on %s",
		 s->lag, sample(s, of, sizeof(of)));
}

static bool is_enough(const struct wr_selector *s, size_t i)
{
	double cost = COST * s->backoff * (double)s->nr_entries + LEAST_GAIN;

	return s->gain[i] > cost && s->gain[i] * s->gain[i] > SIGMAS * SIGMAS * s->spread[i];
}

static bool lags_behind_lru(const struct wr_selector *s)
{
	double cost = GUARD_COST * wr_min(s->backoff, GUARD_BACKOFF) * (double)s->nr_entries;

	return s->lru < s->nr && s->choice != s->lru && s->lag > cost + LEAST_GAIN;
}

static void choose(struct wr_selector *s, size_t to)
{
	s->choice = to;
	s->nr_changes++;
	s->settled = 0;
	s->backoff *= BACKOFF;
	s->lag = 0;
	for (size_t i = 0; i < s->nr; i++)
		s->gain[i] = s->spread[i] = 0;
}

/* Change to the one that gained most, if it gained enough; else to lru, if the cache lags behind it. */
static bool decide(struct wr_selector *s)
{
	size_t best = s->choice;

	for (size_t i = 0; i < s->nr; i++)
		if (i != s->choice && is_enough(s, i) &&
		    (best == s->choice || s->gain[i] > s->gain[best]))
			best = i;
	if (best != s->choice) {
		explain(s, s->choice, best);
	} else if (lags_behind_lru(s)) {
		best = s->lru;
		explain_lag(s);
	} else {
		return false;
	}
	choose(s, best);
	return true;
}

/* For people: what was long ago counts half. */
static void forget(struct wr_selector *s)
{
	if (++s->since < 4 * s->nr_entries + 1000)
		return;
	s->since = 0;
	s->total /= 2;
	for (size_t i = 0; i < s->nr; i++)
		s->hits[i] /= 2;
}

/* What the shadow of the choice promised, against what the cache made of it. */
static void track(struct wr_selector *s, bool promised, bool came)
{
	double *bias = &s->bias[s->choice];

	for (size_t i = 0; i < s->nr; i++)
		s->bias[i] *= i == s->choice ? 1 : s->forgive;
	if (++s->settled > SETTLE * s->nr_entries)
		*bias += ((double)promised - (double)came - *bias) * s->tracking;
}

/* The lag is never less than 0, so that it is seen soon, however well the cache did before. */
static void guard(struct wr_selector *s, uint32_t had, double weight, bool came)
{
	double lru = s->lru < s->nr ? had >> s->lru & 1 : 0;

	s->lag = wr_max(s->lag + (lru - (double)came - GUARD_TOLERATED) * weight, 0.0);
}

static double doubt(const struct wr_selector *s, size_t i)
{
	return s->bias[i] > TOLERATED ? s->bias[i] - TOLERATED : 0;
}

static void compare(struct wr_selector *s, uint32_t had, double weight, bool came)
{
	bool is_hit = had >> s->choice & 1;
	double own = doubt(s, s->choice);

	track(s, is_hit, came);
	guard(s, had, weight, came);
	s->backoff = 1 + (s->backoff - 1) * s->forgive;
	s->total += weight;
	for (size_t i = 0; i < s->nr; i++) {
		bool hits = had >> i & 1;
		double d = ((double)hits - (double)is_hit) * weight;

		s->hits[i] += hits ? weight : 0;
		s->gain[i] = s->gain[i] * s->keep + d + (own - doubt(s, i) - DRIFT) * weight;
		s->spread[i] = s->spread[i] * s->keep + d * d;
	}
}

bool wr_selector_access(struct wr_selector *s, struct weir_key key, uint64_t bytes, bool was_hit)
{
	uint32_t had = wr_shadows_access(&s->shadows, key, wr_policy_hash(key, s->seed), bytes);
	double weight = 1;

	if (s->by_bytes) {
		s->mean_bytes += ((double)bytes - s->mean_bytes) / 256;
		weight = s->mean_bytes > 0 ? (double)bytes / s->mean_bytes : 1;
	}
	forget(s);
	compare(s, had, weight, was_hit);
	return decide(s);
}

void wr_selector_forecast(struct wr_selector *s, struct weir_key key, uint64_t distance,
			  uint32_t prob)
{
	if (distance < WR_POLICY_NEVER)
		distance >>= s->shift;
	wr_shadows_forecast(&s->shadows, key, wr_policy_hash(key, s->seed), distance, prob);
}

void wr_selector_share(struct wr_selector *s, uint64_t sampled_bytes, uint64_t bytes)
{
	double nominal = 1.0 / (double)(1ull << s->shift);
	double share = bytes ? (double)sampled_bytes / (double)bytes : nominal;

	/* A few large nodes say little about the share. */
	share = wr_min(wr_max(share, nominal / 2), nominal * 2);
	wr_shadows_resize(&s->shadows, (uint64_t)((double)s->capacity * share));
}

void wr_selector_resize(struct wr_selector *s, uint64_t capacity_bytes)
{
	s->capacity = capacity_bytes;
	wr_shadows_resize(&s->shadows, capacity_bytes >> s->shift);
}

const char *wr_selector_choice(const struct wr_selector *s)
{
	return s->names[s->choice];
}

const struct wr_policy *wr_selector_shadow(const struct wr_selector *s, unsigned *ret_shift)
{
	*ret_shift = s->shift;
	return s->shadows.policies[s->choice];
}

const char *wr_selector_reason(const struct wr_selector *s)
{
	return s->reason;
}

uint64_t wr_selector_changes(const struct wr_selector *s)
{
	return s->nr_changes;
}

uint64_t wr_selector_rate(const struct wr_selector *s)
{
	return (uint64_t)1 << s->shift;
}
