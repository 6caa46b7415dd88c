/* SPDX-License-Identifier: MIT */
/*
 * Pointers to small things against a list of what is live: sizes from nothing to more than a
 * block, in pools with blocks of 4 to 64 KiB. No two live ones overlap or change each other's
 * bytes, each is as large and as aligned as it says, and what is not the beginning of a live
 * one is refused: the middle, what was freed, what is another's. With the last one of a block
 * the block is back.
 */
#include <errno.h>
#include <string.h>

#include <weir/pool_malloc.h>

#include "base/alloc.h"
#include "base/util.h"
#include "fuzz/fuzz.h"
#include "pool/fake_machine.h"

#define CAPACITY (1ull << 20)
#define MOST	 256u
#define UNIT	 256u

struct one {
	uint8_t *ptr; /* NULL: not live */
	size_t bytes; /* usable */
};

static struct one ones[MOST];
static uint16_t owner[CAPACITY / UNIT]; /* 0: nobody */
static struct weir_pool *pool;
static uint8_t *base;
static size_t block_bytes;
static uint64_t nr_small, nr_bad;

/* What a pointer to so many bytes has: a power of two up to half a block, else whole blocks. */
static size_t usable_for(size_t bytes)
{
	size_t usable = wr_max((size_t)UNIT, block_bytes / 64);

	if (bytes > block_bytes / 2)
		return wr_align_up(bytes, block_bytes);
	while (usable < bytes)
		usable *= 2;
	return usable;
}

static size_t bytes_for(uint8_t a, uint8_t b)
{
	if (a & 1)
		return ((size_t)1 << (b % 17)) - (b >> 7);
	return ((size_t)a << 8 | b) % (2 * block_bytes);
}

static bool is_small(const struct one *o)
{
	return o->bytes <= block_bytes / 2;
}

static void mark(unsigned i, bool live)
{
	struct one *o = &ones[i];
	size_t first = (size_t)(o->ptr - base) / UNIT;
	size_t k;

	must(o->ptr >= base && first + o->bytes / UNIT <= wr_array_size(owner));
	for (k = first; k < first + o->bytes / UNIT; k++) {
		must(owner[k] == (live ? 0 : i + 1));
		owner[k] = live ? (uint16_t)(i + 1) : 0;
		must(live || base[k * UNIT] == (uint8_t)i);
	}
	if (live)
		memset(o->ptr, (int)i, o->bytes);
	if (is_small(o))
		nr_small = live ? nr_small + 1 : nr_small - 1;
}

static void begin(unsigned i, void *ptr, size_t asked)
{
	struct one *o = &ones[i];

	o->ptr = ptr;
	o->bytes = usable_for(asked);
	must(weir_pool_usable_bytes(pool, ptr) == o->bytes);
	must((uintptr_t)ptr % (is_small(o) ? o->bytes : 4096) == 0);
	mark(i, true);
}

static void take(unsigned i, size_t asked)
{
	void *p;

	if (ones[i].ptr)
		return;
	p = weir_pool_malloc(pool, asked);
	if (p)
		begin(i, p, asked);
}

static void refuse(uint8_t *ptr)
{
	must(weir_pool_usable_bytes(pool, ptr) == 0);
	must(weir_pool_realloc(pool, ptr, 1) == NULL);
	must(weir_pool_ptr_free(pool, ptr) == -EINVAL);
	nr_bad++;
}

/* Given back, and then once more: nobody else has it meanwhile. */
static void give(unsigned i)
{
	struct one *o = &ones[i];
	uint8_t *ptr = o->ptr;

	if (!ptr)
		return;
	mark(i, false);
	o->ptr = NULL;
	must(weir_pool_ptr_free(pool, ptr) == 0);
	refuse(ptr);
}

static void change(unsigned i, size_t asked)
{
	struct one old = ones[i];
	size_t kept, k;
	uint8_t *p;

	if (!old.ptr) {
		take(i, asked);
		return;
	}
	p = weir_pool_realloc(pool, old.ptr, asked);
	if (!p || p == old.ptr) {
		must(!p || asked <= old.bytes);
		must(weir_pool_usable_bytes(pool, old.ptr) == old.bytes);
		return;
	}
	kept = wr_min(old.bytes, asked);
	for (k = 0; k < kept; k++)
		must(p[k] == (uint8_t)i);
	/* The old memory is free; its bytes are as they were until somebody takes it. */
	mark(i, false);
	begin(i, p, asked);
}

/* Anywhere: in the middle, where something was, or outside. */
static void forge(unsigned i, uint8_t a)
{
	uint8_t outside[UNIT];
	uint8_t *at = base + ((size_t)i << 8 | a) * 16 % CAPACITY;
	unsigned who = owner[(size_t)(at - base) / UNIT];

	if (ones[i].ptr && a % 2)
		refuse(ones[i].ptr + 1 + a % (ones[i].bytes - 1));
	else if (a % 16 == 0)
		refuse(outside);
	else if (who == 0 || ones[who - 1].ptr != at)
		refuse(at);
}

static void look(void)
{
	struct weir_pool_stats s;

	weir_pool_stats(pool, &s);
	must(s.nr_slab_objects == nr_small && s.nr_bad_frees == nr_bad);
	must(s.free_bytes + s.used_bytes + s.cached_bytes == CAPACITY);
	must(s.slab_bytes <= s.used_bytes && s.slab_bytes <= nr_small * block_bytes);
	must(nr_small > 0 || s.slab_bytes == 0);
}

static void run(const uint8_t *data, size_t size)
{
	size_t i;

	for (i = 0; i + 4 <= size && i < 4 * 1000; i += 4) {
		unsigned which = data[i + 1];

		if (data[i] % 16 < 7)
			take(which, bytes_for(data[i + 2], data[i + 3]));
		else if (data[i] % 16 < 10)
			change(which, bytes_for(data[i + 2], data[i + 3]));
		else if (data[i] % 16 < 13)
			give(which);
		else if (data[i] % 16 < 15)
			forge(which, data[i + 2]);
		else
			look();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_machine machine;
	unsigned i;

	if (size == 0)
		return 0;
	memset(ones, 0, sizeof(ones));
	memset(owner, 0, sizeof(owner));
	nr_small = nr_bad = 0;
	block_bytes = (size_t)4096 << data[0] % 5;
	pool = fake_machine_pool(&machine, CAPACITY, block_bytes, &base);
	must(pool != NULL);
	run(data + 1, size - 1);
	look();
	for (i = 0; i < MOST; i++)
		give(i);
	look();
	weir_pool_close(pool);
	must(wr_test_alloc_live() == 0);
	return 0;
}
