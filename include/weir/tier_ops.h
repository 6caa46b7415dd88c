/* SPDX-License-Identifier: MIT */
/**
 * weir/tier_ops.h - What a cache asks of the places it keeps bytes in.
 *
 * A tier is a table of functions and the state they work on. There are two kinds. A
 * memory tier hands out pieces of memory and copies into and out of them: the memory
 * of a device, or main memory, where copying is left out because the cache can do it.
 * A store keeps bytes by their key, and may keep them after the process has ended.
 *
 * The cache counts bytes against the tier's budget before it asks for any, and holds
 * none of its locks in any of these calls. All functions may be called from any
 * threads at once, about different pieces of memory; about one piece or one key the
 * cache makes one call after the other.
 */
#ifndef WEIR_TIER_OPS_H
#define WEIR_TIER_OPS_H

#include <weir/base.h>
#include <weir/key.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What pieces of memory and blocks of a store are multiples of and, in main memory,
 * aligned to: direct reads and writes go there as they are.
 */
#define WEIR_TIER_ALIGN ((size_t)4096)

/**
 * struct weir_tier_mem - A piece of a memory tier.
 * @base:  Its address: in main memory if the tier is there, else of the device's own kind.
 * @bytes: Its size.
 * @priv:  For the tier.
 */
struct weir_tier_mem {
	void *base;
	size_t bytes;
	uint64_t priv[3];
};

/**
 * typedef weir_tier_done_fn - A copy, read or write has ended.
 * @arg:    As given when it began.
 * @result: 0 or a negative errno.
 *
 * Context: Any thread, also the one that began it, before that call returns. No lock of
 *          the cache is taken for long in it, and it does not block.
 */
typedef void (*weir_tier_done_fn)(void *arg, int result);

/**
 * struct weir_tier_ops - A memory tier.
 * @size:     sizeof(struct weir_tier_ops)
 * @alloc:    Take @bytes, a multiple of WEIR_TIER_ALIGN. 0, or -ENOSPC when there is no
 *            piece of that size: the cache makes more room and asks again; other codes
 *            go to whoever wanted the bytes. Does not wait for anything.
 * @free:     Give a piece back. Cannot fail.
 * @copy_in:  Begin copying @bytes from main memory into the piece. 0: @done will be called
 *            once. Otherwise it will not. NULL: @base is an address in main memory, and the
 *            cache copies itself.
 * @copy_out: The other way. NULL if and only if @copy_in is.
 * @trim:     The cache uses @used_bytes and not more for the time being; what lies free may
 *            go back to the system. NULL: nothing to do.
 */
struct weir_tier_ops {
	size_t size;
	int (*alloc)(void *tier, size_t bytes, struct weir_tier_mem *ret);
	void (*free)(void *tier, const struct weir_tier_mem *mem);
	int (*copy_in)(void *tier, const struct weir_tier_mem *mem, const void *from, size_t bytes,
		       weir_tier_done_fn done, void *arg);
	int (*copy_out)(void *tier, const struct weir_tier_mem *mem, void *to, size_t bytes,
			weir_tier_done_fn done, void *arg);
	void (*trim)(void *tier, uint64_t used_bytes);
};

/**
 * struct weir_store_item - One block of a store.
 * @key:      What it is called.
 * @bytes:    Its size, at least 1.
 * @class_id: enum weir_cache_class it belongs to.
 * @is_ahead: Of a put: 1: nobody waits for it, and it should yield to what somebody waits for.
 * @name:     For people; may be NULL.
 */
struct weir_store_item {
	struct weir_key key;
	size_t bytes;
	uint32_t class_id;
	uint32_t is_ahead;
	const char *name;
};

/**
 * struct weir_store_ops - A tier that keeps bytes by key.
 * @size:   sizeof(struct weir_store_ops)
 * @put:    Begin writing a block from @from, aligned to WEIR_TIER_ALIGN, in place of one
 *          that may be there under its key; until the new one is acknowledged the old one
 *          can be read. 0: @done will be called once, with 0 when the block is safe.
 *          -ENOSPC: no room.
 * @get:    Begin reading a block to @to, aligned, of @room bytes: its size rounded up to
 *          WEIR_TIER_ALIGN, all of which may be overwritten. 0: @done will be called once.
 *          -ENOENT: there is none. -EBADMSG: it is not what was put.
 * @remove: Begin taking a block away. 0: @done will be called once. -ENOENT: there is none.
 * @find:   Whether a block is there, and what is known of it (but for the name). 0, -ENOENT,
 *          -EBADMSG. Does not wait for a device. @ret may be NULL.
 *
 * Puts and removes of one key take effect in the order of the calls.
 */
struct weir_store_ops {
	size_t size;
	int (*put)(void *store, const struct weir_store_item *item, const void *from,
		   weir_tier_done_fn done, void *arg);
	int (*get)(void *store, struct weir_key key, void *to, size_t room, weir_tier_done_fn done,
		   void *arg);
	int (*remove)(void *store, struct weir_key key, weir_tier_done_fn done, void *arg);
	int (*find)(void *store, struct weir_key key, struct weir_store_item *ret);
};

#ifdef __cplusplus
}
#endif

#endif /* WEIR_TIER_OPS_H */
