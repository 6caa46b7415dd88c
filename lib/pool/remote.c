/* SPDX-License-Identifier: MIT */
/*
 * Frees by a thread that does not own the block.
 *
 * The freeing thread exchanges the cell's word for one with the generation counted on and
 * the remote mark set: of several threads that free a span so, one succeeds, and the span
 * is dead from then on. The block goes into that thread's outbox, in batches into the inbox
 * of the set that owns it, and from there, when that set's thread next needs blocks, into
 * its magazine. A batch costs one short lock; the owner's thread is not disturbed.
 *
 * Freed by the owner and by another thread at the same moment: the owner's plain store may
 * cover the other's exchange, and both are told that they freed the span. When the block
 * comes home its cell has not the word that the exchange left, and the entry is dropped and
 * counted: the block was already taken by the owner's own free. Nothing is handed out twice.
 *
 * Not done: giving the blocks to the zone in batches. That needs the owner's gate claimed for
 * each batch (a barrier on all processors, 0.7 us and more), disturbs the owner, and takes
 * each block through the zone's bits twice.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "pool/magazine.h"

void wr_remote_accept(struct wr_pool_set *set, const struct wr_remote *remote)
{
	size_t zone = (size_t)(remote->place >> WR_SPAN_ZONE_SHIFT);
	uint32_t block = (uint32_t)remote->place;
	struct wr_mag_group *g = &set->group[zone];
	struct wr_pool_cell *cell = &g->zone->cells[block];
	uint64_t word = wr_cell_load(cell);
	unsigned size;

	if (wr_cell_generation(word) != remote->generation ||
	    (word & (WR_CELL_OWNER_MASK | WR_CELL_REMOTE)) !=
		    ((set->live_word & WR_CELL_OWNER_MASK) | WR_CELL_REMOTE)) {
		set->nr_late++;
		return;
	}
	size = wr_cell_size(word);
	g->sums[size].spare_bytes -= wr_cell_owned_spare(word);
	wr_cell_store(cell, word & ~(WR_CELL_REMOTE | WR_CELL_OWNED_SPARE_MASK));
	wr_magazine_push(set, zone, size, block);
}

void wr_remote_settle(struct wr_pool_set *set)
{
	struct wr_remote in[WR_INBOX_SLOTS];
	uint32_t nr, i;

	wr_spin_lock(&set->inbox_lock);
	nr = wr_load_relaxed(&set->nr_in);
	memcpy(in, set->in, nr * sizeof(in[0]));
	wr_store_relaxed(&set->nr_in, 0);
	wr_spin_unlock(&set->inbox_lock);
	for (i = 0; i < nr; i++)
		wr_remote_accept(set, &in[i]);
}

/* Move the outbox's entries for one owner into its inbox; true when all found room. */
static bool deliver(struct wr_pool_set *set, struct wr_pool_set *to)
{
	uint32_t kept = 0;
	uint32_t nr, i;

	wr_spin_lock(&to->inbox_lock);
	nr = wr_load_relaxed(&to->nr_in);
	for (i = 0; i < set->nr_out; i++) {
		if (set->out[i].owner == to->id && nr < WR_INBOX_SLOTS)
			to->in[nr++] = set->out[i];
		else
			set->out[kept++] = set->out[i];
	}
	wr_store_relaxed(&to->nr_in, nr);
	wr_spin_unlock(&to->inbox_lock);
	set->nr_out = kept;
	/* An inbox that nobody looks into is as good as full. */
	return nr < WR_INBOX_SLOTS && wr_load_relaxed(&to->thread) != NULL;
}

/* Empty the outbox. 0, or the set whose inbox somebody else has to empty. [GATE] */
static uint32_t deliver_all(struct weir_pool *pool, struct wr_pool_set *set)
{
	struct wr_pool_set *to;
	uint32_t stuck = 0;

	while (set->nr_out > 0 && stuck == 0) {
		/* Acquires S1: the set was complete before a block had its number. */
		to = wr_load_acquire(&pool->sets[set->out[0].owner]);
		if (!deliver(set, to))
			stuck = to->id;
	}
	if (set->nr_out == 0)
		set->out_bytes = 0;
	return stuck;
}

int wr_remote_free(struct weir_pool *pool, struct wr_pool_set *set, uint64_t place, uint64_t word,
		   struct wr_pool_cell *cell)
{
	uint32_t owner = wr_cell_owner(word);
	uint64_t freed = wr_cell_end(word) | WR_CELL_REMOTE;
	uint32_t stuck = 0;
	uint32_t state;

	if (!set)
		return wr_claim_free(pool, owner, place, word, cell);
	state = wr_gate_enter(&set->gate);
	if (state & WR_GATE_CLAIMED) {
		wr_magazine_wait(pool);
		return -EAGAIN;
	}
	if (state & WR_GATE_SHUT) {
		wr_gate_leave(&set->gate);
		return wr_claim_free(pool, owner, place, word, cell);
	}
	/* What the caller did with the block comes before what its next owner does: the inbox
	 * lock sees to that; the exchange needs no order of its own. */
	if (!wr_cas_acq_rel(&cell->word, &word, freed)) {
		wr_gate_leave(&set->gate);
		return -EAGAIN;
	}
	set->out[set->nr_out++] = (struct wr_remote){
		.place = place, .generation = wr_cell_generation(freed), .owner = owner};
	set->out_bytes += wr_cell_bytes(word);
	if (set->nr_out == WR_OUTBOX_SLOTS || set->out_bytes >= WR_OUTBOX_BYTES)
		stuck = deliver_all(pool, set);
	wr_gate_leave(&set->gate);
	while (stuck != 0) {
		wr_claim_settle(pool, stuck);
		state = wr_gate_enter(&set->gate);
		if (state & WR_GATE_CLAIMED) {
			wr_magazine_wait(pool);
			continue;
		}
		stuck = deliver_all(pool, set);
		wr_gate_leave(&set->gate);
	}
	return 0;
}
