/* SPDX-License-Identifier: MIT */
/*
 * What the files of this module share: the registry, and the cells of a thread, called a shard.
 *
 * Which operations may run at once: everything with everything, except weir_metrics_close(), which
 * runs alone but for threads that end. The lists only grow while the registry lives, so readers
 * take no lock:
 *
 *   writer                                   reader
 *   A1  entry written, nr_metrics released   nr_metrics acquired, entry read
 *   A2  chunk zeroed, pointer released       pointer acquired, cells read
 *   A3  shard zeroed, head of list released  head acquired, list walked
 *   A4  entry linked, id released            id acquired, entry read
 *   A5  baseline written, seq released       seq acquired, baseline read, seq compared
 *
 * A cell has one writer at a time, the shard's owner. Ownership passes from a thread that ends to
 * one that starts under the lock METRICS, with the counts left in place.
 */
#ifndef WR_METRICS_REGISTRY_H
#define WR_METRICS_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/metrics.h>
#include <weir/metrics_sample.h>

#include "base/atomic.h"
#include "lock/lock.h"
#include "metrics/segment.h"

/* Twice the entries, so that a search ends soon. */
#define NR_HASH (2 * WEIR_METRICS_MAX)

#define NO_ID UINT32_MAX

/* A histogram's part in one shard. Rows come when a value first falls into them. */
struct hist {
	_Atomic(struct row *) rows[NR_ROWS];
	struct wr_segment_hist *out; /* [const] NULL: not in the segment */
};

struct hist_chunk {
	_Atomic(struct hist *) hists[CHUNK_CELLS];
	struct wr_segment_hist_chunk *out; /* [const] */
};

struct shard {
	_Atomic(struct chunk *) chunks[NR_CHUNKS]; /* first: found without adding */
	_Atomic(struct hist_chunk *) hist_chunks[NR_CHUNKS];
	struct shard *next;	      /* [const] once in the registry's list */
	struct shard *next_free;      /* [METRICS] */
	struct wr_segment_shard *out; /* [const] */
	uint32_t out_offset;	      /* [const] */
};

/* What metrics of one name have in common beside the texts; only entries with labels have one. */
struct labels {
	uint32_t nr;				/* [const] */
	uint32_t limit;				/* [const] */
	char *names[WEIR_METRICS_LABELS_MAX];	/* [const] as given */
	uint8_t order[WEIR_METRICS_LABELS_MAX]; /* [const] by name */
	_Atomic uint64_t nr_overflow;		/* [atomic] */
	uint32_t nr_series;			/* [METRICS] */
};

struct entry {
	char *name, *unit, *help;	     /* [const] a series has its family's */
	char *text;			     /* [const] labels, "" for none */
	struct labels *labels;		     /* [const] of a family with labels, else NULL */
	int kind;			     /* [const] */
	uint32_t id;			     /* [const] */
	uint32_t family;		     /* [const] own id when it is one */
	_Atomic uint32_t next;		     /* A4: next series of the family, NO_ID at the end */
	uint32_t last;			     /* [METRICS] of a family: its last series */
	int64_t (*read)(void *arg);	     /* [const] NULL: the cells are read */
	void *arg;			     /* [const] */
	struct live own;		     /* used when there is no segment */
	struct live *live;		     /* [const] */
	struct wr_segment_entry *out;	     /* [const] NULL: not in the segment */
	_Atomic(struct baseline *) baseline; /* A2 */
	struct window *window;		     /* [const] of a summary; contents [METRICS_DATA] */
	_Atomic(struct history *) history;   /* A2 */
	double mean[NR_RINGS];		     /* [METRICS_RUN] the collector's, see history.c */
	uint32_t nr_mean[NR_RINGS];	     /* [METRICS_RUN] */
};

struct rule {
	struct rule *next; /* [const] */
	bool (*accept)(void *arg, double value);
	void *arg;
	char name[];
};

struct weir_metrics {
	uint64_t key;			  /* [const] generation and slot, in one load */
	_Atomic uint32_t nr_metrics;	  /* [atomic] A1; beside the key, which each add reads */
	uint32_t slot;			  /* [const] */
	uint64_t generation;		  /* [const] never used twice in a process */
	struct weir_metrics_opts opts;	  /* [const] */
	struct wr_segment *segment;	  /* [const] or NULL */
	uint64_t (*now_ns)(void);	  /* [const] but in tests */
	_Atomic uint32_t nr_summaries;	  /* [METRICS] to change */
	_Atomic uint64_t nr_dropped;	  /* [atomic] */
	_Atomic uint64_t nr_overflow;	  /* [atomic] */
	_Atomic uint64_t nr_samples;	  /* [atomic] */
	_Atomic uint64_t nr_refused;	  /* [atomic] */
	_Atomic uint64_t nr_queue_full;	  /* [atomic] */
	_Atomic uint64_t nr_collections;  /* [atomic] */
	_Atomic int64_t nr_trackers;	  /* [atomic] */
	_Atomic uint32_t nr_history;	  /* [atomic] */
	_Atomic uint32_t nr_history_left; /* [atomic] */
	_Atomic(struct shard *) shards;	  /* [atomic] A3 */
	struct shard *free_shards;	  /* [METRICS] of threads that ended */
	struct wr_mutex data WR_RANKED(METRICS_DATA);
	_Atomic(struct rule *) rules;		    /* [atomic] A3, the latest first */
	_Atomic(struct queue *) queue;		    /* [atomic] A2 */
	struct recent *recent;			    /* [METRICS_DATA] */
	_Atomic(struct history_times *) times;	    /* A2 */
	uint64_t next_point[NR_RINGS];		    /* [METRICS_RUN] monotonic ns */
	struct wr_mutex run WR_RANKED(METRICS_RUN); /* METRICS_RUN: one round at a time */
	_Atomic(struct weir_collector *) collector; /* A2 */
	struct weir_collector *inherited;	    /* [const] of a child: its parent's */
	struct grid *grids;			    /* [METRICS_RUN] */
	struct entry *entries[WEIR_METRICS_MAX];    /* [METRICS] to change; A1 to read */
	_Atomic uint32_t hash[NR_HASH];		    /* A4: id + 1, 0 for none */
};

/* The lists of registries, free shards and entries. */
extern struct wr_mutex wr_metrics_mutex WR_RANKED(METRICS);

/* Keeps what runs once per thread out of what runs always. */
#define WR_COLD __attribute__((noinline, cold))

/*
 * Memory for numbers: in the segment while there is one with room, else from the heap. Zeroed, on
 * a cache line. @ret_offset is 0 for the heap. Freed by wr_metrics_free(), which knows which.
 */
void *wr_metrics_alloc(struct weir_metrics *metrics, size_t bytes, uint32_t *ret_offset);
void wr_metrics_free(struct weir_metrics *metrics, void *ptr);

void wr_metrics_free_entry(struct weir_metrics *metrics, struct entry *entry);

/* NULL when there is no such id. */
struct entry *wr_metrics_entry(struct weir_metrics *metrics, uint32_t id);

static inline bool wr_metrics_has_buckets(int kind)
{
	return kind == WEIR_METRIC_HISTOGRAM || kind == WEIR_METRIC_SUMMARY;
}

/* A name as the rules want it, and a description of which everything is right. */
bool wr_metrics_is_name(const char *name);
bool wr_metrics_is_valid(const struct weir_metric_desc *desc);

/* metrics.c: is the registry of this generation open; one tracker of it less, if so. */
bool wr_metrics_is_open(uint64_t generation);
void wr_metrics_forget_tracker(uint64_t generation);

/* labels.c: UTF-8, not too long. */
bool wr_metrics_is_label_value(const char *value);

/* labels.c: the text of label values, sorted by name, into @ret of WR_LABELS_TEXT bytes. */
#define WR_LABELS_TEXT (WEIR_METRICS_LABELS_MAX * (2 * WEIR_METRICS_LABEL_BYTES_MAX + 72))
int wr_metrics_labels_text(const struct labels *labels, const char *const *values,
			   char *ret) WEIR_MUST_CHECK;

/* register.c: the entry of a name and a text of labels, or -ENOENT. */
int wr_metrics_lookup(struct weir_metrics *metrics, const char *name, const char *labels,
		      uint32_t *ret) WEIR_MUST_CHECK;
/* Link @nr new entries at once; 1: linked, 0: they were there; else an error. */
int wr_metrics_link(struct weir_metrics *metrics, struct entry *const *entries, uint32_t nr,
		    uint32_t *ret) WEIR_MUST_CHECK;
struct entry *wr_metrics_make_entry(const struct weir_metric_desc *desc);

/* Sum of what all threads added. */
int64_t wr_metrics_sum_cells(struct weir_metrics *metrics, uint32_t id);

/* read.c */
void wr_metrics_sum_histogram(struct weir_metrics *metrics, struct entry *entry,
			      struct weir_histogram *ret);
/* All there is to show of @entry, which is no family with labels. */
void wr_metrics_show(struct weir_metrics *metrics, struct entry *entry, struct weir_metric *ret);
void wr_histogram_show(const struct weir_histogram *hist, uint64_t ret[4]);

/* window.c */
struct window *wr_window_make(void);
void wr_window_free(struct window *window);
void wr_window_read(struct weir_metrics *metrics, struct entry *entry, struct weir_histogram *ret);
void wr_window_reset(struct weir_metrics *metrics, struct entry *entry);

/* sample.c */
void wr_recent_free(struct recent *recent);
void wr_recent_reset_locked(struct weir_metrics *metrics);
uint32_t wr_recent_nr_locked(const struct weir_metrics *metrics);

/* queue.c: what waits becomes samples; @keep false: it is forgotten. How many. */
uint64_t wr_queue_drain(struct weir_metrics *metrics, bool keep);
uint64_t wr_queue_nr(const struct weir_metrics *metrics);
void wr_queue_free(struct queue *queue);

/* history.c: one round: every series is read, and gets points where they are due. */
void wr_history_round(struct weir_metrics *metrics);
void wr_history_reset(struct weir_metrics *metrics);
/* What is in a ring, oldest first, at most @max, the latest of them. How many. */
uint32_t wr_history_read(const struct history_times *times, const struct history *history,
			 uint32_t ring, uint32_t max, struct weir_point *ret);

/* collector.c */
void wr_collector_end(struct weir_metrics *metrics);
/* In a child: the thread is not there, and what it slept on cannot be used again. */
void wr_collector_forked(struct weir_metrics *metrics);

static inline double wr_float_of(int64_t bits)
{
	union {
		int64_t bits;
		double value;
	} u = {.bits = bits};

	return u.value;
}

static inline int64_t wr_bits_of(double value)
{
	union {
		double value;
		int64_t bits;
	} u = {.value = value};

	return u.bits;
}

/* A quiet NaN: what a FLOAT that is unavailable holds. */
#define WR_UNAVAILABLE ((int64_t)0x7ff8000000000000)

static inline bool wr_is_available(int64_t bits)
{
	return wr_float_of(bits) == wr_float_of(bits);
}

/* The bucket that counts @value: values below 32 fill row 0; 2^e to 2^(e+1) fill row e - 4. */
static inline uint32_t wr_histogram_bucket(uint64_t value)
{
	uint32_t exponent;

	if (value < ROW_BUCKETS)
		return (uint32_t)value;
	exponent = 63u - (uint32_t)__builtin_clzll(value);
	return (exponent - 4) * ROW_BUCKETS + (uint32_t)(value >> (exponent - 5)) % ROW_BUCKETS;
}

#endif /* WR_METRICS_REGISTRY_H */
