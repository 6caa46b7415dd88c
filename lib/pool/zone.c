/* SPDX-License-Identifier: MIT */
/*
 * Taking and giving back spans of one zone. All checks on a span that comes back are
 * made against the cells, never against the span's own claims, and before anything is
 * changed.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "pool/zone.h"

_Static_assert(sizeof(struct wr_pool_cell) == 8, "0.2 % of a 4 KiB block, as documented");

void wr_zone_init(struct wr_pool_zone *zone, int node, size_t block_bytes, uint64_t id_prefix)
{
	wr_mutex_init(&zone->lock, WR_RANK_POOL_ZONE, "pool.zone");
	zone->node = node;
	zone->block_shift = (unsigned)__builtin_ctzll(block_bytes);
	zone->id_prefix = id_prefix;
}

void wr_zone_fini(struct wr_pool_zone *zone)
{
	wr_buddy_fini(&zone->buddy);
	wr_free(zone->cell_memory);
	wr_free(zone->cell_pages);
	zone->cell_memory = NULL;
	zone->cell_pages = NULL;
}

/* Cells that begin at a page, so that those of a chunk are a page that is there or not. */
static int get_cells(struct wr_pool_zone *zone, uint64_t nr_blocks)
{
	uint64_t nr_pages = (nr_blocks + WR_CELL_PAGE - 1) / WR_CELL_PAGE;
	uint64_t bytes;

	if (wr_mul_overflow(nr_blocks, (uint64_t)sizeof(*zone->cells), &bytes) ||
	    wr_add_overflow(bytes, (uint64_t)WR_CELL_PAGE_BYTES, &bytes))
		return -ENOMEM;
	zone->cell_pages = wr_calloc((size_t)(nr_pages + 63) / 64, sizeof(*zone->cell_pages));
	/* Zeroed, and for all but small pools not touched for that. */
	zone->cell_memory = wr_calloc(1, (size_t)bytes);
	if (!zone->cell_pages || !zone->cell_memory)
		return -ENOMEM;
	zone->cells =
		(struct wr_pool_cell *)((uint8_t *)zone->cell_memory +
					(-(uintptr_t)zone->cell_memory & (WR_CELL_PAGE_BYTES - 1)));
	return 0;
}

/* The cells of a chunk that are written from here on count as metadata. */
static void use_cells(struct wr_pool_zone *zone, uint64_t block)
{
	uint64_t page = block / WR_CELL_PAGE;
	uint64_t bit = 1ull << (page % 64);

	if (zone->cell_pages[page / 64] & bit)
		return;
	zone->cell_pages[page / 64] |= bit;
	zone->nr_cell_pages++;
}

void wr_zone_add_region(struct wr_pool_zone *zone, const struct wr_pool_provider *provider,
			const struct wr_pool_mapping *map, int kind)
{
	struct wr_pool_region *r = &zone->regions[zone->nr_regions];

	wr_assert(zone->nr_regions < WR_POOL_MAX_REGIONS);
	if (zone->nr_regions == 0)
		zone->base = map->base;
	wr_assert((uint8_t *)map->base == zone->base + zone->bytes);
	r->provider = provider;
	r->map = *map;
	r->info = (struct weir_pool_region){.base = map->base,
					    .bytes = map->bytes,
					    .page_bytes = provider->page_bytes,
					    .page_kind = (uint32_t)kind,
					    .node = zone->node};
	zone->bytes += map->bytes;
	zone->nr_regions++;
}

int wr_zone_build(struct wr_pool_zone *zone)
{
	uint64_t nr_blocks = zone->bytes >> zone->block_shift;
	int rc = wr_buddy_init(&zone->buddy, nr_blocks);

	/* Numbers of blocks are kept in 32 bits. */
	if (rc == 0)
		rc = nr_blocks <= UINT32_MAX ? get_cells(zone, nr_blocks) : -ENOMEM;
	if (rc != 0) {
		wr_zone_fini(zone);
		return rc;
	}
	wr_store_relaxed(&zone->free_blocks_hint, nr_blocks);
	return 0;
}

/* Spans of a page and more begin at a page, for direct I/O. */
static unsigned align_order(const struct wr_pool_zone *zone, size_t bytes)
{
	return bytes >= 4096 && zone->block_shift < 12 ? 12 - zone->block_shift : 0;
}

/* And where the caller wants them to. */
static unsigned asked_order(const struct wr_pool_zone *zone, size_t bytes, size_t align)
{
	unsigned shift = (unsigned)__builtin_ctzll(align);

	shift = shift > zone->block_shift ? shift - zone->block_shift : 0;
	return wr_max(shift, align_order(zone, bytes));
}

/* The cells of a span that begins: its own, and the number in the next one. */
static uint64_t open_cell(struct wr_pool_zone *zone, uint64_t block, uint64_t nr, size_t spare)
{
	struct wr_pool_cell *cell = &zone->cells[block];
	uint64_t word = wr_cell_load(cell) & ~(WR_CELL_ONE - 1);

	wr_assert(wr_cell_generation(word) % 2 == 0);
	use_cells(zone, block);
	use_cells(zone, block + (nr > 1));
	word = wr_cell_next(word) | (uint64_t)spare << WR_CELL_SPARE_SHIFT;
	if (nr > 1) {
		word |= WR_CELL_MULTI;
		wr_cell_store(cell + 1, (wr_cell_load(cell + 1) & ~(WR_CELL_ONE - 1)) | nr);
	}
	wr_cell_store(cell, word);
	return word;
}

/* The reverse, with nothing left in the low halves: a run without a span may come. */
static void close_cell(struct wr_pool_zone *zone, uint64_t block, uint64_t word, uint64_t nr)
{
	struct wr_pool_cell *cell = &zone->cells[block];

	wr_cell_store(cell, wr_cell_next(word) & ~(WR_CELL_ONE - 1));
	if (nr > 1)
		wr_cell_store(cell + 1, wr_cell_load(cell + 1) & ~(WR_CELL_ONE - 1));
}

/* The blocks are taken: they are a span now. */
static struct weir_span begin_span(struct wr_pool_zone *zone, uint64_t block, uint64_t nr,
				   size_t spare)
{
	unsigned shift = zone->block_shift;
	uint64_t word = open_cell(zone, block, nr, spare);

	return (struct weir_span){.base = zone->base + (block << shift),
				  .bytes = (size_t)(nr << shift),
				  .id = zone->id_prefix | block,
				  .generation = wr_cell_generation(word),
				  .node = zone->node};
}

static void note_free_blocks(struct wr_pool_zone *zone)
{
	wr_store_relaxed(&zone->free_blocks_hint, zone->buddy.nr_free);
}

static void count_taken(struct wr_zone_counts *c, uint64_t nr)
{
	c->used_blocks += nr;
	c->peak_used_blocks = wr_max(c->peak_used_blocks, c->used_blocks);
}

/* The class of a span; see WR_ZONE_CLASSES. */
static unsigned class_of(uint64_t bytes)
{
	unsigned class = bytes <= 256 ? 0 : 64u - (unsigned)__builtin_clzll(bytes - 1) - 8;

	return wr_min(class, WR_ZONE_CLASSES - 1);
}

static void count_alloc(struct wr_zone_counts *c, uint64_t nr, size_t bytes, unsigned shift)
{
	count_taken(c, nr);
	c->live_by_class[class_of(nr << shift)]++;
	c->requested_bytes += bytes;
	c->nr_live++;
	c->nr_allocs++;
}

int wr_zone_alloc(struct wr_pool_zone *zone, size_t bytes, size_t align, struct weir_span *ret)
{
	unsigned shift = zone->block_shift;
	uint64_t nr, block;
	int rc;

	if (bytes == 0 || bytes > zone->bytes || (uintptr_t)zone->base % align != 0)
		return -EINVAL;
	nr = ((uint64_t)bytes + (1ull << shift) - 1) >> shift;
	wr_mutex_lock(&zone->lock);
	rc = wr_buddy_alloc(&zone->buddy, nr, asked_order(zone, bytes, align), &block);
	if (rc != 0) {
		wr_mutex_unlock(&zone->lock);
		return rc;
	}
	*ret = begin_span(zone, block, nr, (size_t)((nr << shift) - bytes));
	count_alloc(&zone->counts, nr, bytes, shift);
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
	return 0;
}

void wr_zone_count_failed(struct wr_pool_zone *zone)
{
	wr_mutex_lock(&zone->lock);
	zone->counts.nr_failed++;
	wr_mutex_unlock(&zone->lock);
}

int wr_zone_check_span(const struct wr_pool_zone *zone, uint64_t block, uint64_t word,
		       const struct weir_span *span, uint64_t *ret_nr)
{
	int32_t age = (int32_t)(wr_cell_generation(word) - span->generation);
	uint64_t nr;

	if (span->generation % 2 == 0 || age < 0 ||
	    span->base != zone->base + (block << zone->block_shift) || span->node != zone->node)
		return -EINVAL;
	if (age > 0)
		return -ESTALE;
	nr = wr_cell_nr_blocks(&zone->cells[block], word, zone->block_shift);
	if (span->bytes != nr << zone->block_shift)
		return -EINVAL;
	*ret_nr = nr;
	return 0;
}

int wr_zone_free(struct wr_pool_zone *zone, const struct weir_span *span)
{
	uint64_t block = span->id & WR_SPAN_BLOCK_MASK;
	struct wr_zone_counts *c = &zone->counts;
	uint64_t nr = 0;
	uint64_t word;
	int rc;

	if (block >= zone->buddy.nr_blocks)
		return -EINVAL;
	wr_mutex_lock(&zone->lock);
	word = wr_cell_load(&zone->cells[block]);
	rc = wr_zone_check_span(zone, block, word, span, &nr);
	if (rc == 0 && wr_cell_owner(word) != 0)
		rc = -EAGAIN;
	if (rc == 0) {
		close_cell(zone, block, word, nr);
		wr_buddy_free(&zone->buddy, block, nr);
		c->used_blocks -= nr;
		c->requested_bytes -= span->bytes - wr_cell_spare(word);
		c->nr_live--;
		c->nr_frees++;
		c->live_by_class[class_of(span->bytes)]--;
		note_free_blocks(zone);
	}
	wr_mutex_unlock(&zone->lock);
	return rc;
}

/* A block goes to an owner's magazines: no span, but taken. */
static void own_cell(struct wr_pool_zone *zone, uint64_t block, unsigned size, uint32_t owner)
{
	struct wr_pool_cell *cell = &zone->cells[block];
	uint64_t word = wr_cell_load(cell) & ~(WR_CELL_ONE - 1);

	wr_assert(wr_cell_generation(word) % 2 == 0);
	use_cells(zone, block);
	word |= owner | (uint64_t)(size % WR_CELL_SIZES) << WR_CELL_SIZE_SHIFT;
	wr_cell_store(cell, word);
}

/*
 * For the batches of magazines: whoever holds the lock is done in a microsecond, and going
 * to sleep takes longer. Debug builds do not look first: an attempt is not bound to the order.
 */
#define ZONE_LOOKS 100

static void lock_soon(struct wr_pool_zone *zone) WR_ACQUIRE(zone->lock);

static WR_NO_THREAD_SAFETY void lock_soon(struct wr_pool_zone *zone)
{
	unsigned i;

	for (i = 0; !WR_DEBUG && i < ZONE_LOOKS; i++) {
		if (wr_mutex_trylock(&zone->lock))
			return;
		wr_cpu_relax();
	}
	wr_mutex_lock(&zone->lock);
}

uint32_t wr_zone_take(struct wr_pool_zone *zone, unsigned order, uint32_t owner, uint32_t want,
		      uint32_t *ret)
{
	uint64_t nr_blocks = 1ull << order;
	unsigned align = align_order(zone, (size_t)nr_blocks << zone->block_shift);
	uint32_t nr = 0;
	uint64_t block;

	lock_soon(zone);
	while (nr < want && wr_buddy_alloc(&zone->buddy, nr_blocks, align, &block) == 0) {
		own_cell(zone, block, order + zone->block_shift, owner);
		ret[nr++] = (uint32_t)block;
	}
	count_taken(&zone->counts, nr * nr_blocks);
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
	return nr;
}

void wr_zone_give(struct wr_pool_zone *zone, unsigned order, const uint32_t *blocks, uint32_t nr)
{
	uint64_t word;
	uint32_t i;

	lock_soon(zone);
	for (i = 0; i < nr; i++) {
		word = wr_cell_load(&zone->cells[blocks[i]]);
		wr_assert(wr_cell_generation(word) % 2 == 0 && wr_cell_owner(word) != 0);
		wr_cell_store(&zone->cells[blocks[i]], word & ~(WR_CELL_ONE - 1));
		wr_buddy_free(&zone->buddy, blocks[i], 1ull << order);
	}
	zone->counts.used_blocks -= (uint64_t)nr << order;
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
}

/* What the cells take: those of chunks in which there was a span, and a byte for eight chunks. */
static uint64_t cell_bytes(const struct wr_pool_zone *zone)
{
	uint64_t all = zone->buddy.nr_blocks * sizeof(struct wr_pool_cell);

	return wr_min(all, zone->nr_cell_pages * WR_CELL_PAGE_BYTES) +
	       (all / WR_CELL_PAGE_BYTES + 7) / 8;
}

void wr_zone_add_stats(struct wr_pool_zone *zone, struct weir_pool_stats *sum)
{
	const struct wr_zone_counts *c = &zone->counts;
	unsigned shift = zone->block_shift;
	const struct wr_buddy *b = &zone->buddy;

	wr_mutex_lock(&zone->lock);
	sum->capacity_bytes += b->nr_blocks << shift;
	sum->free_bytes += b->nr_free << shift;
	sum->largest_free_bytes = wr_max(sum->largest_free_bytes, wr_buddy_longest_run(b) << shift);
	sum->metadata_bytes += b->memory_bytes + cell_bytes(zone);
	sum->used_bytes += (c->used_blocks - c->aside_blocks) << shift;
	sum->cached_bytes += c->aside_blocks << shift;
	sum->peak_used_bytes += c->peak_used_blocks << shift;
	sum->requested_bytes += c->requested_bytes;
	sum->nr_live += c->nr_live;
	sum->nr_allocs += c->nr_allocs;
	sum->nr_frees += c->nr_frees;
	sum->nr_failed += c->nr_failed;
	wr_mutex_unlock(&zone->lock);
}

/* ---- runs: blocks that a handle stands for, without a cell ------------------------------ */

static uint32_t spare_of_run(const struct wr_pool_zone *zone, uint64_t block)
{
	uint64_t page = block / WR_CELL_PAGE;

	if (!(zone->cell_pages[page / 64] >> page % 64 & 1))
		return 0;
	return wr_cell_spare(wr_cell_load(&zone->cells[block]));
}

/* The low half of a cell that describes no span says this of the run that begins there. */
static void set_spare_of_run(struct wr_pool_zone *zone, uint64_t block, size_t spare)
{
	struct wr_pool_cell *cell = &zone->cells[block];

	if (spare == spare_of_run(zone, block))
		return;
	use_cells(zone, block);
	wr_cell_store(cell, (wr_cell_load(cell) & ~(WR_CELL_ONE - 1)) |
				    (uint64_t)spare << WR_CELL_SPARE_SHIFT);
}

int wr_zone_take_run(struct wr_pool_zone *zone, size_t bytes, size_t align, struct weir_span *ret)
{
	unsigned shift = zone->block_shift;
	uint64_t nr, block;
	int rc;

	if (bytes == 0 || bytes > zone->bytes || (uintptr_t)zone->base % align != 0)
		return -EINVAL;
	nr = ((uint64_t)bytes + (1ull << shift) - 1) >> shift;
	wr_mutex_lock(&zone->lock);
	rc = wr_buddy_alloc_high(&zone->buddy, nr, asked_order(zone, bytes, align), &block);
	if (rc == 0) {
		set_spare_of_run(zone, block, (size_t)((nr << shift) - bytes));
		count_alloc(&zone->counts, nr, bytes, shift);
		note_free_blocks(zone);
		*ret = (struct weir_span){.base = zone->base + (block << shift),
					  .bytes = (size_t)(nr << shift),
					  .id = zone->id_prefix | block,
					  .node = zone->node};
	}
	wr_mutex_unlock(&zone->lock);
	return rc;
}

void wr_zone_free_run(struct wr_pool_zone *zone, struct wr_zone_run run)
{
	struct wr_zone_counts *c = &zone->counts;
	uint64_t bytes = run.nr << zone->block_shift;

	wr_mutex_lock(&zone->lock);
	c->requested_bytes -= bytes - spare_of_run(zone, run.block);
	set_spare_of_run(zone, run.block, 0);
	wr_buddy_free(&zone->buddy, run.block, run.nr);
	c->used_blocks -= run.nr;
	c->nr_live--;
	c->nr_frees++;
	c->live_by_class[class_of(bytes)]--;
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
}

size_t wr_zone_twins(struct wr_pool_zone *zone, struct wr_zone_pair *pairs, size_t nr, uint64_t lo,
		     uint64_t hi)
{
	size_t i;

	nr = wr_min(nr, (size_t)WR_ZONE_PAIRS);
	wr_mutex_lock(&zone->lock);
	for (i = 0; i < nr; i++) {
		if (wr_buddy_alloc_in(&zone->buddy, lo, hi, pairs[i].nr,
				      align_order(zone, (size_t)pairs[i].nr << zone->block_shift),
				      &pairs[i].twin) != 0)
			break;
		count_taken(&zone->counts, pairs[i].nr);
		set_spare_of_run(zone, pairs[i].twin, spare_of_run(zone, pairs[i].old));
	}
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
	return i;
}

void wr_zone_drop(struct wr_pool_zone *zone, const struct wr_zone_run *runs, size_t nr)
{
	size_t i;

	wr_mutex_lock(&zone->lock);
	for (i = 0; i < nr; i++) {
		set_spare_of_run(zone, runs[i].block, 0);
		wr_buddy_free(&zone->buddy, runs[i].block, runs[i].nr);
		zone->counts.used_blocks -= runs[i].nr;
	}
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
}

void wr_zone_count_used(struct wr_pool_zone *zone, uint64_t first, uint64_t step, size_t nr,
			uint32_t *ret)
{
	uint64_t lo, hi;
	size_t i;

	wr_mutex_lock(&zone->lock);
	for (i = 0; i < nr; i++) {
		lo = first + i * step;
		hi = wr_min(lo + step, zone->buddy.nr_blocks);
		ret[i] = (uint32_t)(hi - lo - wr_buddy_nr_free_in(&zone->buddy, lo, hi));
	}
	wr_mutex_unlock(&zone->lock);
}

bool wr_zone_set_aside(struct wr_pool_zone *zone, uint64_t first, uint64_t nr)
{
	uint64_t at;
	bool done;

	wr_mutex_lock(&zone->lock);
	done = wr_buddy_alloc_in(&zone->buddy, first, first + nr, nr, 0, &at) == 0;
	if (done) {
		count_taken(&zone->counts, nr);
		zone->counts.aside_blocks += nr;
		note_free_blocks(zone);
	}
	wr_mutex_unlock(&zone->lock);
	return done;
}

void wr_zone_put_back(struct wr_pool_zone *zone, uint64_t first, uint64_t nr)
{
	wr_mutex_lock(&zone->lock);
	wr_buddy_free(&zone->buddy, first, nr);
	zone->counts.used_blocks -= nr;
	zone->counts.aside_blocks -= nr;
	note_free_blocks(zone);
	wr_mutex_unlock(&zone->lock);
}
