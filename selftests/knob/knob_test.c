/* SPDX-License-Identifier: MIT */
/* Knobs: bounds, names, what people type, one value for all threads. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "kselftest_harness.h"

#include <weir/knob.h>

#include "base/alloc.h"
#include "base/util.h"

static const struct weir_knob_desc chunk = {
	.name = "io.chunk_bytes",
	.unit = "bytes",
	.help = "How much one read asks for",
	.default_value = 1 << 20,
	.min = 4096,
	.max = 16 << 20,
};

/* clang-format off */
FIXTURE(knobs) {
	struct weir_knobs *k;
	uint32_t id;
	int64_t live;
};
/* clang-format on */

FIXTURE_SETUP(knobs)
{
	self->live = wr_test_alloc_live();
	ASSERT_EQ(weir_knobs_open(&self->k), 0);
	ASSERT_EQ(weir_knob_register(self->k, &chunk, &self->id), 0);
}

FIXTURE_TEARDOWN(knobs)
{
	weir_knobs_close(self->k);
	weir_knobs_close(NULL);
	EXPECT_EQ(wr_test_alloc_live(), self->live);
}

TEST_F(knobs, a_knob_starts_at_its_default)
{
	EXPECT_EQ(weir_knob_get(self->k, self->id), 1u << 20);
	EXPECT_EQ(weir_knob_count(self->k), 1u);
}

TEST_F(knobs, both_bounds_are_allowed_and_nothing_beyond)
{
	EXPECT_EQ(weir_knob_set(self->k, self->id, 4096), 0);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 4096u);
	EXPECT_EQ(weir_knob_set(self->k, self->id, 4095), -ERANGE);
	EXPECT_EQ(weir_knob_set(self->k, self->id, 16 << 20), 0);
	EXPECT_EQ(weir_knob_set(self->k, self->id, (16 << 20) + 1), -ERANGE);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 16u << 20);
}

TEST_F(knobs, an_id_that_does_not_exist_reads_zero_and_cannot_be_set)
{
	struct weir_knob knob;

	EXPECT_EQ(weir_knob_get(self->k, 1), 0u);
	EXPECT_EQ(weir_knob_get(self->k, UINT32_MAX), 0u);
	EXPECT_EQ(weir_knob_set(self->k, 1, 4096), -ENOENT);
	EXPECT_EQ(weir_knob_at(self->k, 1, &knob), -ENOENT);
}

TEST_F(knobs, a_knob_registered_again_keeps_its_value)
{
	struct weir_knob_desc other = chunk;
	uint32_t id = 99;

	ASSERT_EQ(weir_knob_set(self->k, self->id, 8192), 0);
	ASSERT_EQ(weir_knob_register(self->k, &chunk, &id), 0);
	EXPECT_EQ(id, self->id);
	EXPECT_EQ(weir_knob_get(self->k, id), 8192u);
	other.max++;
	EXPECT_EQ(weir_knob_register(self->k, &other, &id), -EEXIST);
	EXPECT_EQ(weir_knob_count(self->k), 1u);
}

TEST_F(knobs, a_description_against_the_rules_is_refused)
{
	char long_name[65];
	uint32_t id = 99;

	memset(long_name, 'a', sizeof(long_name));
	long_name[64] = '\0';
	struct weir_knob_desc bad[] = {
		{"", "", "", 0, 0, 0},	 {"Big", "", "", 0, 0, 0}, {"a=b", "", "", 0, 0, 0},
		{NULL, "", "", 0, 0, 0}, {"a", NULL, "", 0, 0, 0}, {"a", "", NULL, 0, 0, 0},
		{"a", "", "", 1, 2, 3},	 {"a", "", "", 4, 2, 3},   {long_name, "", "", 0, 0, 0},
	};

	for (size_t i = 0; i < wr_array_size(bad); i++) {
		EXPECT_EQ(weir_knob_register(self->k, &bad[i], &id), -EINVAL)
		{
			TH_LOG("case %zu", i);
		}
	}
	long_name[63] = '\0';
	bad[8].name = long_name;
	EXPECT_EQ(weir_knob_register(self->k, &bad[8], &id), 0);
}

TEST_F(knobs, a_table_that_is_full_says_so)
{
	struct weir_knob_desc desc = chunk;
	char name[24];
	uint32_t id;

	desc.name = name;
	for (uint32_t i = 1; i < WEIR_KNOBS_MAX; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		ASSERT_EQ(weir_knob_register(self->k, &desc, &id), 0);
		EXPECT_EQ(id, i);
	}
	snprintf(name, sizeof(name), "last");
	EXPECT_EQ(weir_knob_register(self->k, &desc, &id), -ENOSPC);
}

TEST_F(knobs, what_people_type_moves_it)
{
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=2M", NULL), 0);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 2u << 20);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=8192", NULL), 0);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 8192u);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=default", NULL), 0);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 1u << 20);
}

TEST_F(knobs, what_people_mistype_is_explained)
{
	struct weir_error err;
	char long_text[300];

	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes", &err), -EINVAL);
	EXPECT_EQ(weir_knob_set_text(self->k, "=5", &err), -EINVAL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=", &err), -EINVAL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes= 4096", &err), -EINVAL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=-1", &err), -EINVAL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk=4096", &err), -ENOENT);
	EXPECT_NE(strstr(err.message, "io.chunk"), NULL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=1T", &err), -ERANGE);
	EXPECT_EQ(err.code, -ERANGE);
	EXPECT_NE(strstr(err.message, "from 4096 to 16777216 bytes"), NULL);
	EXPECT_EQ(weir_knob_set_text(self->k, "io.chunk_bytes=99999999999999999999", &err),
		  -ERANGE);
	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text + sizeof(long_text) - 3, "=1", 3);
	EXPECT_EQ(weir_knob_set_text(self->k, long_text, &err), -ENOENT);
	EXPECT_EQ(weir_knob_get(self->k, self->id), 1u << 20);
}

TEST_F(knobs, everything_about_a_knob_can_be_listed)
{
	struct weir_knob knob;
	uint32_t id;

	ASSERT_EQ(weir_knob_set(self->k, self->id, 8192), 0);
	ASSERT_EQ(weir_knob_at(self->k, 0, &knob), 0);
	EXPECT_STREQ(knob.desc.name, chunk.name);
	EXPECT_STREQ(knob.desc.unit, chunk.unit);
	EXPECT_STREQ(knob.desc.help, chunk.help);
	EXPECT_EQ(knob.desc.default_value, chunk.default_value);
	EXPECT_EQ(knob.desc.min, chunk.min);
	EXPECT_EQ(knob.desc.max, chunk.max);
	EXPECT_EQ(knob.value, 8192u);
	EXPECT_EQ(weir_knob_find(self->k, "io.chunk_bytes", &id), 0);
	EXPECT_EQ(id, 0u);
	EXPECT_EQ(weir_knob_find(self->k, "io.chunk_byte", &id), -ENOENT);
}

static void *register_many(void *arg)
{
	struct weir_knob_desc desc = chunk;
	char name[24];
	uint32_t id;
	intptr_t wrong = 0;

	desc.name = name;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "shared%d", i);
		wrong += weir_knob_register(arg, &desc, &id) != 0;
		wrong += weir_knob_set(arg, id, 8192) != 0;
		wrong += weir_knob_get(arg, id) != 8192;
	}
	return (void *)wrong;
}

TEST_F(knobs, threads_that_register_the_same_names_get_one_knob_each)
{
	pthread_t threads[4];
	void *wrong;

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, register_many, self->k), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &wrong);
		EXPECT_EQ(wrong, NULL);
	}
	EXPECT_EQ(weir_knob_count(self->k), 101u);
}

TEST_F(knobs, every_refused_allocation_is_reported_and_leaves_nothing)
{
	struct weir_knobs *k;
	int64_t live = wr_test_alloc_live();
	uint64_t n = 0;
	uint32_t id;
	int rc;

	do {
		n++;
		wr_test_alloc_fail_at(n);
		rc = weir_knobs_open(&k);
		if (rc == 0) {
			rc = weir_knob_register(k, &chunk, &id);
			EXPECT_EQ(weir_knob_count(k), rc == 0 ? 1u : 0u);
			weir_knobs_close(k);
		}
		EXPECT_EQ(rc, wr_test_alloc_failed() ? -ENOMEM : 0);
		EXPECT_EQ(wr_test_alloc_live(), live);
	} while (wr_test_alloc_failed());
	wr_test_alloc_fail_at(0);
	EXPECT_EQ(n, 5u);
}

TEST_HARNESS_MAIN
