/* SPDX-License-Identifier: MIT */
/*
 * replay_gen.c - Traces made here, the same at every run, for what hosts do and for what breaks
 * policies.
 */
#include "replay_trace.h"

#include <errno.h>
#include <string.h>

#include "base/random.h"
#include "base/util.h"
#include "zipf.h"

struct gen {
	struct wr_trace *t;
	uint64_t block_bytes;
	uint64_t random;
	uint64_t fresh; /* the next thing that nobody has used */
	int rc;
};

static uint64_t draw(struct gen *g)
{
	return wr_splitmix64(&g->random);
}

static void use(struct gen *g, uint64_t space, uint64_t i, uint32_t kind)
{
	if (!g->rc)
		g->rc = wr_trace_add(g->t, (struct weir_key){.hi = space, .lo = i}, kind,
				     g->block_bytes);
}

static uint64_t draw_rank(struct gen *g, const struct wr_zipf *z)
{
	return wr_zipf_rank(z, draw(g));
}

static void loop(struct gen *g, uint64_t space, uint64_t nr, uint64_t rounds)
{
	for (uint64_t r = 0; r < rounds && !g->rc; r++)
		for (uint64_t i = 0; i < nr && !g->rc; i++)
			use(g, space, i, WR_TRACE_WEIGHTS);
}

static void zipf(struct gen *g, uint64_t space, uint64_t nr, double s, uint64_t refs)
{
	struct wr_zipf z;

	g->rc = g->rc ? g->rc : wr_zipf_init(&z, nr, s);
	if (g->rc)
		return;
	for (uint64_t r = 0; r < refs && !g->rc; r++)
		use(g, space, draw_rank(g, &z), WR_TRACE_OTHER);
	wr_zipf_fini(&z);
}

/* 80 layers of 64 tiles, 60 tokens: facts of a dense model. */
static void gen_loop(struct gen *g)
{
	loop(g, 1, 80 * 64, 60);
}

/* The shape of the loop in the traces of LIRS (Jiang and Zhang, SIGMETRICS 2002). */
static void gen_lirs(struct gen *g)
{
	loop(g, 1, 1011, 500);
}

static void gen_zipf80(struct gen *g)
{
	zipf(g, 1, 100000, 0.8, 1000000);
}

static void gen_zipf99(struct gen *g)
{
	zipf(g, 1, 100000, 0.99, 1000000);
}

/* Weights in turn, and between any two of them a block of a KV cache. */
static void gen_mix(struct gen *g)
{
	struct wr_zipf z;

	g->rc = wr_zipf_init(&z, 20000, 0.9);
	if (g->rc)
		return;
	for (uint64_t r = 0; r < 400000 && !g->rc; r++) {
		use(g, 1, r % (80 * 64), WR_TRACE_WEIGHTS);
		use(g, 2, draw_rank(g, &z), WR_TRACE_KV);
	}
	wr_zipf_fini(&z);
}

/* A hot set, and every 10,000 references a scan over 4,000 things that never come back. */
static void gen_scan(struct gen *g)
{
	struct wr_zipf z;

	g->rc = wr_zipf_init(&z, 5000, 0.7);
	if (g->rc)
		return;
	for (uint64_t r = 0; r < 30 && !g->rc; r++) {
		for (uint64_t i = 0; i < 10000; i++)
			use(g, 1, draw_rank(g, &z), WR_TRACE_OTHER);
		for (uint64_t i = 0; i < 4000; i++)
			use(g, 2, g->fresh++, WR_TRACE_OTHER);
	}
	wr_zipf_fini(&z);
}

/* Another load every 60,000 references: what was right before is wrong now. */
static void gen_phases(struct gen *g)
{
	for (uint64_t round = 0; round < 2; round++) {
		zipf(g, 10 + round, 20000, 0.9, 60000);
		loop(g, 20, 4000, 15);
		zipf(g, 30, 20000, 1.1, 60000);
		loop(g, 40 + round, 9000, 7);
	}
}

/* A conversation: each turn goes through its own past once more and adds to it. */
static void gen_turns(struct gen *g)
{
	uint64_t start[200] = {0}, length[200] = {0};

	for (uint64_t r = 0; r < 3000 && !g->rc; r++) {
		/* Who spoke lately is likely to speak again. */
		uint64_t who = (r / 20 + (uint64_t)(wr_random_unit(draw(g)) *
						    wr_random_unit(draw(g)) * 40)) %
			       200;
		uint64_t new_blocks = 4 + draw(g) % 24;

		if (!length[who] || length[who] > 300) {
			start[who] = g->fresh;
			length[who] = 0;
			g->fresh += 1000;
		}
		for (uint64_t i = 0; i < length[who] + new_blocks && !g->rc; i++)
			use(g, 1, start[who] + i, WR_TRACE_KV);
		length[who] += new_blocks;
	}
}

/* Experts: each layer uses 6 of 128, some more often than others, and what is popular drifts. */
static void gen_experts(struct gen *g)
{
	struct wr_zipf z;

	g->rc = wr_zipf_init(&z, 128, 0.8);
	if (g->rc)
		return;
	for (uint64_t token = 0; token < 256 && !g->rc; token++) {
		for (uint64_t layer = 0; layer < 48; layer++) {
			for (uint64_t k = 0; k < 6; k++) {
				uint64_t expert = draw_rank(g, &z) * 37 + layer * 11 +
						  (token + layer) / 64 * 5;

				use(g, layer, expert % 128, WR_TRACE_EXPERTS);
			}
		}
	}
	wr_zipf_fini(&z);
}

static const struct generator {
	const char *name;
	void (*run)(struct gen *g);
} generators[] = {
	{"loop", gen_loop},	{"lirs", gen_lirs},   {"zipf80", gen_zipf80},
	{"zipf99", gen_zipf99}, {"mix", gen_mix},     {"scan", gen_scan},
	{"phases", gen_phases}, {"turns", gen_turns}, {"experts", gen_experts},
};

const char *wr_trace_generator(size_t index)
{
	return index < wr_array_size(generators) ? generators[index].name : NULL;
}

int wr_trace_generate(const char *name, uint64_t block_bytes, struct wr_trace *t)
{
	struct gen g = {.t = t, .block_bytes = block_bytes, .random = 1};

	for (size_t i = 0; i < wr_array_size(generators); i++) {
		if (strcmp(generators[i].name, name))
			continue;
		generators[i].run(&g);
		return g.rc;
	}
	return -ENOENT;
}
