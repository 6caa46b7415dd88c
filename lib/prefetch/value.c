/* SPDX-License-Identifier: MIT */
/*
 * What a read ahead is worth, and the bytes that may be spent on reads that turn out useless.
 */
#include <string.h>

#include "prefetch/manager.h"

/* What a useless read costs at least, of its time: power, the processor, the memory bus. */
#define LEAST_COST_SHIFT 3

void wr_value_init(struct wr_value *v, const struct wr_prefetch_opts *o)
{
	memset(v, 0, sizeof(*v));
	v->latency_ns = o->latency_ns;
	v->byte_ns_x4096 = wr_max((uint64_t)4096000000000 / o->bytes_per_second, (uint64_t)1);
	v->chunk_bytes = o->chunk_bytes;
	v->most_burst = o->burst_bytes;
	v->spare_permille = o->spare_permille;
}

uint64_t wr_value_read_ns(const struct wr_value *v, uint64_t bytes)
{
	return v->latency_ns + (wr_min(bytes, (uint64_t)1 << 40) * v->byte_ns_x4096 >> 12);
}

/* Two classes a halving down to 1/128: fine where most decisions fall. */
uint32_t wr_value_class(uint32_t prob)
{
	uint32_t bits = wr_log8(wr_min(prob, WR_PREDICT_SURE)); /* 128 for SURE */

	return bits <= 68 ? 0 : (bits - 68) / 4;
}

uint32_t wr_value_reach(uint32_t distance)
{
	return distance <= 4 ? 0 : distance <= 16 ? 1 : distance <= 64 ? 2 : 3;
}

uint32_t wr_value_prob(const struct wr_value *v, uint32_t source, uint32_t prob, bool trusting)
{
	const struct wr_tally *t = &v->right[source][wr_value_class(prob)];

	/* The host knows; and what it says is not outvoted by what others said. */
	if (source == WR_PREDICT_NEED)
		return WR_PREDICT_SURE;
	if (!trusting && source > WR_PREDICT_LIKELY)
		prob = 0;
	return (uint32_t)(((uint64_t)t->hits * WR_PREDICT_SURE + 4 * (uint64_t)prob) /
			  (t->tries + 4u));
}

uint64_t wr_value_cost_ns(const struct wr_value *v, uint64_t bytes)
{
	uint64_t held_up = v->held_up_by ? v->held_up_ns / v->held_up_by : 0;

	return (wr_value_read_ns(v, bytes) >> LEAST_COST_SHIFT) + held_up;
}

int64_t wr_value_of(const struct wr_value *v, uint32_t prob, uint32_t reach, uint64_t bytes,
		    uint64_t displaced_ns)
{
	uint64_t read_ns = wr_value_read_ns(v, bytes), not_used = WR_PREDICT_SURE - prob;
	uint64_t saved = read_ns * wr_tally_prob(&v->in_time[reach], WR_PREDICT_SURE) >> 16;
	int64_t left = wr_max(v->tokens, (int64_t)0);
	/* The bucket half empty: a useless read costs as much time again; empty: twice that. */
	uint64_t scarce = v->burst ? 256 - (uint64_t)left * 256 / v->burst : 256;
	uint64_t cost = wr_value_cost_ns(v, bytes) + (read_ns * scarce >> 8);

	return (int64_t)(saved * prob >> 16) - (int64_t)(cost * not_used >> 16) -
	       (int64_t)displaced_ns;
}

/*
 * A read takes longer when reads on demand go first, which says nothing of the device: a faster
 * one is believed soon, a slower one late.
 */
void wr_value_learn_read(struct wr_value *v, uint64_t bytes, uint64_t ns)
{
	uint64_t transfer = ns > v->latency_ns ? ns - v->latency_ns : ns / 2;
	uint64_t seen;

	if (!bytes || ns > (uint64_t)1 << 40)
		return;
	seen = transfer * 4096 / bytes;
	if (seen < v->byte_ns_x4096)
		v->byte_ns_x4096 = (v->byte_ns_x4096 * 3 + seen) / 4;
	else
		v->byte_ns_x4096 = (v->byte_ns_x4096 * 63 + seen) / 64;
	v->byte_ns_x4096 = wr_max(v->byte_ns_x4096, (uint64_t)1);
}

/* The first thing that is heard of, a reference or a hint, fills the bucket. */
static void begin_budget(struct wr_value *v, uint64_t bytes)
{
	if (v->mean_bytes)
		return;
	v->mean_bytes = bytes;
	v->burst = wr_min(v->most_burst, WR_VALUE_BURST * bytes);
	v->tokens = (int64_t)v->burst;
}

void wr_value_reference(struct wr_value *v, uint64_t now_ns, uint64_t bytes)
{
	uint64_t passed = now_ns > v->last_ns ? wr_min(now_ns - v->last_ns, (uint64_t)1 << 34) : 0;

	bytes = wr_min(wr_max(bytes, (uint64_t)1), (uint64_t)1 << 40);
	begin_budget(v, bytes);
	if (v->last_ns)
		v->ref_ns_x16 = (v->ref_ns_x16 * 15 + passed * 16) / 16;
	v->last_ns = now_ns;
	v->mean_bytes = (v->mean_bytes * 31 + bytes + 31) / 32;
	v->burst = wr_min(v->most_burst, WR_VALUE_BURST * v->mean_bytes);
	v->tokens = wr_min(v->tokens, (int64_t)v->burst);
}

/*
 * A miss while reads of ours are under way waits for a part of one; all of an instant, which are
 * read together, wait once.
 */
void wr_value_hold_up(struct wr_value *v, uint64_t now_ns)
{
	uint64_t bytes = v->mean_bytes ? wr_min(v->chunk_bytes, v->mean_bytes) : v->chunk_bytes;
	uint64_t since = v->held_up_at;

	if (since && now_ns >= since && now_ns - since < v->latency_ns / 2)
		return;
	v->held_up_at = now_ns;
	v->held_up_ns += bytes * v->byte_ns_x4096 >> 13;
}

void wr_value_forgive(struct wr_value *v)
{
	memset(v->in_time, 0, sizeof(v->in_time));
	memset(&v->missed, 0, sizeof(v->missed));
	v->held_up_ns = v->held_up_by = 0;
}

void wr_value_started(struct wr_value *v)
{
	if (++v->held_up_by < 256)
		return;
	v->held_up_by /= 2;
	v->held_up_ns /= 2;
}

void wr_value_refund(struct wr_value *v, uint64_t bytes)
{
	v->tokens = wr_min(v->tokens + (int64_t)bytes, (int64_t)v->burst);
}

void wr_value_earn(struct wr_value *v, uint64_t bytes)
{
	wr_value_refund(v, wr_min(bytes, (uint64_t)1 << 40) * v->spare_permille / 1000);
}

bool wr_value_spend(struct wr_value *v, uint64_t bytes)
{
	begin_budget(v, wr_max(bytes, (uint64_t)1));
	if (v->tokens < (int64_t)bytes)
		return false;
	v->tokens -= (int64_t)bytes;
	return true;
}

void wr_value_evicted(struct wr_value *v, struct weir_key key, bool ours)
{
	uint32_t at = v->ghost_at;

	/*
	 * The oldest was not missed for as many evictions as it could have stayed longer: what is
	 * read ahead and useless makes everything else leave that much earlier.
	 */
	if (v->is_ghost[at])
		wr_tally_add(&v->missed, 0, 1);
	v->ghosts[at] = key;
	v->is_ghost[at] = ours;
	v->ghost_at = (at + 1) % WR_VALUE_GHOSTS;
}

uint64_t wr_value_displaced_ns(const struct wr_value *v, uint64_t bytes)
{
	uint64_t share = (v->missed.hits * (uint64_t)WR_PREDICT_SURE + WR_PREDICT_SURE) /
			 (v->missed.tries + 16u);

	return wr_value_read_ns(v, bytes) * share >> 16;
}

bool wr_value_was_displaced(struct wr_value *v, struct weir_key key, uint64_t bytes)
{
	for (uint32_t at = 0; at < WR_VALUE_GHOSTS; at++) {
		if (!v->is_ghost[at] || !weir_key_equal(v->ghosts[at], key))
			continue;
		v->is_ghost[at] = false;
		wr_tally_add(&v->missed, 1, 1);
		v->tokens -= (int64_t)(bytes + bytes * v->spare_permille / 1000);
		return true;
	}
	return false;
}
