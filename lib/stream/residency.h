/* SPDX-License-Identifier: MIT */
/*
 * Entries in memory: who has their bytes, who reads them, who waits.
 *
 * A residency is a table of entries, numbered by its user. Each entry is kept in a place of its
 * own (resident) or passes through one of two slots (streamed). Whoever asks for an entry
 * that is not there starts the one read it needs, through the user's fill; all others wait
 * for it. A read that was started ahead of time is promoted when somebody begins to wait.
 *
 *	state    bytes   leaves when                                  to
 *	EMPTY    none    get, prefetch: a place was found             FILLING
 *	FILLING  growing wr_residency_filled(0)                      READY
 *	                 wr_residency_filled(error)                  EMPTY
 *	READY    final   the last pin of a streamed entry is dropped,
 *	                 or its slot is reclaimed while unpinned      EMPTY
 *
 * Guarantees: (a) bytes do not change while an entry is READY, and READY does not end while
 * a pin is held; (b) one fill at a time per entry; (c) a slot is handed out again only when
 * none of its entries is FILLING or pinned; (d) memory is what the places and slots given at
 * the start hold, never more; (e) no lock is held across fill, promote or cancel.
 *
 * Two slots, filled from their beginning and emptied as a whole, keep the device busy with
 * one while the other is used, for units of any size and without fragments.
 */
#ifndef WR_STREAM_RESIDENCY_H
#define WR_STREAM_RESIDENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr_residency;

/* How the user's bytes come. @ctx is as in the options. */
struct wr_residency_ops {
	/*
	 * Start reading entry @index into @mem (as large as the entry). 0: wr_residency_filled()
	 * will be called once, from any thread, perhaps before this returns. Else it is not.
	 */
	int (*fill)(void *ctx, uint32_t index, void *mem, bool demand);
	/* Somebody waits for a read that was started with demand false. */
	void (*promote)(void *ctx, uint32_t index);
	/* The bytes are not wanted any more; wr_residency_filled() still comes. */
	void (*cancel)(void *ctx, uint32_t index);
};

struct wr_residency_opts {
	uint32_t nr_entries;
	const struct wr_residency_ops *ops;
	void *ctx;
	size_t slot_bytes; /* of each of the two; 0 when every entry is resident */
	void *slots[2];
};

/* One get, from begin to wait: caller's memory. What it found is set by a wait that returns 0. */
struct wr_residency_get {
	uint32_t index;
	uint32_t serial; /* fills of the entry that had ended when the get began */
	void *mem;	 /* the bytes */
	bool was_hit;	 /* nothing was read for it since it was last got */
	bool waited;	 /* it was not READY when the get began */
	uint64_t wait_ns;
};

/* 0, -ENOMEM. Every entry is streamed, of size 0, until it is placed. */
int wr_residency_open(const struct wr_residency_opts *opts, struct wr_residency **ret);

/* Cancels fills and waits for them. No pin may be held. */
void wr_residency_close(struct wr_residency *residency);

/*
 * Before the first get: the landing size of entry @index, and its place if it is resident
 * (NULL: it is streamed, and @bytes must not exceed slot_bytes).
 */
void wr_residency_place(struct wr_residency *residency, uint32_t index, size_t bytes, void *mem);

/*
 * Start reading an entry ahead of time. 1: a read was started; 0: it is there or on its
 * way; -EAGAIN: no slot is free now, or somebody waits for one; -ECANCELED; else what fill
 * said. Never blocks. Takes STREAM.
 */
int wr_residency_prefetch(struct wr_residency *residency, uint32_t index);

/*
 * Pin an entry, in two steps, so that the caller can start other reads in between. begin
 * takes the pin, and starts or promotes the read if it finds a place. wait returns 0 when
 * the bytes are there and keeps the pin; or it drops the pin and returns what the read ended
 * with, or -ECANCELED after wr_residency_cancel(). wait may block: for the read, and for others
 * to put what they hold of the slots; so a thread should hold one streamed entry at a time.
 */
void wr_residency_get_begin(struct wr_residency *residency, uint32_t index,
			    struct wr_residency_get *get);
int wr_residency_get_wait(struct wr_residency *residency, struct wr_residency_get *get);

/* Drop a pin. Takes STREAM. Does not block. */
void wr_residency_put(struct wr_residency *residency, uint32_t index);

/* The user's answer to fill. Any thread, no lock held. */
void wr_residency_filled(struct wr_residency *residency, uint32_t index, int result);

/*
 * For good: every get that waits, or will, fails with -ECANCELED, whether the bytes are there or
 * not, and no fill is started. Pins held stay good. Takes STREAM. Does not block.
 */
void wr_residency_cancel(struct wr_residency *residency);
bool wr_residency_is_cancelled(struct wr_residency *residency);

#endif /* WR_STREAM_RESIDENCY_H */
