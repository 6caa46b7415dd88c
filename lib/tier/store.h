/* SPDX-License-Identifier: MIT */
/*
 * The third tier: things that exist nowhere else, kept in a folder of segment files.
 *
 * A store maps keys of 128 bits to blocks of bytes. Blocks are appended to segment files through
 * an I/O engine, past the page cache; what is on disk is described in lib/tier/format.h. It does
 * not decide what is worth keeping or what has to go: whoever puts also removes.
 *
 * Guarantees
 *
 *   A. Acknowledged is durable: after put's or remove's @done with 0, the effect is found by every
 *      later wr_store_open(), after a crash of the process; with WR_STORE_SYNC_DATA also after one
 *      of the machine. One that failed, or was under way in a crash, may be found or not.
 *   B. A block is served whole and right, or not at all: its checksum is compared at every get.
 *   C. Puts and removes of one key take effect in the order of the calls. A get sees the last
 *      effect that was acknowledged before the call, and is not disturbed by what comes later.
 *   D. Bytes of all files never exceed the budget: they are charged before they are allocated.
 *      (While a lowered budget is being reached, the former one holds. A folder that is opened
 *      with more in it than the budget may take one segment more until that is reached, and one
 *      that is filled to the last page 32 KiB, so that something can be removed.)
 *   E. No lock is held across I/O or a callback. put, get, remove, find, stats and set_budget never
 *      wait for a device.
 *   F. One store is open at one time in a folder. Files that are not a store's are left alone.
 *
 * What may run at once: everything, from any threads, but open and close of one store with nothing.
 */
#ifndef WR_TIER_STORE_H
#define WR_TIER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/base.h>
#include <weir/io.h>
#include <weir/key.h>

#define WR_STORE_ALIGN	    4096u /* of buffers in memory and extents in files */
#define WR_STORE_NAME_BYTES 192u  /* of a block's name, with the NUL */

struct wr_store;

/* When a put or a remove is acknowledged. */
enum wr_store_sync {
	WR_STORE_SYNC_DATA = 0, /* when it is on the device: one fdatasync() for all that wait */
	WR_STORE_SYNC_NONE = 1, /* when it is written: survives the process, not a power cut */
};

/*
 * @size:          sizeof(struct wr_store_opts)
 * @budget_bytes:  of all files of the store, at least 4 segments and 64 KiB.
 * @segment_bytes: of one file: a power of two, 1 MiB to 1 GiB. 0: budget / 16, in 4 to 64 MiB.
 *                 A store keeps the size it was made with; another one here is ignored.
 * @io:            the engine to go through, open longer than the store; NULL: one of its own.
 * @sync:          enum wr_store_sync
 * @verify:        1: opening reads every block and checks it, as it does after a crash
 */
struct wr_store_opts {
	size_t size;
	uint64_t budget_bytes;
	uint64_t segment_bytes;
	struct weir_io *io;
	uint32_t sync;
	uint32_t verify;
};

/*
 * A put, get or remove has ended, with 0 or a negative errno. On a thread of the engine or the
 * store's own, no lock held; must not block, and must not close the store. It may call put, get,
 * remove, find and stats.
 */
typedef void (*wr_store_done_fn)(void *arg, int result);

/*
 * What is known of one block without reading it.
 * @class: as given to put
 * @seq:   grows with every put of this store
 */
struct wr_store_info {
	uint64_t bytes;
	uint64_t seq;
	uint32_t class;
};

/*
 * One put.
 * @class: the caller's, below 256; kept with the block
 * @name:  for people, cut to WR_STORE_NAME_BYTES - 1; may be NULL
 * @buf:   the bytes, aligned to WR_STORE_ALIGN; left alone until @done
 * @bytes: at least 1, at most wr_store_max_bytes()
 * @ahead: 1: nobody waits for it; what the engine is asked for on demand goes before it
 */
struct wr_store_put_req {
	struct weir_key key;
	uint32_t class;
	uint32_t ahead;
	const char *name;
	const void *buf;
	size_t bytes;
	wr_store_done_fn done;
	void *arg;
};

/*
 * Numbers since the store was opened, unless said otherwise.
 * @budget_bytes:    now
 * @disk_bytes:      charged to the budget now: all files, what is allocated ahead included
 * @live_bytes:      extents of the blocks that can be got, headers included, now
 * @nr_blocks:       that can be got, now
 * @nr_segments:     files, now
 * @nr_puts:         acknowledged with 0
 * @nr_removes:      acknowledged with 0
 * @nr_gets:         that ended with 0
 * @nr_failed:       puts, removes and gets that ended with an error, each
 * @nr_corrupt:      blocks found to be other than they were put
 * @nr_torn:         blocks whose put was cut short by a crash, found when opening
 * @nr_bad_segments: files of which not everything could be read or trusted, now
 * @nr_foreign:      names in the folder that are not the store's, when it was opened
 * @nr_scanned:      segments that were read from end to end when opening
 * @nr_cleaned:      segments given back
 * @copied_bytes:    of blocks that were moved out of segments to give those back
 * @written_bytes:   to files, all in all
 * @nr_syncs:        fdatasync() calls; fewer than puts when puts come together
 */
struct wr_store_stats {
	uint64_t budget_bytes;
	uint64_t disk_bytes;
	uint64_t live_bytes;
	uint64_t nr_blocks;
	uint64_t nr_segments;
	uint64_t nr_puts;
	uint64_t nr_removes;
	uint64_t nr_gets;
	uint64_t nr_failed;
	uint64_t nr_corrupt;
	uint64_t nr_torn;
	uint64_t nr_bad_segments;
	uint64_t nr_foreign;
	uint64_t nr_scanned;
	uint64_t nr_cleaned;
	uint64_t copied_bytes;
	uint64_t written_bytes;
	uint64_t nr_syncs;
};

/*
 * Open the store in the folder @dir, or make one there: in a new folder (its parent must exist) or
 * an empty one. Files are 0600, folders 0700. Reads what it has to find every block. Where more is
 * on disk than the budget, as after wr_store_set_budget().
 *
 * 0; -EINVAL (an option, or a folder that is neither empty nor a store), -E2BIG, -EBUSY (another
 * store is open there: the message says in which process), -EOPNOTSUPP (a format this build does
 * not know), -EBADMSG (the manifest and all segments' heads are damaged), -ENOTDIR, -ENOENT, -ELOOP (a link in place of
 * a file), -EACCES (the folder is another user's or others may write to it), -EDQUOT, -EROFS, -EMFILE, -ENFILE, -EIO, -ENOMEM, -EAGAIN (no thread).
 */
int wr_store_open(const char *dir, const struct wr_store_opts *opts, struct wr_store **ret,
		  struct weir_error *err) WEIR_MUST_CHECK;

/*
 * Wait until everything under way has ended and its callbacks have returned, and leave a store
 * that opens without being scanned. NULL is nothing.
 */
void wr_store_close(struct wr_store *s);

/*
 * Store a block under a key, in place of the one that may be there, which can be got until the
 * new one is acknowledged. The request is copied.
 *
 * 0 (@done will be called), -EINVAL, -EFBIG (larger than wr_store_max_bytes()), -ENOSPC (the
 * budget has no room for it: remove something), -ENOMEM, -ESHUTDOWN. @done may get -ENOSPC (the
 * room is in pieces that are not worth putting together), -EDQUOT (the file system is full),
 * -EROFS, -EIO, -ENOMEM, -ECANCELED (the engine was closed).
 */
int wr_store_put(struct wr_store *s, const struct wr_store_put_req *req) WEIR_MUST_CHECK;

/*
 * Read a block into @buf, aligned to WR_STORE_ALIGN, of @cap bytes: at least its bytes, rounded up
 * to WR_STORE_ALIGN. The bytes past its end are overwritten too.
 *
 * 0 (@done will be called), -ENOENT, -EINVAL (alignment, or @cap is too small), -EBADMSG (it is
 * known to be corrupt), -ENOMEM, -ESHUTDOWN. @done may get -EBADMSG (the checksum differs, also
 * when read again), -EIO, -ENODATA (the file was cut), -ENOMEM, -ECANCELED; @buf is undefined then.
 */
int wr_store_get(struct wr_store *s, struct weir_key key, void *buf, size_t cap,
		 wr_store_done_fn done, void *arg) WEIR_MUST_CHECK;

/*
 * Take a block away. It can be got until the remove is acknowledged.
 *
 * 0 (@done will be called), -ENOENT (it is not there, and no put of it is under way), -ENOMEM,
 * -ESHUTDOWN. @done may get -ENOENT (the put it waited for has failed), -EDQUOT, -EROFS, -EIO,
 * -ENOMEM, -ECANCELED; the block is then still there.
 * A segment is kept free for removes and for putting blocks together, and what a crash leaves of it
 * is used for that by whoever opens the store next; -ENOSPC only where blocks of nearly a segment's
 * size leave even that no room.
 */
int wr_store_remove(struct wr_store *s, struct weir_key key, wr_store_done_fn done,
		    void *arg) WEIR_MUST_CHECK;

/* 0 with @ret filled, -ENOENT, -EBADMSG (it is known to be corrupt). @ret may be NULL. */
int wr_store_find(struct wr_store *s, struct weir_key key,
		  struct wr_store_info *ret) WEIR_MUST_CHECK;

/* The largest block that fits a segment. */
size_t wr_store_max_bytes(const struct wr_store *s);

/*
 * What a block of @bytes takes of the budget. A store can be filled to seven eighths of its budget
 * less two segments; from there on -ENOSPC depends on how much of the rest is in one piece. What was
 * removed costs WR_STORE_ALIGN until the files it was in have been given back.
 */
uint64_t wr_store_cost(size_t bytes);

/*
 * Change the budget. 0 when the files fit it now, with a segment to spare; -EINPROGRESS when they
 * do not yet: segments are being given back, and while the files are larger puts get -ENOSPC; if
 * live blocks stand in the way, remove some. -EINVAL (less than 4 segments).
 */
int wr_store_set_budget(struct wr_store *s, uint64_t budget_bytes) WEIR_MUST_CHECK;

void wr_store_stats(struct wr_store *s, struct wr_store_stats *ret);

#endif /* WR_TIER_STORE_H */
