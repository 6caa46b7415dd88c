/* SPDX-License-Identifier: MIT */
/*
 * What the files of a store share.
 *
 *   store.c    put, get, remove and what they wait for: writes, then a sync for all that wait
 *   index.c    which key is where
 *   segment.c  files: making, sealing, giving back
 *   keeper.c   the store's thread: new segments, seals, cleaning
 *   open.c     the folder: lock, manifest, finding what is there
 *
 * A put or remove is an op. The ops of one key stand in a line at its entry; the first is under way:
 *
 *   line -> (waiting for a segment) -> written -> (in the segment's batch) synced -> effect, called back
 *
 * A segment: OPEN, appended to -> FULL, nothing more is appended; when no op is left in it the keeper
 * seals it -> SEALED -> when no entry points to it and nobody reads it, given back. A BAD one is
 * read, and not sealed, cleaned or given back; unless it is so because the disk refused that, which
 * is tried again when room is wanted.
 *
 * Everything not marked otherwise is under the lock of the store [TIER].
 */
#ifndef WR_TIER_INTERNAL_H
#define WR_TIER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/atomic.h"
#include "base/util.h"
#include "io/write.h"
#include "lock/lock.h"
#include "tier/format.h"

#define WR_STORE_NAME_MOST 32u	       /* of a file in the folder */
#define WR_STORE_OVERHEAD  (64u << 10) /* charged for folder, lock and manifest */
#define WR_STORE_BUCKETS   1024u       /* at first */
/* Of a segment for removes and copies alone, where there is no room for a whole one: at least. */
#define WR_STORE_SHORT (8u * WR_STORE_PAGE)

STAILQ_HEAD(wr_store_op_list, wr_store_op);
TAILQ_HEAD(wr_store_entry_list, wr_store_entry);
TAILQ_HEAD(wr_store_segment_list, wr_store_segment);

enum wr_store_segment_state {
	WR_SEGMENT_OPEN,
	WR_SEGMENT_FULL,
	WR_SEGMENT_SEALED,
	WR_SEGMENT_BAD,
};

struct wr_store_segment {
	uint64_t number;	   /* [const] */
	struct weir_io_file *file; /* [const] */
	uint32_t state;		   /* enum wr_store_segment_state */
	uint32_t again;		   /* of a BAD one: what it was; OPEN: it stays BAD */
	uint32_t nr_refs;	   /* ops and gets in it */
	uint64_t file_bytes;	   /* charged */
	uint64_t used;		   /* end of the last record, or of the summary */
	uint64_t live_bytes;	   /* extents of the entries that point here */
	size_t nr_live;		   /* of these, blocks */
	struct wr_store_entry_list entries;
	struct wr_store_item *items; /* of the summary, until it is sealed */
	size_t nr_items, room_items, nr_planned;
	struct wr_store_op_list unsynced; /* written, not in a batch yet */
	struct wr_store_op_list batch;	  /* the sync under way is for these */
	bool syncing;
	bool spare; /* the one that was kept free: for removes and copies, not for puts */
	bool stuck; /* cleaning it got nowhere: not again until something of it is removed */
	struct wr_store *store; /* [const] */
	TAILQ_ENTRY(wr_store_segment) link;
};

enum wr_store_entry_state {
	WR_ENTRY_NONE,	/* only ops */
	WR_ENTRY_LIVE,	/* there is a block */
	WR_ENTRY_GRAVE, /* there is a REMOVE that is still needed */
};

struct wr_store_entry {
	struct wr_store_entry *next; /* in its bucket */
	struct wr_store_item item;   /* what is on disk */
	struct wr_store_segment *segment;
	uint32_t state; /* enum wr_store_entry_state */
	bool corrupt;
	struct wr_store_op_list line;
	TAILQ_ENTRY(wr_store_entry) link; /* in segment->entries */
};

struct wr_store_op {
	struct wr_store *store;	   /* [const] */
	struct wr_store_item item; /* what will be on disk; [const] from being placed */
	const char *buf;	   /* [const] */
	uint32_t io_class;	   /* [const] enum weir_io_class, of the writes */
	wr_store_done_fn done;	   /* [const] */
	void *arg;		   /* [const] */
	char *pages;		   /* [const] the record's page, and the one the data ends in */
	_Atomic uint32_t nr_parts; /* [atomic] writes under way */
	_Atomic int result;	   /* [atomic] the first failure */
	struct wr_store_entry *entry;
	struct wr_store_segment *segment;
	STAILQ_ENTRY(wr_store_op) in_line;
	STAILQ_ENTRY(wr_store_op) link; /* waiting, in a batch, or to do */
};

/* What is to be done when the lock has been let go. */
struct wr_store_todo {
	struct wr_store_op_list submit;
	struct wr_store_op_list done;
	struct wr_store_segment *sync;
};

struct wr_store {
	struct wr_mutex lock WR_RANKED(TIER);
	struct wr_cond work;	/* with lock: for the keeper */
	struct wr_cond changed; /* with lock: for close */
	pthread_t keeper;
	struct weir_io *io;	/* [const] */
	bool own_io;		/* [const] */
	uint32_t sync;		/* [const] */
	int dir_fd, lock_fd;	/* [const] */
	char *dir;		/* [const] for messages */
	uint64_t id[2];		/* [const] */
	uint64_t segment_bytes; /* [const] */

	struct wr_store_entry **buckets;
	size_t nr_buckets, nr_entries;
	struct wr_store_segment_list segments;
	struct wr_store_segment *active;  /* puts and removes go here */
	struct wr_store_segment *copy_to; /* cleaned blocks go here; the keeper's */
	struct wr_store_op_list waiting;  /* puts, for a segment */
	struct wr_store_op_list leaving; /* removes, likewise: they do not wait for room for puts */
	struct wr_store_op_list late;	 /* failed while being submitted: the keeper ends them */
	uint64_t next_number, next_seq;
	uint64_t ceiling; /* the budget, or the one before while a lower one is being reached */
	uint64_t pending_bytes; /* extents of puts under way */
	uint64_t nr_ops;	/* puts, removes and gets under way */
	bool closing, stop;
	uint64_t retry_ns; /* what the disk refused is not tried again before */
	bool is_woken;	   /* something has changed since the keeper looked last */
	struct wr_store_stats stats;
};

/* ---- index.c -------------------------------------------------------------------------------------- */

struct wr_store_entry *wr_store_entry_find(struct wr_store *s, struct weir_key key)
	WR_REQUIRES(s->lock);
/* Find or make; NULL: no memory. */
struct wr_store_entry *wr_store_entry_get(struct wr_store *s, struct weir_key key)
	WR_REQUIRES(s->lock);
/* Forget it if it says nothing and nobody waits for it. */
void wr_store_entry_put(struct wr_store *s, struct wr_store_entry *e) WR_REQUIRES(s->lock);
/* What is on disk for it is now @item in @seg; NULL: nothing. */
void wr_store_entry_set(struct wr_store *s, struct wr_store_entry *e, struct wr_store_segment *seg,
			const struct wr_store_item *item) WR_REQUIRES(s->lock);
void wr_store_index_fini(struct wr_store *s);

/* ---- segment.c ------------------------------------------------------------------------------------ */

void wr_store_segment_name(uint64_t number, char name[WR_STORE_NAME_MOST]);
struct wr_store_segment *wr_store_segment_alloc(struct wr_store *s,
						uint64_t number) WEIR_MUST_CHECK;
void wr_store_segment_free(struct wr_store_segment *seg);
/* Where a record of @extent bytes goes in an open segment, with room kept for the summary; false. */
bool wr_store_segment_place(struct wr_store_segment *seg, uint64_t extent, uint64_t *ret_offset);
/* The record at @item is whole: it belongs in the summary. Cannot fail after a place. */
void wr_store_segment_add(struct wr_store_segment *seg, const struct wr_store_item *item);
/* Room for one more item than planned. */
int wr_store_segment_reserve(struct wr_store_segment *seg) WEIR_MUST_CHECK;
/* Open a file of the folder, never through a link. An fd or -errno. */
int wr_store_openat(int dir_fd, const char *name, int flags);
/* Put a whole file in place of @name at once. */
int wr_store_publish(int dir_fd, const char *name, const void *page, uint64_t bytes,
		     int *ret_fd) WEIR_MUST_CHECK;

/* Keeper, no lock held. */
int wr_store_segment_make(struct wr_store *s, uint64_t number, uint64_t bytes,
			  struct wr_store_segment **ret) WEIR_MUST_CHECK;
/* What it takes when it has been sealed. */
uint64_t wr_store_segment_sealed_bytes(const struct wr_store_segment *seg);
int wr_store_segment_seal(struct wr_store *s, struct wr_store_segment *seg) WEIR_MUST_CHECK;
int wr_store_segment_unlink(struct wr_store *s, struct wr_store_segment *seg) WEIR_MUST_CHECK;
/* One request, awaited. */
enum wr_store_io { WR_STORE_IO_READ, WR_STORE_IO_WRITE, WR_STORE_IO_SYNC };
int wr_store_io_now(struct wr_store *s, enum wr_store_io what, struct weir_io_file *file,
		    uint64_t offset, void *buf, size_t bytes) WEIR_MUST_CHECK;

/* ---- store.c --------------------------------------------------------------------------------------- */

/* The record of @item, as it stands on disk in @segment. @page: WR_STORE_PAGE bytes, zeroed. */
void wr_store_fill_record(const struct wr_store *s, uint64_t segment,
			  const struct wr_store_item *item, void *page);
void wr_store_todo_init(struct wr_store_todo *todo);
/* No lock held. */
void wr_store_todo_run(struct wr_store *s, struct wr_store_todo *todo);
/* Give every op that waits its place, as far as there is room. */
void wr_store_place_waiting(struct wr_store *s, struct wr_store_todo *todo) WR_REQUIRES(s->lock);
/* The op has ended: its effect, then the next of its line. */
void wr_store_op_end(struct wr_store *s, struct wr_store_op *op, int result,
		     struct wr_store_todo *todo) WR_REQUIRES(s->lock);
/* There may be something to do for the keeper, also while it has let the lock go. */
void wr_store_wake(struct wr_store *s) WR_REQUIRES(s->lock);
/* Somebody has left the segment. */
void wr_store_segment_leave(struct wr_store *s, struct wr_store_segment *seg) WR_REQUIRES(s->lock);
/* A lower budget is reached when a segment is kept free within it. */
void wr_store_settle(struct wr_store *s) WR_REQUIRES(s->lock);
/* Puts that the budget has room for, all in all. */
uint64_t wr_store_capacity(const struct wr_store *s) WR_REQUIRES(s->lock);

/* ---- steps: where a crash may fall; tests of debug builds are told of each ------------------------- */

#define WR_STORE_STEPS(X)                                                   \
	X(OPEN_LOCKED, "the folder is locked")                              \
	X(OPEN_LISTED, "its names are known")                               \
	X(OPEN_SEGMENT, "a segment has been scanned")                       \
	X(MANIFEST_CREATED, "a new manifest is there under a passing name") \
	X(MANIFEST_ALLOCATED, "its bytes are allocated")                    \
	X(MANIFEST_SYNCED, "it is written and synced")                      \
	X(MANIFEST_RENAMED, "it has its name")                              \
	X(MANIFEST_DONE, "its folder is synced")                            \
	X(MAKE_CREATED, "a new segment is there under a passing name")      \
	X(MAKE_ALLOCATED, "its bytes are allocated")                        \
	X(MAKE_SYNCED, "its first page is written and synced")              \
	X(MAKE_RENAMED, "it has its name")                                  \
	X(MAKE_DONE, "its folder is synced")                                \
	X(PUT_BEGINS, "a block is being written")                           \
	X(PUT_WRITTEN, "it is written")                                     \
	X(PUT_SYNCED, "it is synced, and not acknowledged")                 \
	X(REMOVE_BEGINS, "a remove is being written")                       \
	X(REMOVE_WRITTEN, "it is written")                                  \
	X(REMOVE_SYNCED, "it is synced, and not acknowledged")              \
	X(SEAL_BEGINS, "a segment is full")                                 \
	X(SEAL_WRITTEN, "its summary is written")                           \
	X(SEAL_SYNCED, "and synced")                                        \
	X(SEAL_CUT, "the file is cut behind it")                            \
	X(COPY_BEGINS, "a segment is being cleaned")                        \
	X(COPY_READ, "a block of it is read")                               \
	X(COPY_WRITTEN, "and written elsewhere")                            \
	X(COPY_SYNCED, "what was copied is synced")                         \
	X(COPY_DONE, "and in the index")                                    \
	X(UNLINK_BEGINS, "nothing points to a segment")                     \
	X(UNLINKED, "its name is gone")                                     \
	X(UNLINK_DONE, "its folder is synced")

enum wr_store_step {
#define X(name, text) WR_STORE_STEP_##name,
	WR_STORE_STEPS(X)
#undef X
		WR_STORE_NR_STEPS
};

#if WR_DEBUG
/* Called at each step, on whichever thread, perhaps with the store's lock held. */
extern void (*wr_test_store_step)(enum wr_store_step step);
#endif

static inline void wr_store_step(enum wr_store_step step)
{
#if WR_DEBUG
	if (wr_test_store_step != NULL)
		wr_test_store_step(step);
#else
	(void)step;
#endif
}

/* ---- keeper.c, open.c -------------------------------------------------------------------------------- */

void *wr_store_keeper_main(void *arg);
/* Everything but the keeper and what is under way. */
void wr_store_free(struct wr_store *s);

#endif /* WR_TIER_INTERNAL_H */
