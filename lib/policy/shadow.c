/* SPDX-License-Identifier: MIT */
/*
 * The shadows: an entry per sampled key that any of them has, and in it where its node of each
 * shadow is. One look-up serves all.
 */
#include <errno.h>

#include "base/alloc.h"
#include "policy/shadow.h"

struct wr_shadow_node {
	struct wr_policy_node node;
	struct wr_shadow_entry *entry; /* or the next free node */
};

struct wr_shadow_entry {
	struct weir_key key;
	uint64_t hash;
	struct wr_shadow_entry *chain;
	struct wr_shadow_node *nodes[WR_SELECTOR_MAX];
	uint32_t has; /* a bit for each shadow */
};

static int open_policies(struct wr_shadows *s, const struct wr_selector_opts *opts,
			 uint64_t nr_entries)
{
	const struct wr_policy_opts how = {
		.capacity_bytes = s->capacity, .nr_entries = nr_entries, .seed = opts->seed};

	for (; s->nr < opts->nr_candidates; s->nr++) {
		int rc = wr_policy_open(opts->candidates[s->nr], &how, &s->policies[s->nr]);

		if (rc)
			return rc;
	}
	return 0;
}

static int make_entries(struct wr_shadows *s, uint64_t nr_nodes)
{
	uint64_t nr_entries = nr_nodes * s->nr + 1;
	uint64_t nr_buckets = 64;

	while (nr_buckets < 2 * nr_nodes)
		nr_buckets *= 2;
	s->mask = nr_buckets - 1;
	s->nodes = wr_calloc(nr_nodes * s->nr, sizeof(*s->nodes));
	s->entries = wr_calloc(nr_entries, sizeof(*s->entries));
	s->buckets = wr_calloc(nr_buckets, sizeof(struct wr_shadow_entry *));
	if (!s->nodes || !s->entries || !s->buckets)
		return -ENOMEM;
	for (uint64_t i = 0; i < nr_nodes * s->nr; i++) {
		s->nodes[i].entry = (void *)s->free[i / nr_nodes];
		s->free[i / nr_nodes] = &s->nodes[i];
	}
	for (uint64_t i = 0; i < nr_entries; i++) {
		s->entries[i].chain = s->free_entries;
		s->free_entries = &s->entries[i];
	}
	return 0;
}

int wr_shadows_init(struct wr_shadows *s, const struct wr_selector_opts *opts,
		    uint64_t capacity_bytes, uint64_t nr_entries)
{
	int rc;

	*s = (struct wr_shadows){.capacity = wr_max(capacity_bytes, (uint64_t)1)};
	rc = open_policies(s, opts, nr_entries);
	/* Half as many again: sizes vary, and so does the sample. */
	if (!rc)
		rc = make_entries(s, nr_entries + nr_entries / 2 + 8);
	if (rc)
		wr_shadows_fini(s);
	return rc;
}

void wr_shadows_fini(struct wr_shadows *s)
{
	for (size_t i = 0; i < s->nr; i++)
		wr_policy_close(s->policies[i]);
	wr_free(s->nodes);
	wr_free(s->entries);
	wr_free(s->buckets);
	*s = (struct wr_shadows){0};
}

static struct wr_shadow_entry *find(struct wr_shadows *s, struct weir_key key, uint64_t hash)
{
	struct wr_shadow_entry *e = s->buckets[hash & s->mask];

	while (e && !weir_key_equal(e->key, key))
		e = e->chain;
	return e;
}

static struct wr_shadow_entry *make(struct wr_shadows *s, struct weir_key key, uint64_t hash)
{
	struct wr_shadow_entry *e = s->free_entries;

	s->free_entries = e->chain;
	e->key = key;
	e->hash = hash;
	e->has = 0;
	e->chain = s->buckets[hash & s->mask];
	s->buckets[hash & s->mask] = e;
	return e;
}

static void drop(struct wr_shadows *s, struct wr_shadow_entry *e)
{
	struct wr_shadow_entry **link = &s->buckets[e->hash & s->mask];

	while (*link != e)
		link = &(*link)->chain;
	*link = e->chain;
	e->chain = s->free_entries;
	s->free_entries = e;
}

/* The entry @but stays although nobody has it: it is about to come in. */
static void evict(struct wr_shadows *s, size_t i, const struct wr_shadow_entry *but)
{
	struct wr_policy_node *victim = wr_policy_victim(s->policies[i], NULL, NULL);
	struct wr_shadow_node *node = wr_container_of(victim, struct wr_shadow_node, node);
	struct wr_shadow_entry *e = node->entry;
	bool stays = e == but;

	wr_policy_remove(s->policies[i], victim, true);
	e->has &= ~((uint32_t)1 << i);
	if (!e->has && !stays)
		drop(s, e);
	node->entry = (void *)s->free[i];
	s->free[i] = node;
}

static void come_in(struct wr_shadows *s, size_t i, struct wr_shadow_entry *e, uint64_t bytes)
{
	struct wr_policy *p = s->policies[i];
	struct wr_shadow_node *node;

	while (wr_policy_nodes(p) && (!s->free[i] || wr_policy_bytes(p) + bytes > s->capacity))
		evict(s, i, e);
	node = s->free[i];
	s->free[i] = (void *)node->entry;
	node->entry = e;
	node->node.key = e->key;
	node->node.bytes = bytes;
	node->node.next_use = WR_POLICY_UNKNOWN;
	e->nodes[i] = node;
	e->has |= (uint32_t)1 << i;
	wr_policy_insert(p, &node->node);
}

uint32_t wr_shadows_access(struct wr_shadows *s, struct weir_key key, uint64_t hash, uint64_t bytes)
{
	struct wr_shadow_entry *e = find(s, key, hash);
	uint32_t had = e ? e->has : 0;

	for (size_t i = 0; i < s->nr; i++) {
		if (had & (uint32_t)1 << i) {
			wr_policy_hit(s->policies[i], &e->nodes[i]->node);
			continue;
		}
		wr_policy_miss(s->policies[i], key, bytes);
		if (!wr_policy_admit(s->policies[i], key, bytes, WR_POLICY_UNKNOWN))
			continue;
		if (!e)
			e = make(s, key, hash);
		come_in(s, i, e, bytes);
	}
	return had;
}

void wr_shadows_forecast(struct wr_shadows *s, struct weir_key key, uint64_t hash,
			 uint64_t distance, uint32_t prob)
{
	struct wr_shadow_entry *e = find(s, key, hash);

	for (size_t i = 0; e && i < s->nr; i++) {
		uint64_t next = distance;

		if (!(e->has & (uint32_t)1 << i))
			continue;
		if (prob) {
			wr_policy_expect(s->policies[i], &e->nodes[i]->node, distance, prob);
			continue;
		}
		if (distance < WR_POLICY_NEVER)
			next += wr_policy_clock(s->policies[i]) + 1;
		wr_policy_forecast(s->policies[i], &e->nodes[i]->node, next);
	}
}

void wr_shadows_resize(struct wr_shadows *s, uint64_t capacity_bytes)
{
	s->capacity = wr_max(capacity_bytes, (uint64_t)1);
	for (size_t i = 0; i < s->nr; i++) {
		wr_policy_resize(s->policies[i], s->capacity);
		while (wr_policy_bytes(s->policies[i]) > s->capacity)
			evict(s, i, NULL);
	}
}
