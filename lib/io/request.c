/* SPDX-License-Identifier: MIT */
/*
 * Requests, their slots and their tokens. A request is taken from a free list, lives through one
 * read, and goes back with the next generation, which makes its old token void. The state word
 * holds generation and flags together, so that promotion and cancellation from any thread either
 * reach exactly the read they were meant for or nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/io_internal.h"

static uint32_t segment_size(uint32_t segment)
{
	return WR_IO_SLOT_FIRST << segment;
}

/* Slots before @segment. */
static uint32_t segment_begin(uint32_t segment)
{
	return segment_size(segment) - WR_IO_SLOT_FIRST;
}

static struct wr_io_request *find_slot(struct wr_io_requests *rs, uint32_t slot)
{
	uint32_t segment = 31 - (uint32_t)__builtin_clz(slot / WR_IO_SLOT_FIRST + 1);
	struct wr_io_request *base;

	if (segment >= WR_IO_SLOT_SEGMENTS)
		return NULL;
	/* Pairs with the release in grow(). */
	base = wr_load_acquire(&rs->segments[segment]);
	return base == NULL ? NULL : &base[slot - segment_begin(segment)];
}

void wr_io_requests_init(struct wr_io_requests *rs)
{
	_Static_assert(WR_IO_SLOT_FIRST * ((1ull << WR_IO_SLOT_SEGMENTS) - 1) <=
			       1ull << WR_IO_SLOT_BITS,
		       "every slot number fits a token");
	wr_spin_init(&rs->lock, WR_RANK_IO_QUEUE, "io requests");
	rs->free = NULL;
	rs->nr_segments = 0;
	for (uint32_t i = 0; i < WR_IO_SLOT_SEGMENTS; i++)
		atomic_init(&rs->segments[i], (struct wr_io_request *)NULL);
}

void wr_io_requests_fini(struct wr_io_requests *rs)
{
	for (uint32_t i = 0; i < WR_IO_SLOT_SEGMENTS; i++)
		wr_free(wr_load_relaxed(&rs->segments[i]));
	wr_spin_fini(&rs->lock);
}

/*
 * Add the next segment. Allocates without the lock; when two threads do so at once, one segment is
 * enough and the other is given back.
 */
static int grow(struct wr_io_requests *rs)
{
	struct wr_io_request *base;
	uint32_t segment;
	bool won;

	wr_spin_lock(&rs->lock);
	segment = rs->nr_segments;
	wr_spin_unlock(&rs->lock);
	if (segment == WR_IO_SLOT_SEGMENTS)
		return -ENOMEM;
	base = wr_calloc(segment_size(segment), sizeof(*base));
	if (base == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < segment_size(segment); i++) {
		base[i].slot = segment_begin(segment) + i;
		base[i].read_msg.kind = WR_IO_MSG_READ;
		base[i].change_msg.kind = WR_IO_MSG_CHANGE;
		atomic_init(&base[i].state, (uint64_t)1 << WR_IO_REQ_BITS);
		base[i].next_free = i + 1 < segment_size(segment) ? &base[i + 1] : NULL;
	}
	wr_spin_lock(&rs->lock);
	won = rs->nr_segments == segment;
	if (won) {
		base[segment_size(segment) - 1].next_free = rs->free;
		rs->free = base;
		rs->nr_segments++;
		/* Pairs with the acquire in find_slot(). */
		wr_store_release(&rs->segments[segment], base);
	}
	wr_spin_unlock(&rs->lock);
	if (!won)
		wr_free(base);
	return 0;
}

int wr_io_request_get(struct wr_io_requests *rs, struct wr_io_request **ret)
{
	struct wr_io_request *r;
	int rc;

	for (;;) {
		wr_spin_lock(&rs->lock);
		r = rs->free;
		if (r != NULL)
			rs->free = r->next_free;
		wr_spin_unlock(&rs->lock);
		if (r != NULL)
			break;
		rc = grow(rs);
		if (rc != 0)
			return rc;
	}
	r->next_free = NULL;
	r->result = 0;
	r->nr_chunks = 0;
	r->accepted = r->queued = r->cancelled = r->ended = false;
	TAILQ_INIT(&r->chunks);
	*ret = r;
	return 0;
}

void wr_io_request_put_all(struct wr_io_requests *rs, struct wr_io_request *chain)
{
	struct wr_io_request *last = chain;

	if (chain == NULL)
		return;
	while (last->next_free != NULL)
		last = last->next_free;
	wr_spin_lock(&rs->lock);
	last->next_free = rs->free;
	rs->free = chain;
	wr_spin_unlock(&rs->lock);
}

uint64_t wr_io_request_start(struct wr_io_request *r)
{
	uint64_t state = wr_load_relaxed(&r->state);

	/* Release: who finds the request by its token sees its lane. Pairs with the load in
	 * wr_io_request_change(). */
	wr_store_release(&r->state, state | WR_IO_REQ_LIVE);
	return (state >> WR_IO_REQ_BITS) << WR_IO_SLOT_BITS | r->slot;
}

struct wr_io_request *wr_io_request_change(struct wr_io_requests *rs, uint64_t token, uint32_t flag)
{
	struct wr_io_request *r = find_slot(rs, token & ((1u << WR_IO_SLOT_BITS) - 1));
	uint64_t state;

	if (r == NULL)
		return NULL;
	state = wr_load_acquire(&r->state);
	do {
		if (state >> WR_IO_REQ_BITS != token >> WR_IO_SLOT_BITS)
			return NULL;
		if (!(state & WR_IO_REQ_LIVE) || (state & WR_IO_REQ_ENDED))
			return NULL;
		if ((state & flag) != 0)
			return NULL;
	} while (!wr_cas_acq_rel(&r->state, &state, state | flag | WR_IO_REQ_CHANGE));
	/* From here to wr_io_request_changed() the request is not recycled. */
	return (state & WR_IO_REQ_CHANGE) == 0 ? r : NULL;
}

uint32_t wr_io_request_changed(struct wr_io_request *r)
{
	const uint64_t flags = WR_IO_REQ_PROMOTE | WR_IO_REQ_CANCEL | WR_IO_REQ_CHANGE;

	return (uint32_t)wr_fetch_and_acq_rel(&r->state, ~flags) & ((1u << WR_IO_REQ_BITS) - 1);
}

bool wr_io_request_end(struct wr_io_request *r)
{
	return (wr_fetch_or_acq_rel(&r->state, (uint64_t)WR_IO_REQ_ENDED) & WR_IO_REQ_CHANGE) == 0;
}

void wr_io_request_retire(struct wr_io_request *r)
{
	uint64_t generation = wr_load_relaxed(&r->state) >> WR_IO_REQ_BITS;

	/* Nobody adds flags now: ENDED is set and the message has come out. */
	wr_store_release(&r->state, (generation + 1) << WR_IO_REQ_BITS);
}
