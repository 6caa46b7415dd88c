/* SPDX-License-Identifier: MIT */
/* The naive simulators: lists are arrays, the first element is the latest. */
#include "policy/naive.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

struct list {
	uint32_t at[NAIVE_KEYS * 2];
	size_t nr;
};

static size_t place(const struct list *l, uint32_t key)
{
	size_t i = 0;

	while (i < l->nr && l->at[i] != key)
		i++;
	return i;
}

static bool has(const struct list *l, uint32_t key)
{
	return place(l, key) < l->nr;
}

static void take(struct list *l, uint32_t key)
{
	size_t i = place(l, key);

	if (i == l->nr)
		return;
	memmove(&l->at[i], &l->at[i + 1], (l->nr - i - 1) * sizeof(l->at[0]));
	l->nr--;
}

static void push(struct list *l, uint32_t key)
{
	memmove(&l->at[1], &l->at[0], l->nr * sizeof(l->at[0]));
	l->at[0] = key;
	l->nr++;
}

static uint32_t pop(struct list *l)
{
	return l->at[--l->nr];
}

size_t naive_lru(const uint32_t *refs, size_t nr, size_t room)
{
	struct list *l = calloc(1, sizeof(*l));
	size_t hits = 0;

	for (size_t i = 0; i < nr; i++) {
		if (has(l, refs[i])) {
			hits++;
			take(l, refs[i]);
		} else if (l->nr == room) {
			pop(l);
		}
		push(l, refs[i]);
	}
	free(l);
	return hits;
}

size_t naive_fifo(const uint32_t *refs, size_t nr, size_t room)
{
	struct list *l = calloc(1, sizeof(*l));
	size_t hits = 0;

	for (size_t i = 0; i < nr; i++) {
		if (has(l, refs[i])) {
			hits++;
			continue;
		}
		if (l->nr == room)
			pop(l);
		push(l, refs[i]);
	}
	free(l);
	return hits;
}

/* The hand is the key it points at; the list does not move under it but by removals. */
size_t naive_sieve(const uint32_t *refs, size_t nr, size_t room)
{
	struct list *l = calloc(1, sizeof(*l));
	bool visited[NAIVE_KEYS] = {false};
	size_t hits = 0;
	uint32_t hand = 0;
	bool has_hand = false;

	for (size_t i = 0; i < nr; i++) {
		if (has(l, refs[i])) {
			hits++;
			visited[refs[i]] = true;
			continue;
		}
		if (l->nr == room) {
			size_t at = has_hand ? place(l, hand) : l->nr - 1;
			uint32_t victim;

			while (visited[l->at[at]]) {
				visited[l->at[at]] = false;
				at = at ? at - 1 : l->nr - 1;
			}
			victim = l->at[at];
			has_hand = at > 0;
			hand = has_hand ? l->at[at - 1] : 0;
			take(l, victim);
		}
		push(l, refs[i]);
		visited[refs[i]] = false;
	}
	free(l);
	return hits;
}

/* Figure 4 of the paper, line by line. */
struct arc {
	struct list t1, t2, b1, b2;
	double p;
	size_t c;
};

static void arc_replace(struct arc *a, bool is_in_b2)
{
	if (a->t1.nr && ((double)a->t1.nr > a->p || (is_in_b2 && (double)a->t1.nr == a->p)))
		push(&a->b1, pop(&a->t1));
	else
		push(&a->b2, pop(&a->t2));
}

static double at_least_one(size_t a, size_t b)
{
	return a > b ? (double)a / (double)b : 1;
}

static void arc_new(struct arc *a, uint32_t key)
{
	size_t l1 = a->t1.nr + a->b1.nr;
	size_t all = l1 + a->t2.nr + a->b2.nr;

	if (l1 == a->c) {
		if (a->t1.nr < a->c) {
			pop(&a->b1);
			arc_replace(a, false);
		} else {
			pop(&a->t1);
		}
	} else if (all >= a->c) {
		if (all == 2 * a->c)
			pop(&a->b2);
		arc_replace(a, false);
	}
	push(&a->t1, key);
}

static bool arc_use(struct arc *a, uint32_t key)
{
	double c = (double)a->c;

	if (has(&a->t1, key) || has(&a->t2, key)) {
		take(&a->t1, key);
		take(&a->t2, key);
		push(&a->t2, key);
		return true;
	}
	if (has(&a->b1, key)) {
		a->p += at_least_one(a->b2.nr, a->b1.nr);
		a->p = a->p < c ? a->p : c;
		arc_replace(a, false);
		take(&a->b1, key);
		push(&a->t2, key);
	} else if (has(&a->b2, key)) {
		a->p -= at_least_one(a->b1.nr, a->b2.nr);
		a->p = a->p > 0 ? a->p : 0;
		arc_replace(a, true);
		take(&a->b2, key);
		push(&a->t2, key);
	} else {
		arc_new(a, key);
	}
	return false;
}

size_t naive_arc(const uint32_t *refs, size_t nr, size_t room)
{
	struct arc *a = calloc(1, sizeof(*a));
	size_t hits = 0;

	a->c = room;
	for (size_t i = 0; i < nr; i++)
		hits += arc_use(a, refs[i]);
	free(a);
	return hits;
}

struct s3 {
	struct list small, main, ghosts;
	unsigned uses[NAIVE_KEYS];
	size_t room;
};

static bool s3_evict_small(struct s3 *s)
{
	while (s->small.nr) {
		uint32_t key = pop(&s->small);

		if (s->uses[key] < 2) {
			push(&s->ghosts, key);
			if (s->ghosts.nr > s->room - s->room / 10)
				pop(&s->ghosts);
			return true;
		}
		s->uses[key] = 0;
		push(&s->main, key);
	}
	return false;
}

static void s3_evict_main(struct s3 *s)
{
	while (s->uses[s->main.at[s->main.nr - 1]]) {
		uint32_t key = pop(&s->main);

		s->uses[key]--;
		push(&s->main, key);
	}
	pop(&s->main);
}

size_t naive_s3_fifo(const uint32_t *refs, size_t nr, size_t room)
{
	struct s3 *s = calloc(1, sizeof(*s));
	size_t hits = 0;

	s->room = room;
	for (size_t i = 0; i < nr; i++) {
		uint32_t key = refs[i];

		if (has(&s->small, key) || has(&s->main, key)) {
			hits++;
			s->uses[key] += s->uses[key] < 3;
			continue;
		}
		if (s->small.nr + s->main.nr == room &&
		    !(s->small.nr > room / 10 && s3_evict_small(s)))
			s3_evict_main(s);
		s->uses[key] = 0;
		push(has(&s->ghosts, key) ? &s->main : &s->small, key);
		take(&s->ghosts, key);
	}
	free(s);
	return hits;
}

static size_t next_use(const uint32_t *refs, size_t nr, size_t from, uint32_t key)
{
	while (from < nr && refs[from] != key)
		from++;
	return from;
}

size_t naive_opt(const uint32_t *refs, size_t nr, size_t room)
{
	struct list *l = calloc(1, sizeof(*l));
	size_t hits = 0;

	for (size_t i = 0; i < nr; i++) {
		size_t latest = 0, own;
		uint32_t victim = 0;

		if (has(l, refs[i])) {
			hits++;
			continue;
		}
		if (l->nr < room) {
			push(l, refs[i]);
			continue;
		}
		for (size_t k = 0; k < l->nr; k++) {
			size_t at = next_use(refs, nr, i + 1, l->at[k]);

			if (at >= latest) {
				latest = at;
				victim = l->at[k];
			}
		}
		own = next_use(refs, nr, i + 1, refs[i]);
		if (own < latest) {
			take(l, victim);
			push(l, refs[i]);
		}
	}
	free(l);
	return hits;
}

struct thing {
	struct wr_policy_node node;
	bool is_resident;
};

size_t drive(const char *policy, const uint32_t *refs, size_t nr, size_t room,
	     struct wr_policy_info *info)
{
	const struct wr_policy_opts opts = {.capacity_bytes = room, .nr_entries = room};
	struct thing *things = calloc(NAIVE_KEYS, sizeof(*things));
	struct wr_policy *p;
	size_t hits = 0;

	if (wr_policy_open(policy, &opts, &p)) {
		free(things);
		return SIZE_MAX;
	}
	for (size_t i = 0; i < nr; i++) {
		struct thing *t = &things[refs[i]];

		t->node.key = (struct weir_key){.hi = 7, .lo = refs[i]};
		t->node.bytes = 1;
		t->node.next_use = WR_POLICY_UNKNOWN;
		if (t->is_resident) {
			hits++;
			wr_policy_hit(p, &t->node);
			continue;
		}
		wr_policy_miss(p, t->node.key, 1);
		if (!wr_policy_admit(p, t->node.key, 1, WR_POLICY_UNKNOWN))
			continue;
		while (wr_policy_bytes(p) + 1 > room) {
			struct wr_policy_node *victim = wr_policy_victim(p, NULL, NULL);

			wr_policy_remove(p, victim, true);
			wr_container_of(victim, struct thing, node)->is_resident = false;
		}
		wr_policy_insert(p, &t->node);
		t->is_resident = true;
	}
	if (info) {
		wr_policy_info(p, info);
		/* The strings go with the policy. */
		info->chosen = info->reason = NULL;
	}
	wr_policy_close(p);
	free(things);
	return hits;
}

static uint64_t draw(uint64_t *state)
{
	return wr_lcg64(state) >> 33;
}

void make_refs(uint32_t *refs, size_t nr, enum shape shape, uint32_t keys, uint64_t seed)
{
	uint64_t state = seed * 77 + 1;
	uint32_t fresh = keys;

	for (size_t i = 0; i < nr; i++) {
		uint64_t even = draw(&state) % keys;
		uint64_t skewed =
			even * (draw(&state) % keys) / keys * (draw(&state) % keys) / keys;

		switch (shape) {
		case SHAPE_EVEN:
			refs[i] = (uint32_t)even;
			break;
		case SHAPE_LOOP:
			refs[i] = (uint32_t)(i % keys);
			break;
		case SHAPE_SCANS:
			refs[i] = i / 200 % 3 == 2 ? fresh++ % NAIVE_KEYS : (uint32_t)skewed;
			break;
		case SHAPE_DRIFT:
			refs[i] = (uint32_t)((skewed + i / 50) % NAIVE_KEYS);
			break;
		default:
			refs[i] = (uint32_t)skewed;
		}
	}
}
