/* SPDX-License-Identifier: MIT */
/*
 * Gets, inserts and removes of one key by several threads at once, while it is demoted, promoted
 * and dropped, also by a store that fails: each history of calls and results must be one that a
 * single variable could have given, in some order that agrees with time. All orders are tried, as
 * Wing and Gong do ("Testing and Verifying Concurrent Objects", 1993), with what was tried
 * remembered.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/random.h"
#include "cache/rig.h"

#define NR_THREADS 3u
#define NR_OPS	   6u /* of a thread in a round */
#define NR_OTHERS  3u /* threads that keep the tiers moving */
#define NR_ROUNDS  400u
#define NR_FILLERS 24u
#define BYTES	   4096u
#define L1_ROOM	   4u
#define L2_ROOM	   10u
/* What is being replaced by each thread may be there, and they wait for room: so much, and one more. */
#define L2_LEAST (NR_THREADS + NR_OTHERS + 1)

enum kind { GET, INSERT, REMOVE };

/* Version 0: nothing is there. */
struct op {
	enum kind kind;
	uint32_t version; /* inserted, or got; of a remove: 1 if there was something */
	bool has_failed;  /* a get tells nothing; an insert or remove took effect, or not */
	uint64_t begun, ended;
};

struct history {
	struct op ops[NR_THREADS][NR_OPS];
};

/* ---- the checker ---- */

struct search {
	const struct history *h;
	uint8_t tried[NR_OPS + 1][NR_OPS + 1][NR_OPS + 1][NR_THREADS * NR_OPS + 1];
};

/* The value after it; false: with this value it could not have had that result. */
static bool apply(const struct op *op, uint32_t value, bool takes_effect, uint32_t *ret)
{
	*ret = value;
	if (op->has_failed && !takes_effect)
		return true;
	switch (op->kind) {
	case GET:
		return op->version == value && !op->has_failed;
	case INSERT:
		*ret = op->version;
		return true;
	default:
		*ret = 0;
		return op->has_failed || op->version == (value != 0);
	}
}

static bool is_explained(struct search *s, const uint32_t at[NR_THREADS], uint32_t value);

/* The next of thread @t, with or without effect if it failed, and then the rest. */
static bool is_explained_with(struct search *s, const uint32_t at[NR_THREADS], uint32_t t,
			      uint32_t value)
{
	const struct op *op = &s->h->ops[t][at[t]];
	uint32_t next[NR_THREADS], then;

	memcpy(next, at, sizeof(next));
	next[t]++;
	if (apply(op, value, true, &then) && is_explained(s, next, then))
		return true;
	return op->has_failed && apply(op, value, false, &then) && is_explained(s, next, then);
}

static bool is_explained(struct search *s, const uint32_t at[NR_THREADS], uint32_t value)
{
	uint64_t first_end = UINT64_MAX;
	bool is_over = true;

	if (s->tried[at[0]][at[1]][at[2]][value])
		return false;
	s->tried[at[0]][at[1]][at[2]][value] = 1;
	for (uint32_t t = 0; t < NR_THREADS; t++)
		if (at[t] < NR_OPS) {
			const struct op *op = &s->h->ops[t][at[t]];

			is_over = false;
			first_end = op->ended < first_end ? op->ended : first_end;
		}
	if (is_over)
		return true;
	for (uint32_t t = 0; t < NR_THREADS; t++) {
		/* What began after another had ended cannot have come before it. */
		if (at[t] == NR_OPS || s->h->ops[t][at[t]].begun > first_end)
			continue;
		if (is_explained_with(s, at, t, value))
			return true;
	}
	return false;
}

static bool is_linear(const struct history *h)
{
	static struct search s;
	const uint32_t start[NR_THREADS] = {0};

	_Static_assert(NR_THREADS == 3, "tried has a dimension for each");
	memset(&s, 0, sizeof(s));
	s.h = h;
	return is_explained(&s, start, 0);
}

/* All ops one after the other: gets of nothing. */
static void make_plain(struct history *h)
{
	uint64_t time = 0;

	for (uint32_t t = 0; t < NR_THREADS; t++)
		for (uint32_t i = 0; i < NR_OPS; i++) {
			h->ops[t][i] = (struct op){.kind = GET, .begun = time, .ended = time + 1};
			time += 2;
		}
}

TEST(a_history_that_one_variable_gives_is_accepted)
{
	struct history h;

	make_plain(&h);
	EXPECT_TRUE(is_linear(&h));
	h.ops[0][0] = (struct op){INSERT, 1, false, 0, 100};
	/* At the same time, on either side of it. */
	h.ops[0][1].version = 1;
	h.ops[0][1].begun = 101;
	for (uint32_t i = 1; i < NR_OPS; i++)
		h.ops[0][i] = (struct op){GET, 1, false, 100 + 2 * i, 101 + 2 * i};
	EXPECT_TRUE(is_linear(&h));
	h.ops[2][NR_OPS - 1].version = 1;
	EXPECT_TRUE(is_linear(&h));
}

TEST(a_history_that_one_variable_cannot_give_is_refused)
{
	struct history h;

	make_plain(&h);
	h.ops[0][0] = (struct op){INSERT, 1, false, 0, 1};
	EXPECT_FALSE(is_linear(&h)); /* lost */
	make_plain(&h);
	h.ops[1][0].version = 3;
	EXPECT_FALSE(is_linear(&h)); /* nobody put that */
	make_plain(&h);
	h.ops[0][0] = (struct op){INSERT, 1, false, 0, 1};
	h.ops[0][1] = (struct op){REMOVE, 1, false, 2, 3};
	h.ops[2][0].version = 1;
	EXPECT_FALSE(is_linear(&h)); /* it came back */
	make_plain(&h);
	h.ops[0][1] = (struct op){REMOVE, 1, false, 2, 3};
	EXPECT_FALSE(is_linear(&h)); /* there was nothing */
}

TEST(what_failed_may_have_had_an_effect_or_none)
{
	struct history h;

	make_plain(&h);
	h.ops[0][0] = (struct op){INSERT, 1, true, 0, 1};
	EXPECT_TRUE(is_linear(&h)); /* it had none */
	for (uint32_t t = 0; t < NR_THREADS; t++)
		for (uint32_t i = 0; i < NR_OPS; i++)
			h.ops[t][i].version = 1;
	EXPECT_TRUE(is_linear(&h)); /* it had */
	h.ops[1][2].version = 0;
	EXPECT_FALSE(is_linear(&h)); /* and what had is not gone again */
	h.ops[1][2].has_failed = true;
	EXPECT_TRUE(is_linear(&h)); /* a get that failed says nothing */
}

/* ---- the cache ---- */

struct setup {
	struct rig rig;
	struct history history;
	pthread_barrier_t start, end;
	_Atomic uint64_t clock;
	_Atomic uint64_t nr_wrong, nr_failed;
	_Atomic int wrong; /* the last code that may not be */
	bool may_fail;
	_Atomic bool stop;
	uint32_t key;
};

struct player {
	struct setup *s;
	uint32_t number;
	uint64_t random;
	pthread_t thread;
};

static uint32_t next(struct player *p)
{
	return (uint32_t)(wr_lcg64(&p->random) >> 33);
}

static void failed(struct setup *s, int rc)
{
	/* In so little room all may be what other calls replace or bring up while they wait for room. */
	if (rc == -ENOSPC || (s->may_fail && rc == -EIO)) {
		atomic_fetch_add(&s->nr_failed, 1);
		return;
	}
	atomic_store(&s->wrong, rc);
	atomic_fetch_add(&s->nr_wrong, 1);
}

static int play_get(struct player *p, struct op *op)
{
	struct weir_cache_item item = rig_item(p->s->key, 0, WEIR_CLASS_KV);
	uint64_t version = 0;
	struct weir_pin pin;
	int rc;

	item.tier = next(p) % 3 ? WEIR_TIER_L2 : WEIR_TIER_L1;
	rc = weir_cache_get(p->s->rig.cache, &item, 0, &pin);
	if (!rc) {
		if (!rig_check(pin.data, p->s->key, pin.bytes, &version))
			rc = -EBADMSG;
		weir_cache_put(p->s->rig.cache, &pin);
	}
	op->version = (uint32_t)version;
	return rc == -ENOENT ? 0 : rc;
}

static void play(struct player *p, struct op *op, uint32_t version)
{
	struct setup *s = p->s;
	int rc;

	op->kind = (enum kind)(next(p) % 4 % 3); /* more gets than others */
	op->version = version;
	op->begun = atomic_fetch_add(&s->clock, 1);
	if (op->kind == GET) {
		rc = play_get(p, op);
	} else if (op->kind == INSERT) {
		rc = rig_insert(&s->rig, s->key, version, BYTES);
	} else {
		rc = weir_cache_remove(s->rig.cache, rig_key(s->key));
		op->version = !rc;
		rc = rc == -ENOENT ? 0 : rc;
	}
	op->ended = atomic_fetch_add(&s->clock, 1);
	op->has_failed = rc != 0;
	if (rc)
		failed(s, rc);
}

static void *player_main(void *arg)
{
	struct player *p = arg;

	for (;;) {
		pthread_barrier_wait(&p->s->start);
		if (atomic_load(&p->s->stop))
			return NULL;
		for (uint32_t i = 0; i < NR_OPS; i++, usleep(next(p) % 300))
			play(p, &p->s->history.ops[p->number][i], p->number * NR_OPS + i + 1);
		pthread_barrier_wait(&p->s->end);
	}
}

/* Others want room all the time, and have what is there written down. */
static void *stir_main(void *arg)
{
	struct player *p = arg;
	struct setup *s = p->s;

	while (!atomic_load(&s->stop)) {
		uint32_t what = next(p) % 32;
		int rc;

		if (what == 0)
			rc = weir_cache_flush(s->rig.cache);
		else if (what == 1)
			rc = weir_cache_set_budget(s->rig.cache, WEIR_TIER_L2,
						   (L2_LEAST + next(p) % (L2_ROOM - L2_LEAST + 1)) *
							   BYTES);
		else
			rc = rig_insert(&s->rig, 100000 + next(p) % NR_FILLERS, 1, BYTES);
		if (rc && rc != -EBUSY)
			failed(s, rc);
	}
	return NULL;
}

static int open_setup(struct setup *s)
{
	struct weir_cache_opts opts = {.l1 = &fake_device_ops,
				       .l1_arg = &s->rig.l1,
				       .l1_budget = L1_ROOM * BYTES,
				       .l3 = &fake_store_ops,
				       .l3_arg = &s->rig.l3};

	s->rig.l1.capacity = L1_ROOM * BYTES;
	fake_store_init(&s->rig.l3, 64u << 20);
	s->rig.l3.delay_us = 20;
	return rig_open(&s->rig, &opts, L2_ROOM * BYTES);
}

/* clang-format off */
FIXTURE(order) {
	struct setup *s;
};
/* clang-format on */

FIXTURE_SETUP(order)
{
	self->s = calloc(1, sizeof(*self->s));
	ASSERT_EQ(open_setup(self->s), 0);
	pthread_barrier_init(&self->s->start, NULL, NR_THREADS + 1);
	pthread_barrier_init(&self->s->end, NULL, NR_THREADS + 1);
}

FIXTURE_TEARDOWN(order)
{
	EXPECT_TRUE(rig_close(&self->s->rig));
	fake_store_fini(&self->s->rig.l3);
	pthread_barrier_destroy(&self->s->start);
	pthread_barrier_destroy(&self->s->end);
	free(self->s);
	EXPECT_EQ(wr_test_alloc_live(), 0);
}

/* Many rounds, each with a key of its own. How many histories no variable could have given. */
static uint32_t run_rounds(struct __test_metadata *_metadata, struct setup *s)
{
	struct player p[NR_THREADS + NR_OTHERS];
	uint32_t nr_refused = 0;

	for (uint32_t i = 0; i < NR_THREADS + NR_OTHERS; i++) {
		p[i] = (struct player){.s = s, .number = i, .random = i * 977 + 5};
		EXPECT_EQ(pthread_create(&p[i].thread, NULL,
					 i < NR_THREADS ? player_main : stir_main, &p[i]),
			  0);
	}
	for (uint32_t round = 0; round < NR_ROUNDS; round++) {
		s->key = round; /* of which there is nothing yet */
		pthread_barrier_wait(&s->start);
		pthread_barrier_wait(&s->end);
		nr_refused += !is_linear(&s->history);
		(void)!weir_cache_remove(s->rig.cache, rig_key(round));
	}
	atomic_store(&s->stop, true);
	pthread_barrier_wait(&s->start);
	for (uint32_t i = 0; i < NR_THREADS + NR_OTHERS; i++)
		pthread_join(p[i].thread, NULL);
	TH_LOG("%u rounds of %u calls, %llu of them failed; %u refused", NR_ROUNDS,
	       NR_THREADS * NR_OPS, (unsigned long long)s->nr_failed, nr_refused);
	return nr_refused;
}

TEST_F_TIMEOUT(order, gets_inserts_and_removes_of_a_key_take_effect_in_one, 300)
{
	struct setup *s = self->s;

	EXPECT_EQ(run_rounds(_metadata, s), 0u);
	EXPECT_EQ(atomic_load(&s->nr_wrong), 0u)
	{
		TH_LOG("the last: %s", weir_strerror(atomic_load(&s->wrong)));
	}
	EXPECT_GT(rig_stats(&s->rig, WEIR_TIER_L2).nr_demotions, NR_ROUNDS / 8);
}

TEST_F_TIMEOUT(order, they_do_with_a_store_that_fails, 300)
{
	struct setup *s = self->s;

	s->may_fail = true;
	s->rig.l3.fail_permille = 50;
	s->rig.l3.fail_remove_permille = 50;
	EXPECT_EQ(run_rounds(_metadata, s), 0u);
	EXPECT_EQ(atomic_load(&s->nr_wrong), 0u);
	EXPECT_GT(atomic_load(&s->nr_failed), NR_ROUNDS / 8);
}

/* The checker is no use if it does not see a cache that is wrong. */
TEST_F_TIMEOUT(order, a_store_that_keeps_what_was_removed_is_found_out, 300)
{
	struct setup *s = self->s;

	s->rig.l3.keep_permille = 1000;
	EXPECT_GT(run_rounds(_metadata, s), 0u);
}

TEST_HARNESS_MAIN
