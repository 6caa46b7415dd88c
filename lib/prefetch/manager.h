/* SPDX-License-Identifier: MIT */
/*
 * The manager's parts: what is followed (track.c), what it is worth and what may be spent
 * (value.c), and whether to go on at all (switch.c).
 */
#ifndef WR_PREFETCH_MANAGER_H
#define WR_PREFETCH_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "predict/tally.h"
#include "prefetch/prefetch.h"

/*
 * A key that is followed from its forecast until it is known whether that was right.
 *
 *	state    means                                       leaves to
 *	SHADOW   foreseen, no read: only judged              QUEUED (worth it), gone (judged)
 *	QUEUED   worth a read, waits for room                READING, SHADOW (not any more)
 *	READING  start said 0                                READY, gone (failed, cancelled, used)
 *	READY    read, not used yet                          gone (used, evicted), STALE (overdue)
 *	STALE    read, overdue, counted as wasted            gone (used after all, evicted)
 */
enum wr_track_state {
	WR_TRACK_SHADOW,
	WR_TRACK_QUEUED,
	WR_TRACK_READING,
	WR_TRACK_READY,
	WR_TRACK_STALE,
};

#define WR_TRACK_NONE	 UINT32_MAX
#define WR_TRACK_BUCKETS 1024u
#define WR_TRACK_SAID	 4u
#define WR_TRACK_STEP	 4u /* references a bucket stands for */

struct wr_track {
	struct weir_key key;
	uint64_t bytes;
	uint64_t deadline_ns;
	uint64_t started_ns;
	uint64_t due;	/* reference number after which the forecast was wrong */
	uint64_t epoch; /* forecast it was last part of */
	int64_t value_ns;
	uint32_t next; /* in its bucket or among the stale or the free */
	uint32_t prev;
	uint16_t bucket; /* WR_TRACK_BUCKETS: none */
	uint8_t state;
	uint8_t source;
	uint8_t reach; /* class of the distance */
	uint8_t nr_said;
	struct {
		uint8_t source;
		uint8_t class; /* of the probability that was told */
	} said[WR_TRACK_SAID]; /* all that is judged with it */
	uint16_t queue_at;     /* QUEUED: its place there */
	uint32_t prob;	       /* as measured, of the newest forecast */
	bool used;	       /* while it was being read */
	bool cancelled;
};

struct wr_tracks {
	struct wr_track *v;
	uint32_t *slots; /* place + 1 */
	uint32_t mask;
	uint32_t max;
	uint32_t nr;
	uint32_t free; /* first of a list, WR_TRACK_NONE at its end */
	uint32_t heads[WR_TRACK_BUCKETS];
	uint32_t stale_first, stale_last; /* the oldest first */
};

int wr_tracks_init(struct wr_tracks *t, uint32_t max) WEIR_MUST_CHECK;
void wr_tracks_fini(struct wr_tracks *t);
struct wr_track *wr_tracks_find(const struct wr_tracks *t, struct weir_key key);
/* NULL: full, and nothing stale to let go. */
struct wr_track *wr_tracks_add(struct wr_tracks *t, struct weir_key key, uint64_t due);
void wr_tracks_remove(struct wr_tracks *t, struct wr_track *track);
void wr_tracks_unlink(struct wr_tracks *t, struct wr_track *track);
void wr_tracks_make_stale(struct wr_tracks *t, struct wr_track *track);
/* One whose bucket is over at reference @now, or NULL. */
struct wr_track *wr_tracks_overdue(const struct wr_tracks *t, uint64_t now);

/* ---- value.c -------------------------------------------------------------------------------- */

#define WR_VALUE_CLASSES 16u /* of the probability told */
#define WR_VALUE_REACHES 4u  /* of the distance */
#define WR_VALUE_GHOSTS	 32u /* evictions that what left for us is remembered for */
#define WR_VALUE_BURST	 64u /* references of mean size that may be spent at once */

struct wr_value {
	struct wr_tally right[WR_PREDICT_NR_SOURCES][WR_VALUE_CLASSES];
	struct wr_tally
		in_time[WR_VALUE_REACHES]; /* of what was used: the part that was there, in 1/16 */
	struct wr_tally missed;		   /* of what left for us, missed soon after */
	uint64_t latency_ns;
	uint64_t byte_ns_x4096;
	uint64_t chunk_bytes;
	uint64_t held_up_ns; /* of late, and by how many reads */
	uint64_t held_up_by;
	uint64_t held_up_at;
	uint64_t ref_ns_x16; /* from one reference to the next */
	uint64_t last_ns;
	/* the budget */
	int64_t tokens;
	uint64_t burst;
	uint64_t most_burst;
	uint64_t mean_bytes; /* of a reference */
	uint32_t spare_permille;
	/* the last evictions: what left for a read of ours */
	struct weir_key ghosts[WR_VALUE_GHOSTS];
	bool is_ghost[WR_VALUE_GHOSTS];
	uint32_t ghost_at;
};

void wr_value_init(struct wr_value *v, const struct wr_prefetch_opts *o);
uint64_t wr_value_read_ns(const struct wr_value *v, uint64_t bytes);
uint32_t wr_value_class(uint32_t prob);
uint32_t wr_value_reach(uint32_t distance);
/* How often forecasts like this come true; until that is known, what they say, if @trusting. */
uint32_t wr_value_prob(const struct wr_value *v, uint32_t source, uint32_t prob, bool trusting);
int64_t wr_value_of(const struct wr_value *v, uint32_t prob, uint32_t reach, uint64_t bytes,
		    uint64_t displaced_ns);
/* Time one wasted read costs, without what it displaces. */
uint64_t wr_value_cost_ns(const struct wr_value *v, uint64_t bytes);
void wr_value_learn_read(struct wr_value *v, uint64_t bytes, uint64_t ns);
void wr_value_reference(struct wr_value *v, uint64_t now_ns, uint64_t bytes);
void wr_value_hold_up(struct wr_value *v, uint64_t now_ns);
/* Forget what is learnt from reads only: without reads it could not be learnt anew. */
void wr_value_forgive(struct wr_value *v);
void wr_value_started(struct wr_value *v);
void wr_value_earn(struct wr_value *v, uint64_t bytes);
void wr_value_refund(struct wr_value *v, uint64_t bytes);
bool wr_value_spend(struct wr_value *v, uint64_t bytes);
/* A key left; @ours: for a read of ours. */
void wr_value_evicted(struct wr_value *v, struct weir_key key, bool ours);
/* What leaves for a read of @bytes, in time it will cost. */
uint64_t wr_value_displaced_ns(const struct wr_value *v, uint64_t bytes);
/* A miss of @key: whether it had left for us, which it then has no more. */
bool wr_value_was_displaced(struct wr_value *v, struct weir_key key, uint64_t bytes);

/* ---- switch.c ------------------------------------------------------------------------------- */

#define WR_SWITCH_WINDOW 240u /* references */
#define WR_SWITCH_BAD	 3u   /* windows in a row that end it */
#define WR_SWITCH_PROBE	 4u   /* off: one forecast of so many is asked for */

struct wr_switch {
	bool on;
	bool lossy;	  /* in a bad window something was lost */
	uint32_t nr_refs; /* in this window */
	uint32_t nr_bad;
	uint32_t nr_worth; /* forecasts worth a read, in this window; off: in a row of probes */
	uint32_t wanted;   /* of these to go on */
	int64_t gained_ns; /* in this window */
	uint64_t nr_asked;
	uint64_t nr_stops;
	uint64_t stopped_at;
};

void wr_switch_init(struct wr_switch *s);
/* One more reference, the @number th. True when it went off just now. */
bool wr_switch_reference(struct wr_switch *s, uint64_t number);
bool wr_switch_wants(struct wr_switch *s);
/* A forecast held @nr_worth that would be worth a read. True when it went on just now. */
bool wr_switch_forecast(struct wr_switch *s, uint32_t nr_worth);

struct wr_prefetch {
	struct wr_prefetch_opts opts;
	struct wr_tracks tracks;
	struct wr_value value;
	struct wr_switch on;
	struct wr_prefetch_stat stats[WR_PREDICT_NR_SOURCES];
	struct wr_tally precision[WR_PREDICT_NR_SOURCES];
	uint32_t queue[WR_PREDICT_MAX]; /* places of those QUEUED, the earliest deadline first */
	uint32_t nr_queue;
	uint32_t at; /* in the queue: before this they were started or went */
	uint32_t reading[WR_PREFETCH_READING]; /* places of those READING */
	uint32_t nr_reading;
	uint64_t ahead_bytes; /* of those READING or READY */
	uint64_t nr_refs;
	uint64_t nr_misses;
	uint64_t nr_missed;
	uint64_t epoch;
};

#endif /* WR_PREFETCH_MANAGER_H */
