/* SPDX-License-Identifier: MIT */
/*
 * The table of handles: numbering the blocks of a pool, slots that are free, tags, and where
 * each handle ends.
 *
 * What a handle costs is a word, a byte for its tag and a bit for each of its blocks, so
 * that a pool full of handles of one block of 4 KiB needs less than a quarter per cent: the
 * free slots are linked through their words, tags have numbers, and a size is the distance
 * to the next bit that stands for an end.
 */
#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/handle.h"

/* So many slots of 2^32 generations make 2^47 handles. */
#define MIN_MAX_SLOTS 65536u
#define MAX_TAGS      (WR_HANDLE_TAG_PAGES * WR_HANDLE_TAG_PAGE - 1)

/* ---- the table --------------------------------------------------------------------- */

void wr_handle_free_table(struct wr_handles *hs)
{
	struct wr_handle_segment *segment;
	uint32_t i;

	for (i = 0; i < hs->nr_slots / WR_HANDLE_SEGMENT_SLOTS; i++) {
		segment = wr_load_relaxed(&hs->segments[i]);
		wr_free(wr_load_relaxed(&segment->tag_high));
		wr_free(segment);
	}
	for (i = 0; i < WR_HANDLE_TAG_PAGES; i++)
		wr_free(wr_load_relaxed(&hs->tags[i]));
	for (i = 0; hs->ranges && i < hs->nr_ranges; i++)
		wr_free(hs->ranges[i].ends);
	wr_free(hs->segments);
	wr_free(hs->ranges);
	wr_free(hs);
}

static size_t nr_segments_max(const struct wr_handles *hs)
{
	return hs->max_slots / WR_HANDLE_SEGMENT_SLOTS;
}

static uint64_t ends_bytes(const struct wr_handle_range *range)
{
	return (range->nr_blocks + 63) / 64 * 8;
}

/*
 * Share the 48 bits out. Small pools have more slots than blocks, so that there, too,
 * 2^47 handles can be had before all generations of all slots are used up.
 */
static int set_widths(struct wr_handles *hs, uint64_t nr_blocks)
{
	unsigned bits = 64u - (unsigned)__builtin_clzll((nr_blocks - 1) | 63);
	uint64_t nr_slots;

	if (bits > WR_HANDLE_LOCATION_BITS)
		return -EOPNOTSUPP;
	hs->location_bits = bits;
	bits = wr_min(WR_HANDLE_PIN_SHIFT - bits, WR_HANDLE_GENERATION_BITS);
	hs->last_generation = (uint32_t)((1ull << bits) - 1);
	/* More than one live handle a block there is not; one segment is for those in between. */
	nr_slots = wr_min(nr_blocks, (uint64_t)UINT32_MAX - 2 * WR_HANDLE_SEGMENT_SLOTS);
	nr_slots = wr_align_up(nr_slots + WR_HANDLE_SEGMENT_SLOTS, WR_HANDLE_SEGMENT_SLOTS);
	hs->max_slots = (uint32_t)wr_max(nr_slots, (uint64_t)MIN_MAX_SLOTS);
	return 0;
}

/* Number the blocks of all zones one after the other. */
static int add_ranges(struct wr_handles *hs)
{
	struct weir_pool *pool = hs->pool;
	struct wr_handle_range *range;
	uint64_t total = 0;
	size_t i;
	int rc;

	hs->nr_ranges = pool->nr_zones;
	hs->ranges = wr_calloc(hs->nr_ranges, sizeof(*hs->ranges));
	if (!hs->ranges)
		return -ENOMEM;
	for (i = 0; i < pool->nr_zones; i++) {
		range = &hs->ranges[i];
		range->zone = &pool->zones[i];
		range->base = range->zone->base;
		range->first = total;
		range->nr_blocks = range->zone->buddy.nr_blocks;
		total += range->nr_blocks;
		range->ends = wr_calloc(1, (size_t)ends_bytes(range));
		if (!range->ends)
			return -ENOMEM;
	}
	rc = set_widths(hs, total);
	if (rc != 0)
		return rc;
	hs->segments = wr_calloc(nr_segments_max(hs), sizeof(*hs->segments));
	return hs->segments ? 0 : -ENOMEM;
}

static int new_table(struct weir_pool *pool, struct wr_handles **ret)
{
	struct wr_handles *hs = wr_calloc_aligned(_Alignof(struct wr_handles), sizeof(*hs));
	int rc;

	if (!hs)
		return -ENOMEM;
	hs->pool = pool;
	hs->pool_number = (uint32_t)(pool->id_prefix >> WR_SPAN_POOL_SHIFT);
	hs->block_shift = pool->zones[0].block_shift;
	hs->first_free = WR_HANDLE_NONE;
	hs->last_free = WR_HANDLE_NONE;
	rc = add_ranges(hs);
	if (rc != 0) {
		wr_handle_free_table(hs);
		return rc;
	}
	*ret = hs;
	return 0;
}

int wr_handles_get(struct weir_pool *pool, struct wr_handles **ret)
{
	struct wr_handles *hs = wr_load_acquire(&pool->handles); /* H1 */
	struct wr_handles *other = NULL;
	int rc;

	if (!hs) {
		rc = new_table(pool, &hs);
		if (rc != 0)
			return rc;
		wr_mutex_init(&hs->lock, WR_RANK_POOL_HANDLE, "pool.handle");
		wr_mutex_init(&hs->wait_lock, WR_RANK_POOL_COMPACT, "pool.compact");
		wr_cond_init(&hs->wait);
		/* H1: pairs with the acquire above. */
		if (!wr_cas_acq_rel(&pool->handles, &other, hs)) {
			wr_cond_fini(&hs->wait);
			wr_mutex_fini(&hs->wait_lock);
			wr_mutex_fini(&hs->lock);
			wr_handle_free_table(hs);
			hs = other;
		}
	}
	*ret = hs;
	return 0;
}

struct wr_handles *wr_handles_of(struct weir_pool *pool)
{
	return pool && wr_pool_is_ours(pool) ? wr_load_acquire(&pool->handles) : NULL;
}

const struct wr_handle_range *wr_handle_range_of(const struct wr_handles *hs, uint64_t location)
{
	const struct wr_handle_range *range = hs->ranges;

	while (location - range->first >= range->nr_blocks)
		range++;
	return range;
}

static uint64_t end_bit(uint64_t block)
{
	return 1ull << (block % 64);
}

uint64_t wr_handle_nr_blocks(const struct wr_handle_range *range, uint64_t block)
{
	uint64_t nr_words = (range->nr_blocks + 63) / 64;
	uint64_t w = block / 64;
	uint64_t bits = wr_load_relaxed(&range->ends[w]) & ~(end_bit(block) - 1);

	while (bits == 0 && ++w < nr_words)
		bits = wr_load_relaxed(&range->ends[w]);
	return bits == 0 ? 0 : w * 64 + (uint64_t)__builtin_ctzll(bits) - block + 1;
}

void wr_handle_set_end(const struct wr_handle_range *range, uint64_t block, uint64_t nr)
{
	uint64_t end = block + nr - 1;

	wr_fetch_or_relaxed(&range->ends[end / 64], end_bit(end));
}

void wr_handle_clear_end(const struct wr_handle_range *range, uint64_t block, uint64_t nr)
{
	uint64_t end = block + nr - 1;

	wr_fetch_and_relaxed(&range->ends[end / 64], ~end_bit(end));
}

/* ---- free slots -------------------------------------------------------------------- */

/* The word of a free slot, with the next one of the queue. */
static uint64_t free_word(const struct wr_handles *hs, uint32_t generation, uint32_t next)
{
	uint64_t number = next == WR_HANDLE_NONE ? 0 : (uint64_t)next + 1;
	uint64_t low = number & ((1ull << hs->location_bits) - 1);

	return number >> hs->location_bits << WR_HANDLE_PIN_SHIFT |
	       (uint64_t)generation << hs->location_bits | low;
}

static uint32_t next_of(const struct wr_handles *hs, uint64_t word)
{
	uint64_t number =
		word >> WR_HANDLE_PIN_SHIFT << hs->location_bits | wr_handle_location(hs, word);

	return number == 0 ? WR_HANDLE_NONE : (uint32_t)(number - 1);
}

/* The end of the queue; a slot whose generations are used up does not come back. */
static void push_slot_locked(struct wr_handles *hs, uint32_t index) WR_REQUIRES(hs->lock)
{
	_Atomic uint64_t *slot = wr_handle_word_at(hs, index);
	uint32_t generation = wr_handle_generation(hs, wr_load_relaxed(slot));
	_Atomic uint64_t *last;

	wr_lock_assert_held(&hs->lock);
	wr_store_release(slot, free_word(hs, generation, WR_HANDLE_NONE));
	if (generation == hs->last_generation)
		return;
	if (hs->first_free == WR_HANDLE_NONE) {
		hs->first_free = index;
	} else {
		last = wr_handle_word_at(hs, hs->last_free);
		generation = wr_handle_generation(hs, wr_load_relaxed(last));
		wr_store_relaxed(last, free_word(hs, generation, index));
	}
	hs->last_free = index;
}

/* Memory that taking a slot needs. */
struct room {
	struct wr_handle_segment *segment;
	struct wr_handle_tag *page;
	_Atomic uint8_t *tag_high;
};

/* The segment becomes the next slots, unless there are as many as can be. 0, -ENOSPC, -EAGAIN. */
static int add_segment_locked(struct wr_handles *hs, struct room *room) WR_REQUIRES(hs->lock)
{
	uint32_t nr = wr_load_relaxed(&hs->nr_slots);
	uint32_t i;

	wr_lock_assert_held(&hs->lock);
	if (nr == hs->max_slots)
		return -ENOSPC;
	if (!room->segment)
		return -EAGAIN;
	wr_store_relaxed(&hs->segments[nr / WR_HANDLE_SEGMENT_SLOTS], room->segment);
	room->segment = NULL;
	wr_fetch_add_relaxed(&hs->added_bytes, sizeof(struct wr_handle_segment));
	/* H2: pairs with the acquires of nr_slots. */
	wr_store_release(&hs->nr_slots, nr + WR_HANDLE_SEGMENT_SLOTS);
	for (i = 0; i < WR_HANDLE_SEGMENT_SLOTS; i++)
		push_slot_locked(hs, nr + i);
	return 0;
}

static struct wr_handle_tag *tag_at(struct wr_handles *hs, uint32_t number)
{
	/* H4: pairs with the release below. */
	struct wr_handle_tag *page = wr_load_acquire(&hs->tags[number / WR_HANDLE_TAG_PAGE]);

	return page ? &page[number % WR_HANDLE_TAG_PAGE] : NULL;
}

/* 0, -EAGAIN (no page). A tag that comes when there are too many has the number 0. */
static int number_tag_locked(struct wr_handles *hs, const char *text, struct room *room,
			     uint32_t *ret) WR_REQUIRES(hs->lock)
{
	uint16_t *list = &hs->tag_list[((uintptr_t)text >> 3) * 0x9e3779b1u >> 8 &
				       (WR_HANDLE_TAG_LISTS - 1)];
	uint32_t number;

	wr_lock_assert_held(&hs->lock);
	for (number = text ? *list : 0; number != 0; number = tag_at(hs, number)->next)
		if (wr_load_relaxed(&tag_at(hs, number)->text) == text)
			break;
	*ret = number;
	if (!text || number != 0 || hs->nr_tags == MAX_TAGS)
		return 0;
	number = hs->nr_tags + 1;
	if (!tag_at(hs, number)) {
		if (!room->page)
			return -EAGAIN;
		/* H4: pairs with the acquire above. */
		wr_store_release(&hs->tags[number / WR_HANDLE_TAG_PAGE], room->page);
		room->page = NULL;
		wr_fetch_add_relaxed(&hs->added_bytes,
				     WR_HANDLE_TAG_PAGE * sizeof(struct wr_handle_tag));
	}
	tag_at(hs, number)->next = *list;
	wr_store_relaxed(&tag_at(hs, number)->text, text);
	*list = (uint16_t)number;
	hs->nr_tags = number;
	*ret = number;
	return 0;
}

/* 0, -EAGAIN: the slot has no room for so high a number. */
static int make_high_locked(struct wr_handles *hs, uint32_t index, uint32_t number,
			    struct room *room) WR_REQUIRES(hs->lock)
{
	struct wr_handle_segment *segment = wr_handle_segment_of(hs, index);

	wr_lock_assert_held(&hs->lock);
	if (number <= UINT8_MAX || wr_load_relaxed(&segment->tag_high))
		return 0;
	if (!room->tag_high)
		return -EAGAIN;
	wr_store_release(&segment->tag_high, room->tag_high); /* H4 */
	room->tag_high = NULL;
	wr_fetch_add_relaxed(&hs->added_bytes, WR_HANDLE_SEGMENT_SLOTS);
	return 0;
}

void wr_handle_set_tag(struct wr_handles *hs, uint32_t index, uint32_t number)
{
	struct wr_handle_segment *segment = wr_handle_segment_of(hs, index);
	_Atomic uint8_t *high = wr_load_acquire(&segment->tag_high); /* H4 */
	uint32_t at = index % WR_HANDLE_SEGMENT_SLOTS;

	wr_store_relaxed(&segment->tag[at], (uint8_t)number);
	if (high)
		wr_store_relaxed(&high[at], (uint8_t)(number >> 8));
}

static int try_take_locked(struct wr_handles *hs, const char *tag, struct room *room, uint32_t *ret,
			   uint32_t *ret_tag) WR_REQUIRES(hs->lock)
{
	uint32_t index, number;
	int rc = 0;

	wr_lock_assert_held(&hs->lock);
	if (hs->first_free == WR_HANDLE_NONE)
		rc = add_segment_locked(hs, room);
	if (rc == 0)
		rc = number_tag_locked(hs, tag, room, &number);
	if (rc != 0)
		return rc;
	index = hs->first_free;
	rc = make_high_locked(hs, index, number, room);
	if (rc != 0)
		return rc;
	hs->first_free = next_of(hs, wr_load_relaxed(wr_handle_word_at(hs, index)));
	*ret = index;
	*ret_tag = number;
	return 0;
}

/* One more of what may be missing. */
static int get_room(struct room *room)
{
	if (!room->segment)
		room->segment = wr_calloc_aligned(WR_CACHE_LINE, sizeof(*room->segment));
	if (!room->page)
		room->page = wr_calloc(WR_HANDLE_TAG_PAGE, sizeof(*room->page));
	if (!room->tag_high)
		room->tag_high = wr_calloc(WR_HANDLE_SEGMENT_SLOTS, 1);
	return room->segment && room->page && room->tag_high ? 0 : -ENOMEM;
}

/* Memory for more is taken while no lock is held. */
int wr_handle_take_slot(struct wr_handles *hs, const char *tag, uint32_t *ret, uint32_t *ret_tag)
{
	struct room room = {NULL, NULL, NULL};
	int rc;

	do {
		wr_mutex_lock(&hs->lock);
		rc = try_take_locked(hs, tag, &room, ret, ret_tag);
		wr_mutex_unlock(&hs->lock);
		if (rc == -EAGAIN && get_room(&room) != 0)
			rc = -ENOMEM;
	} while (rc == -EAGAIN);
	wr_free(room.segment);
	wr_free(room.page);
	wr_free(room.tag_high);
	return rc;
}

void wr_handle_put_slot(struct wr_handles *hs, uint32_t index)
{
	wr_mutex_lock(&hs->lock);
	push_slot_locked(hs, index);
	wr_mutex_unlock(&hs->lock);
}

const char *wr_handle_tag(struct wr_handles *hs, uint32_t index)
{
	struct wr_handle_segment *segment = wr_handle_segment_of(hs, index);
	uint32_t at = index % WR_HANDLE_SEGMENT_SLOTS;
	_Atomic uint8_t *high = wr_load_acquire(&segment->tag_high); /* H4 */
	uint32_t number = wr_load_relaxed(&segment->tag[at]);
	const struct wr_handle_tag *tag;
	const char *text;

	if (high)
		number |= (uint32_t)wr_load_relaxed(&high[at]) << 8;
	tag = number < MAX_TAGS + 1 ? tag_at(hs, number) : NULL;
	text = tag ? wr_load_relaxed(&tag->text) : NULL;
	return text ? text : "";
}

/* ---- memory ------------------------------------------------------------------------ */

uint64_t wr_handles_metadata(struct weir_pool *pool)
{
	struct wr_handles *hs = wr_handles_of(pool);
	uint64_t sum;
	size_t i;

	if (!hs)
		return 0;
	sum = sizeof(*hs) + hs->nr_ranges * sizeof(*hs->ranges) +
	      nr_segments_max(hs) * sizeof(*hs->segments) + wr_load_relaxed(&hs->added_bytes);
	for (i = 0; i < hs->nr_ranges; i++)
		sum += ends_bytes(&hs->ranges[i]);
	return sum;
}

#if WR_DEBUG
void wr_test_handle_set_generation(struct weir_pool *pool, uint32_t slot, uint32_t generation)
{
	struct wr_handles *hs = wr_handles_of(pool);
	_Atomic uint64_t *word = wr_handle_word_at(hs, slot);

	wr_store_relaxed(word, free_word(hs, generation, next_of(hs, wr_load_relaxed(word))));
}
#endif
