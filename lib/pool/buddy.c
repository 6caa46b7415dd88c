/* SPDX-License-Identifier: MIT */
/*
 * A buddy allocator without free lists: a block of order k is free when the 2^k bits
 * at a multiple of 2^k are set. Splitting is clearing bits, merging is setting them,
 * and both of one block are the same operation on a run, so that giving back the tail
 * of a rounded-up block costs nothing: it is never taken.
 *
 * Finding is the work. A tree with eight children a node says for each part of the
 * field which order fits there; the eight children of a node are the bytes of one
 * 64-bit word, compared all at once. The lowest child that fits leads to the lowest
 * address. Below the tree, an order up to 6 is found in a 64-bit word by shifting it
 * onto itself; above that, a block is an aligned group of children that are wholly
 * free (1, 2, 4 or 8 of them), found the same way in eight bits.
 *
 * Tried and dropped: a bitmap per order over the chunks (ten updates when a chunk
 * empties), and a tree that also carries the longest unaligned run (three more numbers
 * a node, maintained on each call, for a question that only a full pool asks).
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/util.h"
#include "pool/buddy.h"

#define ONES  0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

#define WORD_ORDER 6u /* 64 blocks in a word */
#define FAN_ORDER  3u /* 8 items in a word of a summary */
#define MAX_BLOCKS (1ull << 40)

/* The multiples of 2^order in a word. */
static const uint64_t multiples[WORD_ORDER + 1] = {
	~0ull,
	0x5555555555555555ull,
	0x1111111111111111ull,
	0x0101010101010101ull,
	0x0001000100010001ull,
	0x0000000100000001ull,
	0x0000000000000001ull,
};

static unsigned lowest_bit(uint64_t x)
{
	return (unsigned)__builtin_ctzll(x);
}

static unsigned floor_log2(uint64_t x)
{
	return 63u - (unsigned)__builtin_clzll(x);
}

static unsigned ceil_log2(uint64_t x)
{
	return x <= 1 ? 0 : floor_log2(x - 1) + 1;
}

/* Order of an item of a level: how many blocks it stands for, as a power of two. */
static unsigned item_order(unsigned level)
{
	return WORD_ORDER + FAN_ORDER * level;
}

/* The byte of an item that is wholly free. */
static unsigned full_value(unsigned level)
{
	return item_order(level) + 1;
}

/* 0x80 in each byte of x that is at least v. Bytes and v are below 128. */
static uint64_t bytes_at_least(uint64_t x, unsigned v)
{
	return ((x | HIGHS) - v * ONES) & HIGHS;
}

/* Bit i set where byte i has 0x80. */
static unsigned bytes_to_bits(uint64_t m)
{
	return (unsigned)(((m >> 7) * 0x0102040810204080ull) >> 56);
}

static unsigned largest_byte(uint64_t x)
{
	unsigned shift;
	uint64_t y, m;

	for (shift = 32; shift >= 8; shift /= 2) {
		y = x >> shift;
		m = ((((x | HIGHS) - (y & ~HIGHS)) & HIGHS) >> 7) * 0xff;
		x = (x & m) | (y & ~m);
	}
	return (unsigned)(x & 0xff);
}

/* The aligned groups of 2^order set bits; each shown by its lowest bit. */
static uint64_t groups_in_word(uint64_t w, unsigned order)
{
	unsigned i;

	for (i = 0; i < order; i++)
		w &= (w >> (1u << i)) & multiples[i + 1];
	return w;
}

static unsigned value_of_word(uint64_t w)
{
	unsigned v = 0;
	unsigned i;

	if (w == ~0ull)
		return full_value(0);
	for (i = 0; i < WORD_ORDER; i++) {
		v += w != 0;
		w &= (w >> (1u << i)) & multiples[i + 1];
	}
	return v;
}

/* The value of the item of level + 1 whose children are the bytes of x. */
static unsigned value_of_sum(unsigned level, uint64_t x)
{
	unsigned full = full_value(level);
	unsigned m, pairs;

	if (x == 0)
		return 0;
	m = bytes_to_bits(bytes_at_least(x, full));
	if (m == 0)
		return largest_byte(x);
	if (m == 0xff)
		return full + FAN_ORDER;
	pairs = m & (m >> 1) & 0x55;
	return full + (pairs != 0) + ((pairs & (pairs >> 2) & 0x11) != 0);
}

static uint64_t with_byte(uint64_t x, unsigned index, unsigned v)
{
	unsigned shift = 8 * index;

	return (x & ~(0xffull << shift)) | ((uint64_t)v << shift);
}

/* Carry a change of the words first..last of sum[0] to the top. */
static void update_sums(struct wr_buddy *b, size_t first, size_t last)
{
	unsigned level, v;
	uint64_t *word;
	bool changed;
	size_t i;

	for (level = 1; level <= b->top; level++) {
		changed = false;
		for (i = first; i <= last; i++) {
			v = value_of_sum(level - 1, b->sum[level - 1][i]);
			word = &b->sum[level][i / 8];
			if (((*word >> 8 * (i % 8)) & 0xff) == v)
				continue;
			*word = with_byte(*word, i % 8, v);
			changed = true;
		}
		if (!changed)
			return;
		first /= 8;
		last /= 8;
	}
}

/* Set or clear the bits of [start, end) that lie in one word. */
static void set_word(struct wr_buddy *b, size_t w, uint64_t mask, bool is_free)
{
	uint64_t *sum = &b->sum[0][w / 8];

	b->free[w] = is_free ? b->free[w] | mask : b->free[w] & ~mask;
	*sum = with_byte(*sum, w % 8, value_of_word(b->free[w]));
}

static uint64_t mask_of(size_t word, uint64_t start, uint64_t end)
{
	uint64_t first = (uint64_t)word * 64;
	uint64_t mask = ~0ull;

	if (start > first)
		mask &= ~0ull << (start - first);
	if (end < first + 64)
		mask &= ~(~0ull << (end - first));
	return mask;
}

static void set_run(struct wr_buddy *b, uint64_t start, uint64_t nr, bool is_free)
{
	uint64_t end = start + nr;
	size_t last = (size_t)((end - 1) / 64);
	size_t w = (size_t)(start / 64);
	size_t first = w;

	while (w <= last) {
		if (w % 8 == 0 && (uint64_t)w * 64 >= start && (uint64_t)(w + 8) * 64 <= end) {
			memset(&b->free[w], is_free ? 0xff : 0, 64);
			b->sum[0][w / 8] = is_free ? full_value(0) * ONES : 0;
			w += 8;
		} else {
			set_word(b, w, mask_of(w, start, end), is_free);
			w++;
		}
	}
	update_sums(b, first / 8, last / 8);
	b->nr_free = is_free ? b->nr_free + nr : b->nr_free - nr;
}

/* The level whose items are the smallest that can hold an order. */
static unsigned level_for(unsigned order)
{
	return order <= WORD_ORDER ? 0 : (order - WORD_ORDER + FAN_ORDER - 1) / FAN_ORDER;
}

/*
 * Where the free blocks of an order begin in one item of level_for(order): a bit for each
 * 2^*ret_unit blocks of the item.
 */
static uint64_t starts_in_item(const struct wr_buddy *b, size_t item, unsigned order,
			       unsigned *ret_unit)
{
	unsigned level = level_for(order);
	uint64_t m;

	*ret_unit = 0;
	if (level == 0)
		return groups_in_word(b->free[item], order);
	*ret_unit = item_order(level - 1);
	m = bytes_to_bits(bytes_at_least(b->sum[level - 1][item], full_value(level - 1)));
	return groups_in_word(m, order - *ret_unit);
}

/* The lowest one, not below block `from` of the item. */
static bool find_in_item(const struct wr_buddy *b, size_t item, unsigned order, uint64_t from,
			 uint64_t *ret)
{
	unsigned unit;
	uint64_t m = starts_in_item(b, item, order, &unit);

	m &= ~0ull << (from >> unit);
	if (m == 0)
		return false;
	*ret = ((uint64_t)item << item_order(level_for(order))) + ((uint64_t)lowest_bit(m) << unit);
	return true;
}

/* From an item that is known to hold the order, down to its lowest block. */
static bool descend(const struct wr_buddy *b, unsigned level, size_t item, unsigned order,
		    uint64_t *ret)
{
	uint64_t m;

	while (level > level_for(order)) {
		level--;
		m = bytes_at_least(b->sum[level][item], order + 1);
		if (m == 0)
			return false; /* only at the root */
		item = item * 8 + lowest_bit(m) / 8;
	}
	return find_in_item(b, item, order, 0, ret);
}

static bool find_lowest(const struct wr_buddy *b, unsigned order, uint64_t *ret)
{
	if (level_for(order) > b->top + 1)
		return false;
	return descend(b, b->top + 1, 0, order, ret);
}

/* As find_lowest(), from the other end. */
static bool find_highest(const struct wr_buddy *b, unsigned order, uint64_t *ret)
{
	unsigned level = b->top + 1;
	size_t item = 0;
	unsigned unit;
	uint64_t m;

	if (level_for(order) > level)
		return false;
	while (level > level_for(order)) {
		level--;
		m = bytes_at_least(b->sum[level][item], order + 1);
		if (m == 0)
			return false; /* only at the root */
		item = item * 8 + floor_log2(m) / 8;
	}
	m = starts_in_item(b, item, order, &unit);
	if (m == 0)
		return false;
	*ret = ((uint64_t)item << item_order(level)) + ((uint64_t)floor_log2(m) << unit);
	return true;
}

/* The lowest free block of an order at or after a position. */
static bool find_next(const struct wr_buddy *b, uint64_t pos, unsigned order, uint64_t *ret)
{
	unsigned level = level_for(order);
	size_t item;
	uint64_t m;

	pos = wr_align_up(pos, 1ull << order);
	if (pos >= b->nr_blocks)
		return false;
	item = (size_t)(pos >> item_order(level));
	if (find_in_item(b, item, order, pos & ((1ull << item_order(level)) - 1), ret))
		return true;
	for (item++; level <= b->top; level++) {
		if (item / 8 >= b->nr_sum[level])
			return false;
		m = bytes_at_least(b->sum[level][item / 8], order + 1) & (~0ull << 8 * (item % 8));
		if (m != 0)
			return descend(b, level, item / 8 * 8 + lowest_bit(m) / 8, order, ret);
		item = item / 8 + 1;
	}
	return false;
}

/* The first block in use at or after pos; nr_blocks when there is none. */
static uint64_t run_end(const struct wr_buddy *b, uint64_t pos)
{
	size_t nr_words = (size_t)wr_align_up(b->nr_blocks, WR_BUDDY_CHUNK_BLOCKS) / 64;
	size_t w = (size_t)(pos / 64);
	unsigned level;
	uint64_t used;

	if (pos >= b->nr_blocks)
		return b->nr_blocks;
	used = ~b->free[w] & (~0ull << (pos % 64));
	while (used == 0 && ++w < nr_words) {
		/* Step over the largest wholly free item that begins here. */
		for (level = 0; level <= b->top && w % (8ull << 3 * level) == 0; level++)
			if (b->sum[level][w >> 3 * (level + 1)] != full_value(level) * ONES)
				break;
		if (level > 0)
			w += (1ull << 3 * level) - 1;
		else
			used = ~b->free[w];
	}
	return used == 0 ? b->nr_blocks : wr_min((uint64_t)w * 64 + lowest_bit(used), b->nr_blocks);
}

/* The first block of the free run that pos lies in, not looking below floor. */
static uint64_t run_start(const struct wr_buddy *b, uint64_t pos, uint64_t floor)
{
	size_t w = (size_t)(pos / 64);
	uint64_t used = ~b->free[w] & ~(~0ull << (pos % 64));
	uint64_t start;

	while (used == 0 && w > floor / 64)
		used = ~b->free[--w];
	start = used == 0 ? (uint64_t)w * 64 : (uint64_t)w * 64 + floor_log2(used) + 1;
	return start > floor ? start : floor;
}

/* A run of n blocks contains an aligned block of this order, wherever it starts. */
static unsigned order_within(uint64_t nr)
{
	return floor_log2((nr + 1) / 2);
}

/* The lowest run that lies in [lo, hi). */
static bool find_run(const struct wr_buddy *b, uint64_t lo, uint64_t hi, uint64_t nr,
		     unsigned align_order, uint64_t *ret)
{
	unsigned order = order_within(nr);
	uint64_t pos = lo;
	uint64_t at, start;

	while (pos < hi && find_next(b, pos, order, &at) && at < hi) {
		start = wr_align_up(run_start(b, at, pos), 1ull << align_order);
		pos = wr_min(run_end(b, at + (1ull << order)), hi);
		if (start < pos && pos - start >= nr) {
			*ret = start;
			return true;
		}
	}
	return false;
}

/* The order of the aligned block that a run is the head of, at best. */
static unsigned order_for(uint64_t nr, unsigned align_order)
{
	return wr_max(ceil_log2(nr), align_order);
}

int wr_buddy_alloc(struct wr_buddy *b, uint64_t nr, unsigned align_order, uint64_t *ret)
{
	uint64_t start;

	wr_assert(nr > 0 && align_order < 40);
	if (nr > b->nr_free)
		return -ENOSPC;
	if (!find_lowest(b, order_for(nr, align_order), &start) &&
	    !find_run(b, 0, b->nr_blocks, nr, align_order, &start))
		return -ENOSPC;
	set_run(b, start, nr, false);
	*ret = start;
	return 0;
}

int wr_buddy_alloc_high(struct wr_buddy *b, uint64_t nr, unsigned align_order, uint64_t *ret)
{
	uint64_t start;

	wr_assert(nr > 0 && align_order < 40);
	if (!find_highest(b, order_for(nr, align_order), &start))
		return wr_buddy_alloc(b, nr, align_order, ret);
	set_run(b, start, nr, false);
	*ret = start;
	return 0;
}

int wr_buddy_alloc_in(struct wr_buddy *b, uint64_t lo, uint64_t hi, uint64_t nr,
		      unsigned align_order, uint64_t *ret)
{
	unsigned order = order_for(nr, align_order);
	uint64_t start;

	wr_assert(nr > 0 && align_order < 40 && lo <= hi && hi <= b->nr_blocks);
	if (nr > b->nr_free || nr > hi - lo)
		return -ENOSPC;
	if ((!find_next(b, lo, order, &start) || start + (1ull << order) > hi) &&
	    !find_run(b, lo, hi, nr, align_order, &start))
		return -ENOSPC;
	set_run(b, start, nr, false);
	*ret = start;
	return 0;
}

void wr_buddy_free(struct wr_buddy *b, uint64_t start, uint64_t nr)
{
	wr_assert(nr > 0 && start < b->nr_blocks && nr <= b->nr_blocks - start);
	wr_assert(wr_buddy_is_used(b, start, nr));
	set_run(b, start, nr, true);
}

bool wr_buddy_is_used(const struct wr_buddy *b, uint64_t start, uint64_t nr)
{
	size_t w;

	for (w = (size_t)(start / 64); w <= (start + nr - 1) / 64; w++)
		if (b->free[w] & mask_of(w, start, start + nr))
			return false;
	return true;
}

uint64_t wr_buddy_nr_free_in(const struct wr_buddy *b, uint64_t lo, uint64_t hi)
{
	uint64_t nr = 0;
	size_t w;

	for (w = (size_t)(lo / 64); (uint64_t)w * 64 < hi; w++)
		nr += (unsigned)__builtin_popcountll(b->free[w] & mask_of(w, lo, hi));
	return nr;
}

bool wr_buddy_next_run(const struct wr_buddy *b, uint64_t pos, uint64_t *ret, uint64_t *ret_end)
{
	uint64_t start;

	if (!find_next(b, pos, 0, &start))
		return false;
	*ret = start;
	*ret_end = run_end(b, start);
	return true;
}

uint64_t wr_buddy_longest_run(const struct wr_buddy *b)
{
	unsigned v = value_of_sum(b->top, b->sum[b->top][0]);
	uint64_t longest = 0;
	uint64_t pos = 0;
	uint64_t at, start;
	unsigned order;

	if (v == 0)
		return 0;
	/* Every run at least as long as the largest aligned block contains half of it. */
	order = v > 1 ? v - 2 : 0;
	while (find_next(b, pos, order, &at)) {
		start = run_start(b, at, pos);
		pos = run_end(b, at + (1ull << order));
		if (pos - start > longest)
			longest = pos - start;
	}
	return longest;
}

bool wr_buddy_is_consistent(const struct wr_buddy *b)
{
	size_t nr_words = b->nr_sum[0] * 8;
	uint64_t nr_free = 0;
	unsigned level, v;
	size_t i, nr;

	for (level = 0; level <= b->top; level++) {
		nr = level == 0 ? nr_words : b->nr_sum[level - 1];
		for (i = 0; i < nr; i++) {
			v = level == 0 ? value_of_word(b->free[i])
				       : value_of_sum(level - 1, b->sum[level - 1][i]);
			if (((b->sum[level][i / 8] >> 8 * (i % 8)) & 0xff) != v)
				return false;
		}
	}
	for (i = 0; i < nr_words; i++)
		nr_free += (unsigned)__builtin_popcountll(b->free[i]);
	return nr_free == b->nr_free;
}

int wr_buddy_init(struct wr_buddy *b, uint64_t nr_blocks)
{
	size_t nr_words, total, n;
	unsigned level = 0;
	uint64_t *p;

	memset(b, 0, sizeof(*b));
	if (nr_blocks == 0 || nr_blocks > MAX_BLOCKS)
		return -EINVAL;
	nr_words = (size_t)wr_align_up(nr_blocks, WR_BUDDY_CHUNK_BLOCKS) / 64;
	total = nr_words;
	for (n = nr_words / 8;; n = (n + 7) / 8) {
		b->nr_sum[level] = n;
		total += n;
		if (n == 1)
			break;
		level++;
	}
	b->top = level;
	p = wr_calloc(total, sizeof(*p));
	if (!p)
		return -ENOMEM;
	b->memory = p;
	b->memory_bytes = total * sizeof(*p);
	b->nr_blocks = nr_blocks;
	b->free = p;
	p += nr_words;
	for (level = 0; level <= b->top; level++) {
		b->sum[level] = p;
		p += b->nr_sum[level];
	}
	set_run(b, 0, nr_blocks, true);
	return 0;
}

void wr_buddy_fini(struct wr_buddy *b)
{
	wr_free(b->memory);
	memset(b, 0, sizeof(*b));
}
