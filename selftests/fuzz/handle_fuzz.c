/* SPDX-License-Identifier: MIT */
/*
 * Handles and compaction under operations from a file, four bytes each, against what a model
 * knows: which handle is live, how often it is pinned, where a pinned or unmovable block lies,
 * and what is in it. Whatever the operations are, no call may say or do anything else.
 */
#include <errno.h>

#include "fuzz/fuzz.h"
#include "pool/handle_help.h"

#define CAPACITY  ((size_t)1 << 20)
#define NR_BLOCKS 32u

struct fuzz_block {
	struct help_block b;
	struct weir_handle last; /* of a block that was freed here */
	uint32_t flags;
	unsigned nr_pins;
	void *p; /* where it must be, while it is pinned or cannot move */
};

struct fuzz {
	struct weir_pool *pool;
	struct fuzz_block blocks[NR_BLOCKS];
	uint64_t used_bytes;
	uint64_t next_seed;
};

static size_t rounded(size_t bytes)
{
	return (bytes + 4095) & ~(size_t)4095;
}

static void take(struct fuzz *f, struct fuzz_block *b, unsigned code)
{
	size_t bytes = ((size_t)(code & 0x3f) + 1) * 1000 & ~(size_t)7;
	uint32_t flags = code & 0x80 ? 0 : WEIR_HANDLE_MOVABLE;
	int rc = help_take(f->pool, bytes, WEIR_NODE_ANY, flags, f->next_seed++, &b->b);

	must(rc == 0 || rc == -ENOSPC);
	if (rc != 0)
		return;
	b->flags = flags;
	b->p = help_where(f->pool, &b->b);
	f->used_bytes += rounded(bytes);
}

static void drop(struct fuzz *f, struct fuzz_block *b)
{
	size_t bytes = b->b.bytes;
	int rc = weir_handle_free(f->pool, b->b.handle);

	must(rc == (b->nr_pins > 0 ? -EBUSY : 0));
	if (rc != 0)
		return;
	b->last = b->b.handle;
	b->b.bytes = 0;
	f->used_bytes -= rounded(bytes);
}

static void pin(struct fuzz *f, struct fuzz_block *b)
{
	void *p = NULL;

	must(weir_handle_pin(f->pool, b->b.handle, &p) == 0);
	must((b->nr_pins == 0 && b->flags) || p == b->p);
	must(help_is_filled(p, b->b.bytes, b->b.seed));
	b->b.seed = f->next_seed++;
	help_fill(p, b->b.bytes, b->b.seed);
	b->p = p;
	b->nr_pins++;
}

static void unpin(struct fuzz *f, struct fuzz_block *b)
{
	must(weir_handle_unpin(f->pool, b->b.handle) == (b->nr_pins > 0 ? 0 : -EINVAL));
	b->nr_pins -= b->nr_pins > 0;
}

/* A handle that was freed says so, whoever has its slot now. */
static void use_dead(struct fuzz *f, const struct fuzz_block *b)
{
	void *p;

	if (b->last.generation == 0)
		return;
	must(weir_handle_pin(f->pool, b->last, &p) == -ESTALE);
	must(weir_handle_unpin(f->pool, b->last) == -ESTALE);
	must(weir_handle_free(f->pool, b->last) == -ESTALE);
}

static void compact(struct fuzz *f, unsigned code, unsigned limit)
{
	struct weir_compact_opts o = {
		.size = sizeof(o),
		.target_bytes = (size_t)8192 << (code % 8),
		.nr_wanted = code & 0x80 ? WEIR_COMPACT_ALL : (code >> 3) & 0xf,
		.max_bytes = (uint64_t)limit * 4096,
	};
	struct weir_compact_report r;

	must(weir_pool_compact(f->pool, &o, &r) == 0);
	must(limit == 0 || r.moved_bytes <= o.max_bytes);
	must(r.nr_free_after == r.nr_free_before + r.nr_emptied);
	must(r.wasted_bytes == 0 && r.reason < WEIR_COMPACT_REASONS);
	must(r.reason != WEIR_COMPACT_REACHED ||
	     r.nr_free_after >= (o.nr_wanted ? o.nr_wanted : 1));
}

static void check(struct fuzz *f)
{
	struct weir_pool_stats s;
	struct fuzz_block *b;

	for (b = f->blocks; b < f->blocks + NR_BLOCKS; b++)
		must(b->b.bytes == 0 ||
		     (help_is_whole(f->pool, &b->b) &&
		      ((b->nr_pins == 0 && b->flags) || help_where(f->pool, &b->b) == b->p)));
	weir_pool_stats(f->pool, &s);
	must(s.used_bytes == f->used_bytes);
	must(s.free_bytes + s.used_bytes + s.cached_bytes == CAPACITY);
}

static void step(struct fuzz *f, const uint8_t *op)
{
	struct fuzz_block *b = &f->blocks[op[1] % NR_BLOCKS];

	switch (op[0] % 8) {
	case 0:
	case 1:
		if (b->b.bytes == 0)
			take(f, b, op[2]);
		else
			drop(f, b);
		break;
	case 2:
		if (b->b.bytes != 0)
			pin(f, b);
		break;
	case 3:
		if (b->b.bytes != 0)
			unpin(f, b);
		break;
	case 4:
		use_dead(f, b);
		break;
	case 5:
	case 6:
		compact(f, op[2], op[3]);
		break;
	default:
		check(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_machine machine;
	struct fuzz f = {.pool = help_open(&machine, 1, CAPACITY), .next_seed = 1};
	struct weir_pool_stats s;
	struct fuzz_block *b;

	must(f.pool != NULL);
	for (; size >= 4; data += 4, size -= 4)
		step(&f, data);
	check(&f);
	for (b = f.blocks; b < f.blocks + NR_BLOCKS; b++) {
		while (b->nr_pins > 0)
			unpin(&f, b);
		if (b->b.bytes != 0)
			drop(&f, b);
	}
	weir_pool_trim(f.pool, 0);
	weir_pool_stats(f.pool, &s);
	must(s.free_bytes == CAPACITY && s.largest_free_bytes == CAPACITY && s.nr_live == 0);
	weir_pool_close(f.pool);
	must(fake_machine_nr_mapped(&machine) == 0);
	return 0;
}
