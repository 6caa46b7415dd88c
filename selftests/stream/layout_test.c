/* SPDX-License-Identifier: MIT */
/*
 * The choice of what stays in memory, over many vectors of sizes and budgets: it fits, it is close
 * to the least that any choice could stream, and it is even over the order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weir/stream.h>

#include "kselftest_harness.h"

#include "base/alloc.h"
#include "base/random.h"
#include "base/util.h"
#include "stream/layout.h"

#define PAGE	 4096ull
#define MIB	 (1024ull * 1024)
#define MAX_NR	 512u
#define NR_SEEDS 40u

struct sizes {
	uint64_t bytes[MAX_NR];
	uint8_t wishes[MAX_NR]; /* enum weir_tensor_rule */
	uint32_t nr;
	uint64_t sum;
	uint64_t largest;
	uint64_t smallest;
};

/* What a choice comes to. */
struct outcome {
	struct wr_layout layout;
	bool resident[MAX_NR];
	uint64_t streamed;
};

static uint64_t random_size(uint64_t *state, uint64_t from, uint64_t to)
{
	return (from + wr_xorshift64(state) % (to - from + 1)) / PAGE * PAGE;
}

static void add(struct sizes *s, uint64_t bytes)
{
	s->smallest = s->nr ? wr_min(s->smallest, bytes) : bytes;
	s->largest = wr_max(s->largest, bytes);
	s->sum += bytes;
	s->bytes[s->nr++] = bytes;
}

/* Tiles of one model: equal to within a factor of four. */
static void make_tiles(struct sizes *s, uint64_t seed)
{
	uint32_t nr = 130 + (uint32_t)(seed * 37 % 300);

	*s = (struct sizes){0};
	seed = seed * 0x9e3779b97f4a7c15u + 1;
	while (s->nr < nr)
		add(s, random_size(&seed, 4 * MIB, 16 * MIB));
}

/* Anything: a handful or hundreds, from a page to far more than the rest together. */
static void make_wild(struct sizes *s, uint64_t seed)
{
	uint32_t nr = 1 + (uint32_t)(seed * 61 % (seed & 1 ? 12 : 400));

	*s = (struct sizes){0};
	seed = seed * 0x9e3779b97f4a7c15u + 1;
	while (s->nr < nr)
		add(s, wr_max(PAGE, random_size(&seed, 0, MIB << wr_xorshift64(&seed) % 11)));
}

/*
 * 28 layers as of Qwen3-VL 2B, in tiles: norms of a page, projections of 8 and 4 MiB, two tiles of
 * 12 MiB for each matrix of the MLP; the embedding first and last. (Shapes: the model's public
 * config.json: hidden_size 2048, intermediate_size 6144, 16 heads and 8 of 128.)
 */
static void make_qwen(struct sizes *s)
{
	*s = (struct sizes){0};
	for (int t = 0; t < 38; t++)
		add(s, 16 * MIB - PAGE * 9);
	for (int layer = 0; layer < 28; layer++) {
		add(s, 2 * PAGE);
		add(s, 8 * MIB + PAGE);
		add(s, 4 * MIB + PAGE);
		add(s, 4 * MIB + PAGE);
		add(s, PAGE);
		add(s, PAGE);
		add(s, 8 * MIB + PAGE);
		add(s, 2 * PAGE);
		for (int t = 0; t < 6; t++)
			add(s, 12 * MIB + PAGE);
	}
	add(s, 2 * PAGE);
}

static int choose(const struct sizes *s, uint64_t budget, struct outcome *o)
{
	int rc;

	memset(o, 0, sizeof(*o));
	rc = wr_layout_choose(s->bytes, s->wishes, s->nr, budget, o->resident, &o->layout);
	for (uint32_t i = 0; i < s->nr; i++)
		o->streamed += o->resident[i] ? 0 : s->bytes[i];
	return rc;
}

/* The smallest budget: over all slot sizes, what is larger stays and two slots are kept. */
static uint64_t least_budget(const struct sizes *s)
{
	uint64_t least = s->sum;

	for (uint32_t k = 0; k < s->nr; k++) {
		uint64_t need = 2 * s->bytes[k];

		for (uint32_t i = 0; i < s->nr; i++)
			need += s->bytes[i] > s->bytes[k] ? s->bytes[i] : 0;
		least = wr_min(least, need);
	}
	return least;
}

/* What no choice with two slots can stream less than: the best slot size, and room used up. */
static uint64_t least_streamed(const struct sizes *s, uint64_t budget)
{
	uint64_t least = UINT64_MAX;

	if (s->sum <= budget)
		return 0;
	for (uint32_t k = 0; k < s->nr; k++) {
		uint64_t larger = 0, room;

		for (uint32_t i = 0; i < s->nr; i++)
			larger += s->bytes[i] > s->bytes[k] ? s->bytes[i] : 0;
		if (larger + 2 * s->bytes[k] > budget)
			continue;
		room = budget - 2 * s->bytes[k];
		least = wr_min(least, s->sum > room ? s->sum - room : 0);
	}
	return least;
}

/* Fits in the budget, slots hold what is streamed, and the sums are those of the choice. */
static bool is_sound(const struct sizes *s, uint64_t budget, const struct outcome *o)
{
	uint64_t bytes = 0;
	uint32_t nr = 0;

	for (uint32_t i = 0; i < s->nr; i++) {
		if (!o->resident[i] && s->bytes[i] > o->layout.slot_bytes)
			return false;
		bytes += o->resident[i] ? s->bytes[i] : 0;
		nr += o->resident[i];
	}
	return bytes == o->layout.resident_bytes && nr == o->layout.nr_resident &&
	       2 * o->layout.slot_bytes + bytes <= budget;
}

/* A budget between the smallest and all, in @of steps. */
static uint64_t budget_at(const struct sizes *s, unsigned step, unsigned of)
{
	uint64_t least = least_budget(s);

	return least + (s->sum - least) / of * step / PAGE * PAGE;
}

TEST(every_choice_fits_its_budget_and_its_slots)
{
	static struct sizes s;
	static struct outcome o;
	unsigned nr_streamed = 0;

	for (uint64_t seed = 1; seed <= NR_SEEDS; seed++) {
		make_wild(&s, seed);
		for (unsigned step = 0; step <= 12; step++) {
			uint64_t budget = budget_at(&s, step, 10);

			ASSERT_EQ(choose(&s, budget, &o), 0);
			EXPECT_TRUE(is_sound(&s, budget, &o));
			nr_streamed += o.streamed != 0;
		}
	}
	EXPECT_GT(nr_streamed, NR_SEEDS);
}

TEST(the_minimum_it_names_is_the_least_that_works)
{
	static struct sizes s;
	static struct outcome o;

	for (uint64_t seed = 1; seed <= 3 * NR_SEEDS; seed++) {
		uint64_t min;

		make_wild(&s, seed);
		min = least_budget(&s);
		EXPECT_EQ(choose(&s, min - PAGE, &o), -ENOSPC);
		EXPECT_EQ(o.layout.min_budget_bytes, min);
		EXPECT_EQ(choose(&s, min, &o), 0);
		EXPECT_EQ(o.layout.min_budget_bytes, min);
		EXPECT_TRUE(is_sound(&s, min, &o));
		EXPECT_EQ(choose(&s, 0, &o), -ENOSPC);
		EXPECT_EQ(o.layout.min_budget_bytes, min);
	}
}

TEST(tiles_stream_no_more_than_three_percent_above_the_ideal)
{
	static struct sizes s;
	static struct outcome o;

	for (uint64_t seed = 0; seed <= NR_SEEDS; seed++) {
		if (seed)
			make_tiles(&s, seed);
		else
			make_qwen(&s);
		for (unsigned step = 0; step <= 20; step++) {
			uint64_t budget = budget_at(&s, step, 20);
			uint64_t kept = budget - 2 * s.largest;
			uint64_t ideal = s.sum > kept ? s.sum - kept : 0;

			ASSERT_EQ(choose(&s, budget, &o), 0);
			EXPECT_LE(o.streamed, ideal + s.sum * 3 / 100);
		}
	}
}

TEST(no_choice_of_any_sizes_streams_much_less)
{
	static struct sizes s;
	static struct outcome o;
	uint64_t smallest;

	for (uint64_t seed = 1; seed <= NR_SEEDS; seed++) {
		if (seed % 4)
			make_wild(&s, seed);
		else
			make_tiles(&s, seed);
		for (unsigned step = 0; step <= 12; step++) {
			uint64_t budget = budget_at(&s, step, 12);

			ASSERT_EQ(choose(&s, budget, &o), 0);
			smallest = s.largest;
			for (uint32_t i = 0; i < s.nr; i++)
				if (!o.resident[i])
					smallest = wr_min(smallest, s.bytes[i]);
			EXPECT_GE(o.streamed, least_streamed(&s, budget));
			/* Not worth a smaller slot, and not room enough for one more. */
			EXPECT_LE(o.streamed, least_streamed(&s, budget) + budget / 64 + smallest);
		}
	}
}

/* The largest distance, over all windows of more than 4 slots, from the average share. */
static uint64_t worst_window(const struct sizes *s, const struct outcome *o)
{
	uint64_t worst = 0;

	for (uint32_t i = 0; i < s->nr; i++) {
		uint64_t bytes = 0, streamed = 0, even;

		for (uint32_t j = i; j < s->nr; j++) {
			bytes += s->bytes[j];
			streamed += o->resident[j] ? 0 : s->bytes[j];
			if (bytes <= 4 * o->layout.slot_bytes)
				continue;
			even = (uint64_t)((double)bytes * (double)o->streamed / (double)s->sum);
			worst = wr_max(worst, streamed > even ? streamed - even : even - streamed);
		}
	}
	return worst;
}

TEST(what_is_streamed_is_even_over_the_order)
{
	static struct sizes s;
	static struct outcome o;

	for (uint64_t seed = 0; seed <= NR_SEEDS / 2; seed++) {
		if (seed)
			make_tiles(&s, seed);
		else
			make_qwen(&s);
		for (unsigned step = 0; step < 10; step++) {
			ASSERT_EQ(choose(&s, budget_at(&s, step, 10), &o), 0);
			EXPECT_LE(worst_window(&s, &o), 2 * o.layout.slot_bytes);
		}
	}
}

TEST(a_giant_among_small_ones_stays_and_does_not_set_the_size_of_the_slots)
{
	static struct sizes s;
	static struct outcome o;

	add(&s, 622 * MIB);
	while (s.nr < 60)
		add(&s, 25 * MIB);
	for (uint64_t budget = 672 * MIB; budget < s.sum; budget += 100 * MIB) {
		ASSERT_EQ(choose(&s, budget, &o), 0);
		EXPECT_TRUE(o.resident[0]);
		EXPECT_EQ(o.layout.slot_bytes, 25 * MIB);
	}
	EXPECT_EQ(choose(&s, 672 * MIB - PAGE, &o), -ENOSPC);
	EXPECT_EQ(o.layout.min_budget_bytes, 672 * MIB);
}

TEST(small_units_stay_where_they_cost_little)
{
	static struct sizes s;
	static struct outcome o;
	uint32_t nr_small = 0;

	make_qwen(&s);
	ASSERT_EQ(choose(&s, s.sum / 2, &o), 0);
	for (uint32_t i = 0; i < s.nr; i++)
		if (s.bytes[i] <= 64 << 10) {
			EXPECT_TRUE(o.resident[i]);
			nr_small++;
		}
	EXPECT_EQ(nr_small, 28u * 4 + 1);
}

TEST(when_everything_fits_nothing_is_streamed_and_there_are_no_slots)
{
	static struct sizes s;
	static struct outcome o;

	for (uint64_t seed = 1; seed <= NR_SEEDS; seed++) {
		make_wild(&s, seed);
		ASSERT_EQ(choose(&s, s.sum, &o), 0);
		EXPECT_EQ(o.layout.slot_bytes, 0u);
		EXPECT_EQ(o.layout.nr_resident, s.nr);
		EXPECT_EQ(o.layout.resident_bytes, s.sum);
		ASSERT_EQ(choose(&s, UINT64_MAX / 2, &o), 0);
		EXPECT_EQ(o.streamed, 0u);
		EXPECT_TRUE(is_sound(&s, s.sum, &o));
	}
}

TEST(one_unit_needs_its_own_size_and_not_two_slots)
{
	static struct sizes s;
	static struct outcome o;

	add(&s, 10 * MIB);
	EXPECT_EQ(choose(&s, 10 * MIB, &o), 0);
	EXPECT_EQ(o.streamed, 0u);
	EXPECT_EQ(choose(&s, 10 * MIB - PAGE, &o), -ENOSPC);
	EXPECT_EQ(o.layout.min_budget_bytes, 10 * MIB);
}

TEST(without_memory_it_says_so)
{
	static struct sizes s;
	static struct outcome o;

	make_qwen(&s);
	wr_test_alloc_fail_at(1);
	EXPECT_EQ(choose(&s, s.sum / 2, &o), -ENOMEM);
	EXPECT_TRUE(wr_test_alloc_failed());
	EXPECT_EQ(choose(&s, s.sum / 2, &o), 0);
}

TEST(what_is_wished_for_is_done_first_and_counts_towards_the_least_budget)
{
	static struct sizes s;
	static struct outcome o;
	uint64_t least, pinned = 0;

	make_tiles(&s, 3);
	for (uint32_t i = 0; i < s.nr; i += 10) {
		s.wishes[i] = WEIR_TENSOR_PIN;
		pinned += s.bytes[i];
	}
	for (uint32_t i = 5; i < s.nr; i += 10)
		s.wishes[i] = WEIR_TENSOR_STREAM;
	EXPECT_EQ(choose(&s, pinned, &o), -ENOSPC);
	least = o.layout.min_budget_bytes;
	EXPECT_GT(least, pinned);
	EXPECT_LE(least, pinned + 2 * s.largest);
	EXPECT_EQ(choose(&s, least - 1, &o), -ENOSPC);
	for (uint64_t budget = least; budget < s.sum * 2; budget += s.sum / 7) {
		uint64_t kept = 0;

		ASSERT_EQ(choose(&s, budget, &o), 0);
		for (uint32_t i = 0; i < s.nr; i++) {
			EXPECT_TRUE(s.wishes[i] != WEIR_TENSOR_PIN || o.resident[i]);
			EXPECT_FALSE(s.wishes[i] == WEIR_TENSOR_STREAM && o.resident[i]);
			EXPECT_TRUE(o.resident[i] || s.bytes[i] <= o.layout.slot_bytes);
			kept += o.resident[i] ? s.bytes[i] : 0;
		}
		EXPECT_EQ(kept, o.layout.resident_bytes);
		EXPECT_LE(kept + 2 * o.layout.slot_bytes, budget);
	}
	/* With room for all of it only what is to be read every time is. */
	EXPECT_EQ(o.layout.nr_resident, s.nr - (s.nr + 4) / 10);
}

TEST(all_of_it_may_be_wished_for)
{
	static struct sizes s;
	static struct outcome o;

	make_tiles(&s, 4);
	memset(s.wishes, WEIR_TENSOR_PIN, s.nr);
	EXPECT_EQ(choose(&s, s.sum - 1, &o), -ENOSPC);
	EXPECT_EQ(o.layout.min_budget_bytes, s.sum);
	EXPECT_EQ(choose(&s, s.sum, &o), 0);
	EXPECT_EQ(o.layout.slot_bytes, 0u);
	memset(s.wishes, WEIR_TENSOR_STREAM, s.nr);
	EXPECT_EQ(choose(&s, 2 * s.largest, &o), 0);
	EXPECT_EQ(o.layout.nr_resident, 0u);
	EXPECT_EQ(o.layout.slot_bytes, s.largest);
}

TEST_HARNESS_MAIN
