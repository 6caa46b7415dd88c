/* SPDX-License-Identifier: MIT */
/*
 * The scheduler by itself: how much speculation is in flight, alone and while reads come on demand.
 */
#include <stdlib.h>

#include "kselftest_harness.h"

#include "io/io_internal.h"

#define CHUNK ((size_t)64 << 10)
#define LIMIT (16 * CHUNK)
#define NR    32u

/* clang-format off */
FIXTURE(sched) {
	struct weir_io *io;
	struct wr_io_lane lane;
	struct weir_io_file file;
	struct wr_io_way way;
	struct wr_io_request requests[NR + 2];
	uint32_t nr;
};
/* clang-format on */

FIXTURE_SETUP(sched)
{
	self->io = aligned_alloc(64, (sizeof(*self->io) + 63) / 64 * 64);
	ASSERT_NE(self->io, NULL);
	memset(self->io, 0, sizeof(*self->io));
	self->io->opts = (struct weir_io_opts){
		.chunk_bytes = CHUNK, .demand_bytes = LIMIT, .speculative_bytes = LIMIT};
	self->lane.io = self->io;
	self->file.align = 1;
	ASSERT_EQ(wr_io_sched_init(&self->lane.sched, self->io, &self->lane, 64), 0);
}

FIXTURE_TEARDOWN(sched)
{
	struct wr_io_request *r;

	wr_io_sched_cancel_all(&self->lane.sched);
	while ((r = wr_io_sched_pop_ended(&self->lane.sched)))
		;
	wr_io_sched_fini(&self->lane.sched);
	free(self->io);
}

static void ask(FIXTURE_DATA(sched) * self, uint32_t io_class)
{
	struct wr_io_request *r = &self->requests[self->nr++];

	r->op = WR_IO_OP_READ;
	r->lane = &self->lane;
	r->way = &self->way;
	r->user = (struct weir_io_req){
		.file = &self->file, .bytes = CHUNK, .buf = self, .io_class = io_class};
	r->end = CHUNK;
	r->waiting_since_ns = wr_now_ns();
	TAILQ_INIT(&r->chunks);
	wr_io_sched_accept(&self->lane.sched, r);
}

/* All that goes; what that is in chunks. */
static uint32_t go(FIXTURE_DATA(sched) * self, struct wr_io_chunk **chunks)
{
	uint32_t nr = 0;

	while (nr < 64 && (chunks[nr] = wr_io_sched_next(&self->lane.sched)))
		nr++;
	return nr;
}

static void settle(FIXTURE_DATA(sched) * self, struct wr_io_chunk **chunks, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		wr_io_sched_settle(&self->lane.sched, chunks[i], 0);
}

TEST_F(sched, speculation_alone_has_its_limit)
{
	struct wr_io_chunk *chunks[64];

	for (uint32_t i = 0; i < NR; i++)
		ask(self, WEIR_IO_SPECULATIVE);
	EXPECT_EQ(go(self, chunks), 16u);
	settle(self, chunks, 16);
	EXPECT_EQ(go(self, chunks), 16u);
	settle(self, chunks, 16);
}

TEST_F(sched, next_to_demands_it_has_a_quarter_and_a_promotion_is_none)
{
	struct wr_io_chunk *chunks[64];
	uint32_t left = NR, nr;

	for (uint32_t i = 0; i < NR; i++)
		ask(self, WEIR_IO_SPECULATIVE);
	wr_io_sched_promote(&self->lane.sched, &self->requests[0]);
	nr = go(self, chunks);
	EXPECT_EQ(nr, 17u);
	settle(self, chunks, nr);
	left -= nr;
	EXPECT_EQ(self->lane.sched.cautious_until_ns, 0u);
	ask(self, WEIR_IO_DEMAND);
	EXPECT_GT(self->lane.sched.cautious_until_ns, 0u);
	self->lane.sched.cautious_until_ns = UINT64_MAX; /* however slow the machine is */
	nr = go(self, chunks);
	EXPECT_EQ(nr, 1u + 4u);
	settle(self, chunks, nr);
	left -= nr - 1;
	/* It goes on, a quarter at a time. */
	while (left) {
		nr = go(self, chunks);
		ASSERT_TRUE(nr > 0 && nr <= 4);
		settle(self, chunks, nr);
		left -= nr;
	}
	EXPECT_EQ(go(self, chunks), 0u);
}

TEST_F(sched, when_no_demand_has_come_for_a_while_it_has_all_of_it_again)
{
	struct wr_io_chunk *chunks[64];

	ask(self, WEIR_IO_DEMAND);
	EXPECT_EQ(go(self, chunks), 1u);
	settle(self, chunks, 1);
	self->lane.sched.cautious_until_ns = 1; /* as if that had been long ago */
	for (uint32_t i = 0; i < NR; i++)
		ask(self, WEIR_IO_SPECULATIVE);
	EXPECT_EQ(go(self, chunks), 16u);
	settle(self, chunks, 16);
	EXPECT_EQ(go(self, chunks), 16u);
	settle(self, chunks, 16);
}

TEST_HARNESS_MAIN
