/* SPDX-License-Identifier: MIT */
/* The corpus of lock/corpus.h: all wrong programs are caught, all right ones leave it silent. */
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"

#include "lock/corpus.h"

/* ThreadSanitizer would end wrong programs for what ours is to find. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0:report_destroy_locked=0";
}

/* clang-format off */
FIXTURE(corpus) { int unused; };
FIXTURE_SETUP(corpus) { }
FIXTURE_TEARDOWN(corpus) { }
FIXTURE_VARIANT(corpus) { unsigned checks; };
FIXTURE_VARIANT_ADD(corpus, rank) { .checks = WR_LOCK_CHECK_RANK };
FIXTURE_VARIANT_ADD(corpus, graph) { .checks = WR_LOCK_CHECK_GRAPH };
FIXTURE_VARIANT_ADD(corpus, both) { .checks = WR_LOCK_CHECK_RANK | WR_LOCK_CHECK_GRAPH };
/* clang-format on */

static enum wr_lock_fault_kind expected(const struct corpus_program *p, unsigned checks)
{
	if (checks == WR_LOCK_CHECK_GRAPH)
		return p->by_graph;
	/* The list is looked at first, and what it finds is not learned. */
	return p->by_rank;
}

TEST_F(corpus, every_wrong_program_is_caught)
{
	unsigned nr_caught = 0, nr_expected = 0;

	for (unsigned i = 0; i < corpus_nr_wrong; i++) {
		const struct corpus_program *p = &corpus_wrong[i];
		enum wr_lock_fault_kind kind = expected(p, variant->checks);
		struct corpus_result got = corpus_run(p, variant->checks, 0);

		EXPECT_TRUE(got.ended) TH_LOG("%s: it did not end", p->name);
		EXPECT_EQ(got.first, kind) TH_LOG("%s", p->name);
		if (kind == WR_LOCK_FAULT_CYCLE)
			EXPECT_EQ(got.nr_cycle, p->nr_cycle) TH_LOG("%s", p->name);
		nr_expected += kind != CORPUS_SILENT;
		nr_caught += got.first != CORPUS_SILENT;
	}
	EXPECT_EQ(nr_caught, nr_expected);
	if (variant->checks != WR_LOCK_CHECK_GRAPH)
		EXPECT_EQ(nr_caught, corpus_nr_wrong);
	EXPECT_GE(nr_caught, 40u);
}

TEST_F(corpus, every_right_program_is_silent)
{
	EXPECT_GE(corpus_nr_right, 20u);
	for (unsigned i = 0; i < corpus_nr_right; i++) {
		struct corpus_result got = corpus_run(&corpus_right[i], variant->checks, 1);

		EXPECT_TRUE(got.ended) TH_LOG("%s: it did not end", corpus_right[i].name);
		EXPECT_EQ(got.nr_faults, 0u) TH_LOG("%s", corpus_right[i].name);
	}
}

static const struct corpus_program *program(unsigned i)
{
	return i < corpus_nr_wrong ? &corpus_wrong[i] : &corpus_right[i - corpus_nr_wrong];
}

TEST(no_program_is_a_copy_of_another)
{
	static char forms[256][CORPUS_FORM_BYTES];
	unsigned nr = corpus_nr_wrong + corpus_nr_right;

	ASSERT_LE(nr, wr_array_size(forms));
	for (unsigned i = 0; i < nr; i++) {
		corpus_form(program(i), forms[i]);
		for (unsigned j = 0; j < i; j++) {
			EXPECT_STRNE(forms[i], forms[j])
			TH_LOG("%s and %s", program(i)->name, program(j)->name);
			EXPECT_STRNE(program(i)->name, program(j)->name);
		}
	}
}

TEST_HARNESS_MAIN
