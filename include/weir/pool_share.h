/* SPDX-License-Identifier: MIT */
/**
 * weir/pool_share.h - A pool whose memory other processes can map.
 *
 * One process loads weights into a shared pool; others map its regions and use the same
 * pages. A region is a file without a name: its descriptor goes to the other process over
 * a Unix socket (SCM_RIGHTS), by inheritance, or through pidfd_getfd(2).
 *
 *	weir_pool_open_shared(&opts, &pool, &err);	(here)
 *	fd = weir_pool_region_fd(pool, 0);
 *
 *	weir_region_map(fd, 0, &base, &bytes, &err);	(there)
 *	(what lies here at region.base + n lies there at base + n)
 *	weir_region_unmap(base, bytes);
 *
 * A node has a region for each kind of page that its memory consists of. A span may lie
 * in two of them: what is past the end of the one is at the beginning of the next.
 *
 * Which bytes are in use, and when they may be reused, is for the processes to agree on:
 * spans and statistics are of the process that opened the pool. Pages are gone when no
 * process has them mapped and none has the descriptor. A region's size is sealed: nobody
 * who has the descriptor can cut it off under the others.
 */
#ifndef WEIR_POOL_SHARE_H
#define WEIR_POOL_SHARE_H

#include <weir/base.h>
#include <weir/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * weir_pool_open_shared() - weir_pool_open(), of memory that can be shared.
 * @opts: As for weir_pool_open(). Pages are hugetlb ones or 4 KiB: there are no
 *        transparent huge pages for shared memory.
 * @ret:  The pool; untouched on failure.
 * @err:  On failure: what failed and what to do. May be NULL.
 *
 * Context: As weir_pool_open().
 * Owner:   The caller, until weir_pool_close().
 * Return:  As weir_pool_open(), or -EMFILE, -ENFILE (no descriptor left).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_open_shared(const struct weir_pool_opts *opts,
						   struct weir_pool **ret, struct weir_error *err);

/**
 * weir_pool_region_fd() - The descriptor of a region's memory.
 * @pool:  The pool.
 * @index: As for weir_pool_region().
 *
 * Context: Any thread. Takes no lock.
 * Owner:   The pool, which closes it in weir_pool_close(). It is close-on-exec.
 * Return:  The descriptor, -EINVAL (no such region, or a fork child), -EOPNOTSUPP (a pool
 *          that is not shared).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_pool_region_fd(const struct weir_pool *pool, size_t index);

/* The mapping may be written to; else it is for reading only. */
#define WEIR_REGION_WRITE (1u << 0)

/**
 * weir_region_map() - Map a region of another process's pool.
 * @fd:        As weir_pool_region_fd() told there; it may be closed afterwards.
 * @flags:     WEIR_REGION_WRITE or 0.
 * @ret_base:  Its first byte here; untouched on failure.
 * @ret_bytes: Its size; untouched on failure.
 * @err:       On failure: what failed. May be NULL.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_region_unmap().
 * Return:  0, -EINVAL (an unknown flag, or not the descriptor of a region: whoever has it
 *          could cut it off), -ENOMEM, or what mmap(2) said.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_region_map(int fd, uint32_t flags, void **ret_base,
					     size_t *ret_bytes, struct weir_error *err);

/**
 * weir_region_unmap() - Undo weir_region_map().
 * @base:  As it returned, or NULL.
 * @bytes: As it returned.
 *
 * Context: Any thread. May block.
 * Since:   0.1
 */
WEIR_API void weir_region_unmap(void *base, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_POOL_SHARE_H */
