/* SPDX-License-Identifier: MIT */
/*
 * Which forecasts are worth a read, and when to stop believing them.
 *
 * References and forecasts go in; through a table of functions the manager starts reads ahead of
 * demand, and cancels them. Like the predictor it is pure: time comes with each call and only has
 * to not go back, memory is fixed at open, the same calls give the same answers. The caller
 * serialises all calls on one object, and the functions must not call back into it.
 *
 * A read is started when its value is positive:
 *
 *	p * what a miss costs - (1 - p) * what a read costs - what leaves the cache for it is worth
 *
 * p is how often forecasts of this source and this probability came true so far, counted over
 * keys that were not resident (what is resident is likelier to be used and needs no read). A miss
 * costs the time of a read, less what reads for that distance came too late. A read costs the
 * time for which it holds up reads on demand, as seen so far; idle device time is free. What
 * leaves is worth what the cache says, or how often it was missed soon after.
 *
 * Budget, in bytes: at every moment
 *
 *	started - useful + missed <= spare * (demand - missed + useful) / 1000 + burst
 *
 * where started is without what was cancelled unread, useful what was used, demand is what was read
 * on demand, and missed that of it which had left for a read of ours. So all reads together stay
 * within 1 + spare / 1000 of what they would be without us, and a burst. (What is missed is not in
 * our hands: it may pass the limit, and nothing is started until that is earned back.) What is
 * left is counted as in a bucket of tokens, so past success cannot be spent all at once. The
 * emptier it is, the more certain a forecast must be.
 *
 * Switch: a window of references in which reads cost more than they gained, or in which nothing
 * was worth a read, is a bad one. After three in a row (720 references) the manager is off: it
 * starts nothing, and asks for one forecast in four, which it holds against what comes. When
 * they show again what would have been worth it, it goes on; each time it had to stop for a loss
 * it wants to see four times as much.
 */
#ifndef WR_PREFETCH_PREFETCH_H
#define WR_PREFETCH_PREFETCH_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/key.h>

#include "base/util.h"
#include "predict/predict.h"

struct wr_prefetch;

/* The most reads under way at a time, however small. */
#define WR_PREFETCH_READING 64u

/*
 * What the manager works on. @ctx is as given at open. @start and @resident are required, the
 * others may be NULL.
 */
struct wr_prefetch_ops {
	/*
	 * Begin to read. 0: wr_prefetch_filled() will be called once, later. -EAGAIN: not now;
	 * it is tried again while it is forecast. Anything else: not this one.
	 */
	int (*start)(void *ctx, struct weir_key key, uint64_t bytes, uint64_t deadline_ns);
	/* Not wanted any more. wr_prefetch_filled() still comes. */
	void (*cancel)(void *ctx, struct weir_key key);
	/* There, or being read on demand. */
	bool (*resident)(void *ctx, struct weir_key key);
	/* Time that is lost, on the mean, when as many bytes as these leave the cache. */
	uint64_t (*displaced)(void *ctx, uint64_t bytes);
	/* It is resident and will probably be used, @distance references from now. */
	void (*expect)(void *ctx, struct weir_key key, uint32_t prob, uint32_t distance);
	/* It was read ahead and not used when it should have been: it may leave now. */
	void (*unwanted)(void *ctx, struct weir_key key);
};

/*
 * A cache does best to keep what was read ahead apart, and to tell its policy of it when it is
 * first used, as of a miss. Then the policy decides as it would without prefetch, ahead_bytes is
 * all the room that prefetch ever takes, and nothing is displaced but by that.
 */
struct wr_prefetch_opts {
	const struct wr_prefetch_ops *ops;
	void *ctx;
	uint32_t nr_tracked;	 /* forecasts and reads followed at a time; 0: 1024 */
	uint32_t spare_permille; /* reads above those without prefetch; 0: 240 */
	uint64_t burst_bytes; /* at most; 64 references of mean size if that is less. 0: 256 MiB */
	uint64_t ahead_bytes; /* under way, or read and not used yet; 0: 16 MiB. One always may. */
	/* The device, until reads have shown it. */
	uint64_t latency_ns;	   /* 0: 100 us */
	uint64_t bytes_per_second; /* 0: 1 GB/s */
	uint64_t chunk_bytes;	   /* that a read on demand must wait for at most; 0: 1 MiB */
};

/* Of one source of forecasts, or of all. */
struct wr_prefetch_stat {
	uint64_t nr_asked; /* forecasts of keys that were not resident */
	uint64_t nr_started;
	uint64_t nr_useful;    /* of these, those that were there when they were used */
	uint64_t nr_late;      /* used while they were being read */
	uint64_t nr_wasted;    /* read and not used before they left, or not in time */
	uint64_t nr_cancelled; /* of these, those that ended unread */
	uint64_t nr_failed;
	uint64_t nr_dropped; /* wanted, and not any more before they could be started */
	uint64_t started_bytes;
	uint64_t useful_bytes;
	uint64_t wasted_bytes;
	uint32_t precision; /* of WR_PREDICT_SURE: used among those judged, of late */
};

struct wr_prefetch_info {
	bool on;
	bool lossy; /* off: because reads cost more than they gained */
	uint64_t nr_references;
	uint64_t nr_misses;
	uint64_t nr_missed;   /* misses of what had left for a read of ours */
	uint64_t nr_stops;    /* times it switched itself off */
	uint64_t stopped_at;  /* reference number of the last time */
	int64_t tokens_bytes; /* left in the budget; below 0 after displaced keys were missed */
	uint64_t ahead_bytes; /* under way, or read and not used yet */
	uint64_t read_ns;     /* a read of mean size */
	uint32_t nr_tracked;
	uint32_t nr_waiting; /* wanted, and waiting for room */
};

/* How a reference was met. */
enum wr_prefetch_outcome {
	WR_PREFETCH_HIT,  /* it was resident */
	WR_PREFETCH_MISS, /* it was not, nor under way: it is read on demand */
	WR_PREFETCH_LATE, /* it was being read ahead */
};

/* 0, -EINVAL, -ENOMEM. */
int wr_prefetch_open(const struct wr_prefetch_opts *opts, struct wr_prefetch **ret) WEIR_MUST_CHECK;
/* Cancels nothing: the caller ends its reads itself. */
void wr_prefetch_close(struct wr_prefetch *m);

/*
 * A reference, as the predictor saw it, and how it was met. @done_bytes: if it was being read
 * ahead, how much of it was there; UINT64_MAX when that is not known: then it is guessed from
 * the time that has passed.
 */
void wr_prefetch_reference(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key,
			   uint64_t bytes, enum wr_prefetch_outcome outcome, uint64_t done_bytes);

/* It is read on demand now, and will be referred to later: a miss, but no reference yet. */
void wr_prefetch_missed(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key,
			uint64_t bytes);

/* All this took so long: time that is lost unless reads ahead make up for it. */
void wr_prefetch_spent(struct wr_prefetch *m, uint64_t ns);

/* Whether a forecast is wanted now. Ask once wherever one could be had. */
bool wr_prefetch_wants(struct wr_prefetch *m);

/*
 * What is foreseen now, instead of what was before: what is no longer in it is not started, and
 * cancelled when its time has passed. Starts what is worth it and has room.
 */
void wr_prefetch_forecast(struct wr_prefetch *m, uint64_t now_ns, const struct wr_forecast *list,
			  uint32_t nr);

/* Start what waits for room, as far as there is some. wr_prefetch_forecast() does it too. */
void wr_prefetch_run(struct wr_prefetch *m, uint64_t now_ns);

/*
 * A read that was started has ended: 0, -ECANCELED, or why it failed. @read_bytes: if it was not
 * 0, how much of it the device read all the same.
 */
void wr_prefetch_filled(struct wr_prefetch *m, uint64_t now_ns, struct weir_key key, int result,
			uint64_t read_bytes);

/* A key left the cache, any; @ours: to make room for what was read ahead. */
void wr_prefetch_evicted(struct wr_prefetch *m, struct weir_key key, bool ours);

/* @source: enum wr_predict_source, or WR_PREDICT_NR_SOURCES for all. */
void wr_prefetch_stat(const struct wr_prefetch *m, uint32_t source, struct wr_prefetch_stat *ret);
void wr_prefetch_info(const struct wr_prefetch *m, struct wr_prefetch_info *ret);

#endif /* WR_PREFETCH_PREFETCH_H */
