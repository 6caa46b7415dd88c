/* SPDX-License-Identifier: MIT */
/*
 * Keys that are followed: a table with an index, and a wheel that finds what is overdue. Those
 * that are overdue and in memory wait in a line of their own; when the table is full, the oldest
 * of the line is let go.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "prefetch/manager.h"

int wr_tracks_init(struct wr_tracks *t, uint32_t max)
{
	uint32_t n = 16;

	while (n < 2 * (uint64_t)max)
		n *= 2;
	memset(t, 0, sizeof(*t));
	t->max = max;
	t->mask = n - 1;
	t->v = wr_calloc(max, sizeof(*t->v));
	t->slots = wr_calloc(n, sizeof(*t->slots));
	if (!t->v || !t->slots) {
		wr_tracks_fini(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < max; i++)
		t->v[i].next = i + 1 < max ? i + 1 : WR_TRACK_NONE;
	for (uint32_t i = 0; i < WR_TRACK_BUCKETS; i++)
		t->heads[i] = WR_TRACK_NONE;
	t->stale_first = t->stale_last = WR_TRACK_NONE;
	return 0;
}

void wr_tracks_fini(struct wr_tracks *t)
{
	wr_free(t->v);
	wr_free(t->slots);
	t->v = NULL;
	t->slots = NULL;
}

static uint32_t home_of(const struct wr_tracks *t, struct weir_key key)
{
	uint64_t h = (key.lo ^ (key.hi * 0x9e3779b97f4a7c15u)) * 0xd6e8feb86659fd93u;

	return (uint32_t)(h >> 32) & t->mask;
}

static uint32_t slot_of(const struct wr_tracks *t, struct weir_key key)
{
	uint32_t s = home_of(t, key);

	while (t->slots[s] && !weir_key_equal(t->v[t->slots[s] - 1].key, key))
		s = (s + 1) & t->mask;
	return s;
}

struct wr_track *wr_tracks_find(const struct wr_tracks *t, struct weir_key key)
{
	uint32_t place = t->slots[slot_of(t, key)];

	return place ? &t->v[place - 1] : NULL;
}

static uint32_t place_of(const struct wr_tracks *t, const struct wr_track *track)
{
	return (uint32_t)(track - t->v);
}

struct wr_track *wr_tracks_add(struct wr_tracks *t, struct weir_key key, uint64_t due)
{
	struct wr_track *track;
	uint32_t place, bucket;

	if (t->free == WR_TRACK_NONE && t->stale_first != WR_TRACK_NONE)
		wr_tracks_remove(t, &t->v[t->stale_first]);
	if (t->free == WR_TRACK_NONE)
		return NULL;
	place = t->free;
	track = &t->v[place];
	t->free = track->next;
	t->nr++;
	bucket = (uint32_t)(due / WR_TRACK_STEP % WR_TRACK_BUCKETS);
	*track = (struct wr_track){.key = key,
				   .due = due,
				   .bucket = (uint16_t)bucket,
				   .prev = WR_TRACK_NONE,
				   .next = t->heads[bucket]};
	if (track->next != WR_TRACK_NONE)
		t->v[track->next].prev = place;
	t->heads[bucket] = place;
	t->slots[slot_of(t, key)] = place + 1;
	return track;
}

void wr_tracks_unlink(struct wr_tracks *t, struct wr_track *track)
{
	bool stale = track->state == WR_TRACK_STALE;

	if (!stale && track->bucket == WR_TRACK_BUCKETS)
		return;
	if (track->prev != WR_TRACK_NONE)
		t->v[track->prev].next = track->next;
	else if (stale)
		t->stale_first = track->next;
	else
		t->heads[track->bucket] = track->next;
	if (track->next != WR_TRACK_NONE)
		t->v[track->next].prev = track->prev;
	else if (stale)
		t->stale_last = track->prev;
	track->bucket = WR_TRACK_BUCKETS;
	track->next = track->prev = WR_TRACK_NONE;
}

void wr_tracks_make_stale(struct wr_tracks *t, struct wr_track *track)
{
	uint32_t place = place_of(t, track);

	wr_tracks_unlink(t, track);
	track->state = WR_TRACK_STALE;
	track->prev = t->stale_last;
	if (t->stale_last != WR_TRACK_NONE)
		t->v[t->stale_last].next = place;
	else
		t->stale_first = place;
	t->stale_last = place;
}

void wr_tracks_remove(struct wr_tracks *t, struct wr_track *track)
{
	uint32_t place = place_of(t, track);
	uint32_t hole = slot_of(t, track->key);

	wr_assert(t->slots[hole] == place + 1);
	wr_tracks_unlink(t, track);
	for (uint32_t s = (hole + 1) & t->mask; t->slots[s]; s = (s + 1) & t->mask) {
		uint32_t home = home_of(t, t->v[t->slots[s] - 1].key);

		if (((s - home) & t->mask) < ((s - hole) & t->mask))
			continue;
		t->slots[hole] = t->slots[s];
		hole = s;
	}
	t->slots[hole] = 0;
	/* A queue may still name its place. */
	track->state = WR_TRACK_SHADOW;
	track->next = t->free;
	t->free = place;
	t->nr--;
}

struct wr_track *wr_tracks_overdue(const struct wr_tracks *t, uint64_t now)
{
	/* Dues lie less than a turn ahead, so what is in the bucket just over is of this turn. */
	uint32_t bucket =
		(uint32_t)((now / WR_TRACK_STEP + WR_TRACK_BUCKETS - 1) % WR_TRACK_BUCKETS);

	return t->heads[bucket] == WR_TRACK_NONE ? NULL : &t->v[t->heads[bucket]];
}
