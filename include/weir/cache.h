/* SPDX-License-Identifier: MIT */
/**
 * weir/cache.h - Things by name, in the fastest memory that has room for them.
 *
 * A cache keeps entries: bytes under a key, in up to three tiers. L1 is the memory of a
 * device, L2 main memory, L3 a store of files. Whoever wants the bytes gets a pin, a view
 * that stays as it is until it is put, whatever leaves the cache meanwhile. What is not
 * there is fetched once, however many ask; the others wait for that one.
 *
 * There are two kinds of entry. A clean one can be had again from where it came: its class
 * has a fill, and the cache drops the bytes when it needs room. An owned one was inserted
 * by the host and exists nowhere else: it goes down a tier when it must leave one, and is
 * never lost. When the last tier cannot take it, whoever wanted the room is told.
 *
 * An entry's copy in a memory tier is in one of these states:
 *
 *	state    readable  means                            leaves to
 *	none     no        no bytes in this tier            filling: a get or prefetch, or it is
 *	                                                    copied here from another tier; ready:
 *	                                                    an insert
 *	filling  no        memory is had, bytes come        ready: they came; none: they did not
 *	ready    yes       may be pinned                    moving, leaving
 *	moving   yes       is being copied to another tier  ready: that has ended
 *	leaving  no        nobody new can pin it; is being  none: nobody had; ready: somebody had,
 *	                   looked for pins                  just before; dead: somebody has, and it
 *	                                                    was removed or replaced
 *	dead     pins      out of the index; old pins hold  gone: the last pin was put
 *
 * Guarantees:
 *  (a) What a pin shows does not change while the pin is held.
 *  (b) One fetch at a time per key; who asks meanwhile waits for it and gets its result.
 *  (c) An owned entry can be got from its insert to its remove or replacement, at any time.
 *  (d) A tier's budget is never exceeded: bytes are charged before they are taken, and
 *      until they are given back.
 *  (e) A get that finds the bytes takes no lock and writes to no memory that other threads
 *      write to, as long as not more than some dozens of pins of one thread are held.
 *  (f) No lock is held while bytes are copied, read or written, nor in any call of the
 *      host's or a tier's functions.
 *
 * What may run at once: everything, but open and close with nothing else. Gets, inserts
 * and removes of one key take effect in some order that all threads agree on.
 */
#ifndef WEIR_CACHE_H
#define WEIR_CACHE_H

#include <stdbool.h>

#include <weir/base.h>
#include <weir/key.h>
#include <weir/pool.h>
#include <weir/tier_ops.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_cache;
struct weir_io;
struct weir_knobs;

/* Tiers; 0 in a request is L2. */
enum weir_tier {
	WEIR_TIER_DEFAULT = 0,
	WEIR_TIER_L1 = 1, /* a device's memory */
	WEIR_TIER_L2 = 2, /* main memory */
	WEIR_TIER_L3 = 3, /* files */
	WEIR_NR_TIERS = 4,
};

/* Classes: what shares a policy, a part of the budget and statistics. */
enum weir_cache_class {
	WEIR_CLASS_WEIGHTS = 0,
	WEIR_CLASS_EXPERTS = 1,
	WEIR_CLASS_KV = 2,
	WEIR_CLASS_FEATURES = 3,
	WEIR_CLASS_OTHER = 4,
	WEIR_NR_CLASSES = 5,
};

/* Of a name all is kept that fits into so many bytes with its NUL; of a longer one the end. */
#define WEIR_CACHE_NAME_BYTES 48

struct weir_cache_source;

/**
 * struct weir_cache_item - A thing, as a request names it.
 * @key:           Its name.
 * @bytes:         Its size. For owned entries of a get: 0, they have theirs.
 * @landing_bytes: What a fill needs to bring it, at least @bytes: direct reads begin and end
 *                 on device blocks. 0: @bytes.
 * @class_id:      enum weir_cache_class. Of a key that is there, its own class counts.
 * @tier:          Where it is wanted: WEIR_TIER_L1 or WEIR_TIER_L2; 0 is L2.
 * @cookie:        Handed to the fill. It must know the thing by @key and this.
 * @name:          For people, dumps and weir_cache_rule(); copied when the entry is made. May be
 *                 NULL.
 * @source:        Where it comes from, instead of from its class's source; must stay until no
 *                 fetch from it is under way. NULL: the class's.
 */
struct weir_cache_item {
	struct weir_key key;
	size_t bytes;
	size_t landing_bytes;
	uint32_t class_id;
	uint32_t tier;
	void *cookie;
	const char *name;
	const struct weir_cache_source *source;
};

/**
 * struct weir_cache_fill - Bytes that are wanted.
 * @token:       Names this fetch to weir_cache_filled(), promote and cancel.
 * @key:         Of the item.
 * @cookie:      Of the item.
 * @mem:         Where they go, aligned to WEIR_TIER_ALIGN, in main memory.
 * @mem_bytes:   Room there: the item's landing_bytes or more.
 * @bytes:       How many are wanted.
 * @class_id:    enum weir_cache_class.
 * @demand:      1: somebody waits; 0: somebody probably will.
 */
struct weir_cache_fill {
	uint64_t token;
	struct weir_key key;
	void *cookie;
	void *mem;
	size_t mem_bytes;
	size_t bytes;
	uint32_t class_id;
	uint32_t demand;
};

/**
 * struct weir_cache_source - Where the clean entries of a class come from.
 * @fill:    Begin fetching. 0: weir_cache_filled() is called once, from any thread, perhaps
 *           before this returns. Otherwise it is not. Must not wait for anything that waits
 *           for the cache.
 * @read:    Instead of @fill: fetch, and return when it is done: 0 with the place of the
 *           first byte inside @fill->mem in @ret_offset, or a negative errno.
 * @promote: Somebody waits now for a fetch that began with @demand 0. May be NULL.
 * @cancel:  The bytes are not wanted any more; weir_cache_filled() still comes. May be NULL.
 * @arg:     Handed to all of them.
 *
 * All NULL: the class has owned entries only.
 */
struct weir_cache_source {
	int (*fill)(void *arg, const struct weir_cache_fill *fill);
	int (*read)(void *arg, const struct weir_cache_fill *fill, size_t *ret_offset);
	void (*promote)(void *arg, uint64_t token);
	void (*cancel)(void *arg, uint64_t token);
	void *arg;
};

/**
 * struct weir_cache_class_opts - How one class is kept.
 * @policy:         Name of what orders its entries; NULL is the default. `weir replay --help`
 *                  lists the names. What it advises not to keep passes through: it stays while
 *                  it is pinned, and leaves before all else when room is wanted.
 * @share_permille: Its part of each memory tier's budget. A class may use what others leave,
 *                  and gives it back when they come. 0: an equal part of what the classes
 *                  with a part leave.
 * @source:         Where its clean entries come from.
 */
struct weir_cache_class_opts {
	const char *policy;
	uint64_t share_permille;
	struct weir_cache_source source;
};

/**
 * struct weir_cache_opts - How to open a cache. Zero means the default.
 * @size:          sizeof(struct weir_cache_opts)
 * @pool:          L2 is this pool. Stays the caller's, and must outlive the cache.
 * @l2:            L2 is something else in main memory: then @pool is NULL.
 * @l2_arg:        Handed to the functions of @l2.
 * @l2_budget:     Bytes of L2 at most. 0 with a pool: its capacity.
 * @l1:            A device's memory; NULL: there is no L1.
 * @l1_arg:        Handed to the functions of @l1.
 * @l1_budget:     Bytes of L1 at most.
 * @l3:            A store; NULL: owned entries stay in memory.
 * @l3_arg:        Handed to the functions of @l3.
 * @nr_entries:    Entries in memory at most, 64 to 2^25; memory is taken for them as they
 *                 come, some 400 bytes each. Default 65536.
 * @room_wait_ns:  How long a get or insert waits for others to put their pins when all that
 *                 could leave is pinned; then it is -ENOSPC. Default 1 s.
 * @classes:       By enum weir_cache_class.
 * @l3_dir:        L3 is segment files in this folder, made if it is not there (its parent must
 *                 be); one cache at a time. Then @l3 is NULL. Only during the call.
 * @l3_budget:     Bytes of all those files at most, 17 MiB or more; needed with @l3_dir.
 * @l3_io:         The engine they are read and written through, open longer than the cache.
 *                 NULL: one of their own.
 * @l3_no_sync:    1: a block counts as kept when it is written, which outlives the process; 0:
 *                 when it is on the device, which outlives a power cut.
 * @l2_packed:     1: L2's budget is taken from @pool at once, and things lie side by side in it,
 *                 to the page. For things whose sizes are not just below powers of two, as
 *                 experts: of those the pool by itself holds little more than half as many.
 *                 Needs @l2_budget; memory goes back when the cache is closed, and a budget
 *                 above it finds no room.
 * @knobs:         A table, open longer than the cache, in which it shows what can be moved while
 *                 it runs: "cache.l2_bytes", and after weir_cache_ahead() "cache.ahead". They are
 *                 heeded by the next get that is not simply a hit, prefetch or hint; what is too
 *                 much then leaves as room is made, so that setting one never waits. Functions that
 *                 change the same move the knob. NULL: none.
 */
struct weir_cache_opts {
	size_t size;
	struct weir_pool *pool;
	const struct weir_tier_ops *l2;
	void *l2_arg;
	uint64_t l2_budget;
	const struct weir_tier_ops *l1;
	void *l1_arg;
	uint64_t l1_budget;
	const struct weir_store_ops *l3;
	void *l3_arg;
	uint64_t nr_entries;
	uint64_t room_wait_ns;
	struct weir_cache_class_opts classes[WEIR_NR_CLASSES];
	const char *l3_dir;
	uint64_t l3_budget;
	struct weir_io *l3_io;
	uint64_t l3_no_sync;
	uint64_t l2_packed;
	struct weir_knobs *knobs;
};

/**
 * struct weir_pin - Bytes that stay until weir_cache_put().
 * @data:     The first of them: in main memory, or the device's address for WEIR_TIER_L1.
 * @bytes:    How many.
 * @slot:     For the cache; NULL in a struct that is no pin.
 * @word:     For the cache.
 *
 * A plain value, but two copies are one pin: it is put once. Any thread may put it.
 */
struct weir_pin {
	const void *data;
	size_t bytes;
	void *slot;
	uint64_t word;
};

/* For weir_cache_get(): do not fetch from a class's source; -ENOENT if it is in no tier. */
#define WEIR_CACHE_NO_FILL (1u << 0)
/* Do not wait: begin what is needed as a demand, and say -EINPROGRESS; -EAGAIN: there is no room. */
#define WEIR_CACHE_NO_WAIT (1u << 1)

/**
 * weir_cache_open() - Make an empty cache.
 * @opts: Options; a pool, or l2 with its budget, must be set.
 * @ret:  The cache; untouched on failure.
 * @err:  On failure: what and why. May be NULL.
 *
 * What a store already holds can be got at once.
 *
 * Context: Any thread.
 * Owner:   The caller, until weir_cache_close().
 * Return:  0, -EINVAL (an option is out of range), -E2BIG (newer options than this library
 *          knows), -ENOENT (no policy of that name), -ENOMEM; of @opts->l3_dir: -EINVAL (it is
 *          neither empty nor a store, or the budget is too small), -EBUSY (it is open in another
 *          process), -EOPNOTSUPP, -EBADMSG, -ENOTDIR, -ENOENT, -ELOOP, -EACCES, -EDQUOT, -EROFS,
 *          -EMFILE, -ENFILE, -EIO, -EAGAIN (no thread); of @opts->knobs: -EEXIST (a cache with
 *          another budget is in it), -ENOSPC (it is full).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_open(const struct weir_cache_opts *opts,
					     struct weir_cache **ret, struct weir_error *err);

/**
 * weir_cache_close() - Give all memory back.
 * @cache: The cache, or NULL. No pin of it may be held: that would be reported as a leak
 *         through the log, and its bytes are gone.
 *
 * As weir_cache_cancel(), then waits until whoever was waiting has left and fetches have
 * ended. Owned entries that are not in L3 end with it; weir_cache_flush() takes them there.
 *
 * Context: Any thread, once, while no other begins a call. May block.
 * Since:   0.1
 */
WEIR_API void weir_cache_close(struct weir_cache *cache);

/**
 * weir_cache_cancel() - Let nobody wait any more, for good.
 * @cache: The cache.
 *
 * Every call that waits, or would, ends with -ECANCELED, and fetches are cancelled. What is
 * there can still be got; pins stay good.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Since:   0.1
 */
WEIR_API void weir_cache_cancel(struct weir_cache *cache);

/**
 * weir_cache_get() - Pin a thing, fetching it first if need be.
 * @cache: The cache.
 * @item:  What; @item->bytes must be set where the class has a source.
 * @flags: WEIR_CACHE_NO_FILL, WEIR_CACHE_NO_WAIT.
 * @ret:   The pin; untouched on failure.
 *
 * Context: Any thread. When the bytes are there: takes no lock, does not block. Otherwise
 *          takes CACHE, calls the source or the tiers, and may block.
 * Owner:   The caller, until weir_cache_put().
 * Cost:    Of a hit: two cache lines of the index, one of this thread; no locked instruction.
 * Return:  0; -EINVAL (a number is out of range, or the size differs from that of the entry);
 *          -ENOENT (it is nowhere, and the class has no source or it was not to be asked);
 *          -EINPROGRESS, -EAGAIN (with WEIR_CACHE_NO_WAIT); -ENOSPC (all that could leave is pinned or
 *          cannot go down, or it is larger than the budget); -ENODEV (there is no such tier);
 *          -ENOMEM; -ECANCELED; -EBADMSG and -EIO (L3); or what the source ended with.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_get(struct weir_cache *cache,
					    const struct weir_cache_item *item, unsigned int flags,
					    struct weir_pin *ret);

/**
 * weir_cache_get_all() - Pin several things; what is not there is fetched side by side.
 * @cache: The cache.
 * @items: Array of @nr items, as for weir_cache_get(); one may stand there twice.
 * @nr:    How many.
 * @flags: WEIR_CACHE_NO_FILL.
 * @pins:  Array of @nr pins, in the order of @items. On failure all are cleared, none is held.
 *
 * As one weir_cache_get() after the other, but up to 32 fetches are under way together, and what
 * is there is pinned before room is made for what is not. All must fit at once.
 *
 * Context: Any thread. As weir_cache_get().
 * Owner:   The caller, until weir_cache_put() of each.
 * Return:  How many of them were there, 0 to @nr; or the codes of weir_cache_get(), of the first
 *          that could not be had.
 * Since:   0.1
 */
WEIR_API int64_t weir_cache_get_all(struct weir_cache *cache, const struct weir_cache_item *items,
				    size_t nr, unsigned int flags, struct weir_pin *pins);

/**
 * weir_cache_put() - Put a pin.
 * @cache: The cache it is of.
 * @pin:   The pin, or NULL; cleared.
 *
 * Context: Any thread. Does not block. Takes CACHE only when somebody waits for room.
 * Return:  0; -ESTALE (it was put before, through a copy): nothing is changed.
 * Since:   0.1
 */
WEIR_API int weir_cache_put(struct weir_cache *cache, struct weir_pin *pin);

/**
 * weir_cache_filled() - A fetch has ended.
 * @cache:  The cache.
 * @token:  Of the fill.
 * @result: 0 or a negative errno, which all who wait get.
 * @offset: Where in the fill's memory the first byte is. What @landing_bytes is for.
 *
 * Context: Any thread, no lock of weir held. Takes CACHE.
 * Since:   0.1
 */
WEIR_API void weir_cache_filled(struct weir_cache *cache, uint64_t token, int result,
				size_t offset);

/**
 * weir_cache_insert() - Give the cache bytes that exist nowhere else.
 * @cache: The cache.
 * @item:  What; @item->bytes at least 1. @item->tier and cookie are not looked at.
 * @data:  The bytes; copied.
 *
 * In place of what was there under the key; pins of that keep what they show. Until this
 * returns 0 gets find the old bytes. The entry is in L2; WEIR_TIER_L3 and its guarantees
 * begin when it is demoted or flushed.
 *
 * Context: Any thread. Takes CACHE. May block: for room, for fetches of the key to end.
 * Return:  0; -EINVAL; -ENOSPC (as weir_cache_get(), and when all that is there is being replaced
 *          by calls that wait for room too; nothing is changed); -ENOMEM;
 *          -ECANCELED; what L3 said when an old block could not be taken away.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_insert(struct weir_cache *cache,
					       const struct weir_cache_item *item,
					       const void *data);

/**
 * weir_cache_remove() - Forget a key, in all tiers.
 * @cache: The cache.
 * @key:   What to forget. A clean one is fetched again when it is wanted again.
 *
 * Context: Any thread. Takes CACHE. May block: for a fetch, copy or write of it to end, and
 *          for L3 to acknowledge.
 * Return:  0; -ENOENT (it was nowhere); -ECANCELED; what L3 said: it is still there then.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_remove(struct weir_cache *cache, struct weir_key key);

/**
 * weir_cache_prefetch() - Begin fetching what will probably be wanted.
 * @cache: The cache.
 * @item:  As for weir_cache_get().
 *
 * Makes room only by dropping what needs no copying. Nobody waits for it. The policy of its class
 * hears of it when it is first got, as of a miss; until then up to an eighth of L2 is spared for
 * what was prefetched, and what is more leaves first, the oldest before.
 *
 * Context: Any thread. Takes CACHE, calls the source or L3. Does not block (if the source's
 *          functions do not).
 * Return:  1 (begun), 0 (it is there or on its way), -EAGAIN (no room now), and the codes of
 *          weir_cache_get().
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_prefetch(struct weir_cache *cache,
						 const struct weir_cache_item *item);

/**
 * weir_cache_prefetch_cancel() - A prefetch is not wanted any more.
 * @cache: The cache.
 * @key:   Of what. Ignored unless it is being fetched and nobody waits for it.
 *
 * Context: Any thread. Takes CACHE, calls the source.
 * Since:   0.1
 */
WEIR_API void weir_cache_prefetch_cancel(struct weir_cache *cache, struct weir_key key);

/**
 * weir_cache_flush() - Write all owned entries to L3 that are not there.
 * @cache: The cache.
 *
 * Those that are inserted meanwhile may be missed. They stay in memory too.
 *
 * Context: Any thread. Takes CACHE. May block.
 * Return:  0, -ENODEV (there is no L3), or the first thing that L3 said; the others are
 *          written all the same.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_flush(struct weir_cache *cache);

/**
 * weir_cache_set_budget() - Change how much a tier may hold.
 * @cache: The cache.
 * @tier:  WEIR_TIER_L1, WEIR_TIER_L2, or WEIR_TIER_L3 where that is a folder (l3_dir).
 * @bytes: The new budget.
 *
 * Growing takes effect at once. Shrinking: from the call on nothing is taken above the new
 * budget, what is too much leaves, and this returns when it has. A folder is not waited for: its
 * files shrink in the background, and meanwhile what would go down to it gets -ENOSPC.
 *
 * Context: Any thread. Takes CACHE. May block: owned entries go down.
 * Return:  0, -EINVAL (also less than four of a folder's segments), -ENODEV (no such tier), -EBUSY
 *          (pins keep it above; they are not waited for; the budget is the new one and is reached as
 *          they are put), -EINPROGRESS (a folder's files are larger; the former budget holds until
 *          they are not, and if what is in them stands in the way, remove some), or what L3 said.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_set_budget(struct weir_cache *cache, uint32_t tier,
						   uint64_t bytes);

/**
 * weir_cache_pressure() - Memory is short: let L2 use less for the time being.
 * @cache:         The cache.
 * @keep_permille: Of its budget it may use so much from now on; 1000: all of it again.
 *
 * Shrinks as weir_cache_set_budget() does, and lets the tier give memory back to the system.
 * For a host's own watermarks; weir_cache_watch() does it by itself.
 *
 * Context: Any thread. Takes CACHE. May block: owned entries go down.
 * Return:  As weir_cache_set_budget(): 0, -EINVAL, -EBUSY, or what L3 said.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_pressure(struct weir_cache *cache, uint32_t keep_permille);

/**
 * weir_cache_shed() - Others need room in L2's memory now.
 * @cache: The cache.
 * @bytes: How much should leave.
 *
 * What pinned entries and L3 allow; the budget stays as it is. To be called when an allocation
 * of the cache's pool by somebody else fails, or nearly does.
 *
 * Context: Any thread. Takes CACHE. May block: owned entries go down.
 * Return:  Bytes that left, 0 or more.
 * Since:   0.1
 */
WEIR_API int64_t weir_cache_shed(struct weir_cache *cache, uint64_t bytes);

/**
 * struct weir_cache_watch_opts - When memory counts as short. Zero means the default.
 * @size:           sizeof(struct weir_cache_watch_opts)
 * @path:           A file of pressure stall information. NULL: memory.pressure of this process's
 *                  memory cgroup, else /proc/pressure/memory.
 * @stall_us:       Tasks waited so long for memory,
 * @window_us:      within such a time: 500 ms to 10 s. Defaults 50 ms and 500 ms. Where the kernel
 *                  allows that to privileged processes only, the same share of 2 s.
 * @keep_permille:  What is left of the limit at each report. Default 750.
 * @floor_permille: It is not brought below this part of the budget. Default 125.
 * @grow_ms:        After so long without a report an eighth of the budget is given back, and so
 *                  on. Default 2000.
 */
struct weir_cache_watch_opts {
	size_t size;
	const char *path;
	uint32_t stall_us;
	uint32_t window_us;
	uint32_t keep_permille;
	uint32_t floor_permille;
	uint64_t grow_ms;
};

/**
 * weir_cache_watch() - Shrink L2 whenever the system is short of memory, and grow it back.
 * @cache: The cache. Watched until it is closed.
 * @opts:  Options, or NULL.
 * @err:   On failure: why it is not available. May be NULL.
 *
 * Context: Any thread, once. Starts a thread, which sleeps until the kernel wakes it.
 * Return:  0, -EINVAL, -E2BIG, -EALREADY (it is being watched), -EOPNOTSUPP (this kernel does
 *          not say), -EBUSY, -EACCES, -EPERM, -ENOENT (no such file), -ENOMEM, -EAGAIN (no thread).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_watch(struct weir_cache *cache,
					      const struct weir_cache_watch_opts *opts,
					      struct weir_error *err);

/* ---- what a host may say of the future; never changes what is got, only when it is there ---- */

/**
 * weir_cache_need() - These are needed soon, for certain.
 * @cache: The cache.
 * @items: Array of @nr items.
 * @nr:    How many.
 *
 * Begins fetching them in this order, as if somebody waited, and does not wait. Stops where there
 * is no room.
 *
 * Context: Any thread. As weir_cache_prefetch().
 * Return:  How many of the first are there or on their way; -EINVAL, -ECANCELED.
 * Since:   0.1
 */
WEIR_API int64_t weir_cache_need(struct weir_cache *cache, const struct weir_cache_item *items,
				 size_t nr);

/**
 * weir_cache_likely() - These are needed soon, probably.
 * @cache:    The cache.
 * @items:    Array of @nr items, likeliest first.
 * @nr:       How many.
 * @permille: How probable each is, 1 to 1000.
 *
 * From 500 on they are prefetched in this order, as far as there is room. Of those that are there
 * the policy `forecast` is told.
 *
 * Context: Any thread. As weir_cache_prefetch().
 * Return:  How many fetches began; -EINVAL, -ECANCELED.
 * Since:   0.1
 */
WEIR_API int64_t weir_cache_likely(struct weir_cache *cache, const struct weir_cache_item *items,
				   size_t nr, uint32_t permille);

/**
 * weir_cache_keep() - Do not evict a thing, or do again.
 * @cache: The cache.
 * @key:   What; it must be in memory or on its way.
 * @keep:  true: one more who wants it kept; false: one fewer.
 *
 * Unlike a pin it names no bytes: the entry may be replaced and removed.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Return:  0, -ENOENT, -EINVAL (nobody wanted it kept).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_keep(struct weir_cache *cache, struct weir_key key,
					     bool keep);

/**
 * weir_cache_plan() - The order in which things will be used.
 * @cache:     The cache.
 * @keys:      Array of @nr keys, each once; copied. NULL with @nr 0: there is no plan any more.
 * @nr:        How many, at most 2^24.
 * @is_cyclic: After the last comes the first again.
 *
 * The policy `forecast` evicts by it what is used last. A plan replaces the one before. What
 * is not in it is judged by its past.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Return:  0, -EINVAL, -EEXIST (a key stands twice in it), -ENOMEM.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_plan(struct weir_cache *cache, const struct weir_key *keys,
					     size_t nr, bool is_cyclic);

/* How entries are kept whose name matches. */
enum weir_cache_rule_kind {
	WEIR_RULE_NORMAL = 0, /* as the policy of their class says */
	WEIR_RULE_PIN = 1,    /* never evicted; removed when told */
	WEIR_RULE_STREAM = 2, /* they pass through: they leave before all others */
	WEIR_RULE_L1 = 3,     /* their place is L1: there they leave after all others */
	WEIR_RULE_L2 = 4,     /* their place is L2: in L1 they leave before all others */
	WEIR_RULE_L3 = 5,     /* as STREAM, and what is inserted is written to L3 at once */
};

/* With its NUL. */
#define WEIR_CACHE_GLOB_BYTES 96

/**
 * weir_cache_rule() - Keep things by their names.
 * @cache: The cache.
 * @glob:  Pattern with * ? and [...]: "model.layers.*.mlp.*". The first rule that matches counts.
 * @kind:  enum weir_cache_rule_kind.
 *
 * Holds for entries that are made from now on and for those that are there. A name that was
 * too long to keep is compared as it was kept. Where a rule names a tier that there is not, it says
 * nothing. No rule changes in which tier a get is served.
 *
 * Context: Any thread. Takes CACHE, for as long as looking at all names takes.
 * Return:  0, -EINVAL, -ENAMETOOLONG, -ENOSPC (there are 64 rules).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_rule(struct weir_cache *cache, const char *glob,
					     uint32_t kind);

/**
 * struct weir_cache_entry - An entry, as a dump shows it.
 * @key:       Its key.
 * @name:      Its name, "" if it has none. Valid during the call.
 * @bytes:     Its size; 0 while that is not known.
 * @nr_uses:   Gets that the policies heard of.
 * @class_id:  enum weir_cache_class.
 * @l1:        State in L1: "none", "filling", "ready", "moving", "leaving".
 * @l2:        And in L2.
 * @is_owned:  1: it was inserted; 0: it can be fetched again.
 * @is_stored: 1: L3 has it.
 * @is_kept:   1: a hint or a rule keeps it.
 * @is_pinned: 1: somebody had it pinned.
 */
struct weir_cache_entry {
	struct weir_key key;
	const char *name;
	size_t bytes;
	uint64_t nr_uses;
	const char *l1;
	const char *l2;
	uint32_t class_id;
	uint32_t is_owned;
	uint32_t is_stored;
	uint32_t is_kept;
	uint32_t is_pinned;
};

/**
 * weir_cache_dump() - Look at all entries.
 * @cache: The cache.
 * @fn:    Called for each, without a lock; what it is shown is a copy of one instant. Stops at
 *         the first result that is not 0.
 * @arg:   Handed to @fn.
 *
 * Context: Any thread. Takes CACHE, entry by entry.
 * Return:  0, or what @fn returned.
 * Since:   0.1
 */
WEIR_API int weir_cache_dump(struct weir_cache *cache,
			     int (*fn)(void *arg, const struct weir_cache_entry *entry), void *arg);

/**
 * struct weir_cache_stats - Numbers of one class in one tier, or sums.
 * @budget_bytes:  What may be used (of a class: its share).
 * @used_bytes:    Charged: entries, what is being fetched, what is dead and still pinned.
 * @peak_bytes:    The most that was ever charged; of a tier only.
 * @nr_entries:    Copies that can be pinned or are on their way.
 * @nr_gets:       @nr_hits + @nr_misses + @nr_waits.
 * @nr_hits:       Gets that found their bytes.
 * @nr_misses:     Gets that began a fetch from a source or another tier.
 * @nr_waits:      Gets that waited for the fetch of another.
 * @hit_bytes:     Bytes of the hits.
 * @fill_bytes:    Bytes that came in: fetched, inserted, from other tiers.
 * @nr_fills:      How often.
 * @nr_failed:     Fetches that ended with an error.
 * @nr_inserts:    Entries inserted by the host.
 * @nr_evictions:  Copies dropped for room, or because of the budget.
 * @nr_demotions:  Copies that went down a tier.
 * @nr_stuck:      Copies that should have gone down and could not.
 * @nr_prefetches: Prefetches begun.
 * @nr_useful:     Of these: got after they had come.
 * @nr_late:       Of these: somebody waited for them.
 * @nr_wasted:     Of these: dropped without having been got, or ended with an error.
 *                 nr_useful + nr_late + nr_wasted <= nr_prefetches.
 * @nr_passed:     Fetches that the policy advised not to keep.
 *
 * Of L3: @nr_hits and @nr_misses count how often bytes that are not in memory were looked for
 * there and found, or not, by gets and prefetches; @nr_fills and @fill_bytes the blocks it took;
 * @nr_failed reads and writes that it refused or that ended with an error. Of a folder the sums
 * of all classes also have @budget_bytes, @used_bytes (of its files) and @nr_entries. All else
 * is 0.
 */
struct weir_cache_stats {
	uint64_t budget_bytes;
	uint64_t used_bytes;
	uint64_t peak_bytes;
	uint64_t nr_entries;
	uint64_t nr_gets;
	uint64_t nr_hits;
	uint64_t nr_misses;
	uint64_t nr_waits;
	uint64_t hit_bytes;
	uint64_t fill_bytes;
	uint64_t nr_fills;
	uint64_t nr_failed;
	uint64_t nr_inserts;
	uint64_t nr_evictions;
	uint64_t nr_demotions;
	uint64_t nr_stuck;
	uint64_t nr_prefetches;
	uint64_t nr_useful;
	uint64_t nr_late;
	uint64_t nr_wasted;
	uint64_t nr_passed;
};

/**
 * weir_cache_stats() - Read the numbers of a class in a tier.
 * @cache:    The cache.
 * @tier:     WEIR_TIER_L1, WEIR_TIER_L2 or WEIR_TIER_L3.
 * @class_id: enum weir_cache_class, or WEIR_NR_CLASSES for the sum of all.
 * @ret:      Filled: everything but the hits of threads that run is of one instant, and
 *            what the struct says of sums holds in every reading.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Return:  0, -EINVAL, -ENODEV (there is no L3).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_stats(struct weir_cache *cache, uint32_t tier,
					      uint32_t class_id, struct weir_cache_stats *ret);

/**
 * struct weir_cache_policy - Which order a class leaves a tier in, and why.
 * @name:        As asked for; "auto" by default.
 * @chosen:      The policy that orders the entries now; "" before the first of them.
 * @reason:      Why auto chose it: one sentence, else "".
 * @nr_changes:  How often auto changed.
 * @cycle_bytes: What was seen to be used in turn, 0 when nothing was.
 * @below_cycle: 1: that is more than there is room for: an order by recency would find nothing.
 */
struct weir_cache_policy {
	char name[16];
	char chosen[16];
	char reason[192];
	uint64_t nr_changes;
	uint64_t cycle_bytes;
	uint32_t below_cycle;
};

/**
 * weir_cache_policy() - Read it.
 * @cache:    The cache.
 * @tier:     WEIR_TIER_L1 or WEIR_TIER_L2.
 * @class_id: enum weir_cache_class.
 * @ret:      Filled; untouched on failure.
 *
 * Context: Any thread. Takes CACHE. Does not block.
 * Return:  0, -EINVAL.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_cache_policy(struct weir_cache *cache, uint32_t tier,
					       uint32_t class_id, struct weir_cache_policy *ret);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_CACHE_H */
