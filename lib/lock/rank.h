/* SPDX-License-Identifier: MIT */
/*
 * The ranks of all locks, outermost first. The order of this list is the rule: a thread takes a
 * lock only while every lock it holds stands above it here. The enum, the check in debug builds
 * and the table in docs/locking.md all come from this list (tools/build/gen-locking).
 *
 *   X(name, flags, what the lock of this rank protects)
 *
 * NO_BLOCK:   nothing may sleep or do I/O under it, which includes taking a lock of a rank
 *             without this flag: its owner may be asleep.
 * BY_ADDRESS: several locks of this rank may be held, taken in the order of their addresses.
 */
#ifndef WR_LOCK_RANK_H
#define WR_LOCK_RANK_H

#define WR_LOCK_MAY_BLOCK  0u
#define WR_LOCK_NO_BLOCK   1u
#define WR_LOCK_BY_ADDRESS 2u

/* clang-format off */
#define WR_LOCK_RANKS(X) \
	X(WEIR,      WR_LOCK_MAY_BLOCK,                      "opening and closing of whole objects") \
	X(METRICS_RUN, WR_LOCK_MAY_BLOCK,                    "a round of the collector, which asks all others") \
	X(STREAM,    WR_LOCK_MAY_BLOCK,                      "position and window of a stream") \
	X(LOAD,      WR_LOCK_MAY_BLOCK,                      "progress of a load") \
	X(CACHE_AHEAD, WR_LOCK_NO_BLOCK,                     "what one cache foresees") \
	X(CACHE_ITEMS, WR_LOCK_NO_BLOCK,                     "items that may be fetched ahead") \
	X(CACHE,     WR_LOCK_NO_BLOCK | WR_LOCK_BY_ADDRESS,  "index, entries and budgets of one cache") \
	X(CACHE_SYNC, WR_LOCK_NO_BLOCK,                      "copies and writes that one thread waits for") \
	X(CACHE_THREADS, WR_LOCK_NO_BLOCK,                   "open caches, for threads that come and end") \
	X(TIER,      WR_LOCK_NO_BLOCK,                       "index, segments and queues of a store") \
	X(POOL,      WR_LOCK_MAY_BLOCK,                      "list of arenas; taking memory from the system") \
	X(POOL_COMPACT, WR_LOCK_MAY_BLOCK,                   "waiting for a move to end; a pool's maintenance thread") \
	X(POOL_HANDLE, WR_LOCK_NO_BLOCK,                     "free slots of one pool's table of handles") \
	X(POOL_TYPE, WR_LOCK_NO_BLOCK,                       "limit and waiters of one typed pool") \
	X(POOL_DEBUG, WR_LOCK_NO_BLOCK,                      "tags and patterns of a pool that is debugged") \
	X(POOL_SLAB, WR_LOCK_NO_BLOCK,                       "blocks that are cut into small objects") \
	X(POOL_WAIT, WR_LOCK_NO_BLOCK,                       "allocations that wait for room in a pool") \
	X(POOL_THREADS, WR_LOCK_NO_BLOCK,                    "open pools, for threads that end") \
	X(POOL_CLAIM, WR_LOCK_NO_BLOCK,                      "claims of the threads' magazines") \
	X(POOL_INBOX, WR_LOCK_NO_BLOCK,                      "blocks on their way to the thread that owns them") \
	X(POOL_ZONE, WR_LOCK_NO_BLOCK | WR_LOCK_BY_ADDRESS,  "free blocks of one arena") \
	X(IO,        WR_LOCK_MAY_BLOCK,                      "files and regions registered with an engine") \
	X(IO_QUEUE,  WR_LOCK_NO_BLOCK,                       "requests on their way into an engine") \
	X(TOPO,      WR_LOCK_MAY_BLOCK,                      "the machine's description while it is read") \
	X(KNOB,      WR_LOCK_MAY_BLOCK,                      "names and bounds of knobs") \
	X(RCU_RUN,   WR_LOCK_MAY_BLOCK,                      "who uses RCU; start and end of its thread") \
	X(RCU_GRACE, WR_LOCK_MAY_BLOCK,                      "a grace period, where liburcu is absent") \
	X(METRICS_DATA, WR_LOCK_NO_BLOCK,                    "samples, windows and rules of metrics") \
	X(METRICS,   WR_LOCK_NO_BLOCK,                       "names of metrics and the threads' cells") \
	X(RCU,       WR_LOCK_NO_BLOCK,                       "waking the thread that frees after a grace period") \
	X(LOG,       WR_LOCK_NO_BLOCK,                       "a message being put together")
/* clang-format on */

enum wr_lock_rank {
#define WR_LOCK_RANK_ENUM(name, flags, text) WR_RANK_##name,
	WR_LOCK_RANKS(WR_LOCK_RANK_ENUM)
#undef WR_LOCK_RANK_ENUM
		WR_NR_RANKS
};

#endif /* WR_LOCK_RANK_H */
