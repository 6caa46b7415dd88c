/* SPDX-License-Identifier: MIT */
/**
 * weir/lock_trace.h - How long the library's locks are waited for and held.
 *
 * Contended waits are counted at all times; this adds times. While it is on, each
 * take that had to wait is timed, and of the others one in N, chosen at random
 * lock by lock. The numbers go to shared memory that another process of the same
 * user can read without stopping or slowing the one that is watched; while a trace
 * of the process is pinned, to the trace's maps. The layout is in weir/trace_abi.h.
 *
 * Off, it costs one predictable branch per take. On, at one in 64, less than 3 ns
 * (weir bench lock). A lock gets its place in the memory when it is first timed;
 * there are places for WEIR_LOCK_SLOTS at a time.
 */
#ifndef WEIR_LOCK_TRACE_H
#define WEIR_LOCK_TRACE_H

#include <weir/base.h>
#include <weir/trace_abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bounds of the sampling rate; the default is a good one for a running host. */
#define WEIR_LOCK_SAMPLE_EVERY 64u
#define WEIR_LOCK_SAMPLE_MAX   1048576u

/**
 * weir_lock_trace_start() - Time the locks of this process from now on.
 * @sample_every: Of uncontended takes one in so many is timed: 1 to
 *                WEIR_LOCK_SAMPLE_MAX. With 1, every take.
 *
 * When timing is on already, only the rate changes and the numbers go on. A child
 * made by fork() does not time; it may start by itself.
 *
 * Context: Any thread. May block.
 * Cost:    1.6 MiB of memory, touched as locks are timed, and a descriptor.
 * Return:  0, -EINVAL (rate outside its bounds), -ENOMEM, -EMFILE, -ENFILE,
 *          -EOPNOTSUPP (no memfd on this system), -EPERM.
 * Since:   0.1
 */
WEIR_API int weir_lock_trace_start(uint32_t sample_every) WEIR_MUST_CHECK;

/**
 * weir_lock_trace_stop() - Stop timing and give the memory back.
 *
 * Readers that have it open keep it as it was. Without a start it does nothing.
 *
 * Context: Any thread. Waits for takes that are being recorded: microseconds.
 * Since:   0.1
 */
WEIR_API void weir_lock_trace_stop(void);

/**
 * weir_lock_trace_follow() - Write the times where a trace of this process wants them.
 * @pin_dir: Where traces are pinned; NULL: where the last call said, WEIR_TRACE_PIN_DIR at
 *           first.
 *
 * While a trace of this process is pinned (weir trace start) and this process may write its
 * maps, the times go into them, so that bpftool and whoever else opens the trace sees them;
 * they come back to memory of the process's own when the pins are gone. What was counted
 * moves along, and no take that is timed meanwhile is lost. A process that did not time its
 * locks does so at WEIR_LOCK_SAMPLE_EVERY while it is traced.
 *
 * A registry's collector calls this in each round. The maps belong to who began the trace: a
 * process that runs as another user cannot write them, and keeps its own memory.
 *
 * Context: Any thread. May block. Threads that release a lock whose take was timed wait
 *          while the numbers are copied: up to about a millisecond, when a trace begins or
 *          ends.
 * Cost:    A system call that fails where nothing is traced; four where something is.
 * Return:  0; -ENAMETOOLONG, -ENOMEM, -EMFILE, -ENFILE, -EOPNOTSUPP, -EPERM (there is no
 *          memory to go back to: timing is off).
 * Since:   0.1
 */
WEIR_API int weir_lock_trace_follow(const char *pin_dir) WEIR_MUST_CHECK;

struct weir_lock_reader;

/**
 * weir_lock_reader_open() - Look at the lock times of a process.
 * @pid: The process; 0 for the calling one.
 * @ret: The reader. It shows the numbers as they are at each call, and the last
 *       ones when the process stops timing or ends. When weir_lock_meta.moved says
 *       that they are elsewhere by now, open another.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_lock_reader_close(). One thread at a time.
 * Return:  0, -EINVAL (negative pid), -ENOENT (no such process, or it is not
 *          timing), -EACCES or -EPERM (not yours to read), -EBADMSG (not such
 *          memory), -EOPNOTSUPP (written by another version), -ENOMEM, -EMFILE.
 * Since:   0.1
 */
WEIR_API int weir_lock_reader_open(int pid, struct weir_lock_reader **ret) WEIR_MUST_CHECK;

/**
 * weir_lock_reader_close() - Let go of a reader.
 * @reader: Reader or NULL.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_lock_reader_close(struct weir_lock_reader *reader);

/**
 * weir_lock_reader_meta() - What the process says about its timing.
 * @reader: Reader.
 * @ret:    A copy.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_lock_reader_meta(const struct weir_lock_reader *reader,
				    struct weir_lock_meta *ret);

/**
 * weir_lock_reader_next() - Walk the locks.
 * @reader: Reader.
 * @cursor: Where to go on: 0 at the start; the call moves it.
 * @ret:    A copy of the next lock's numbers, its name ended by a NUL.
 *
 * A lock that comes or goes during the walk may or may not be seen.
 *
 * Context: Any thread.
 * Return:  0, -ENOENT (there are no more).
 * Since:   0.1
 */
WEIR_API int weir_lock_reader_next(const struct weir_lock_reader *reader, uint32_t *cursor,
				   struct weir_lock_self *ret) WEIR_MUST_CHECK;

/**
 * weir_lock_reader_find() - The lock that an address belongs to.
 * @reader: Reader.
 * @addr:   Address in the watched process: of the lock, or of a futex in it.
 * @ret:    A copy of its numbers.
 *
 * Context: Any thread.
 * Cost:    A walk over all slots.
 * Return:  0, -ENOENT (no lock there, or it was never timed).
 * Since:   0.1
 */
WEIR_API int weir_lock_reader_find(const struct weir_lock_reader *reader, uint64_t addr,
				   struct weir_lock_self *ret) WEIR_MUST_CHECK;

/**
 * weir_lock_reader_rank() - The name of a rank, and what its ended locks left.
 * @reader: Reader.
 * @rank:   Number of the rank, as in struct weir_lock_self.
 * @ret:    A copy.
 *
 * Context: Any thread.
 * Return:  0, -ENOENT (there is no such rank).
 * Since:   0.1
 */
WEIR_API int weir_lock_reader_rank(const struct weir_lock_reader *reader, uint32_t rank,
				   struct weir_lock_rank *ret) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_LOCK_TRACE_H */
