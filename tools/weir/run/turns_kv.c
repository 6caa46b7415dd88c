/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a KV cache: inserted once, got back later, compared word by word.
 *
 * A block's words follow from its number, so a block of another one, an older one or a torn one
 * does not pass.
 */
#include "turns_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/util.h"

static uint64_t word_of(uint64_t block, uint64_t at)
{
	uint64_t z = (block + 1) * 0x9e3779b97f4a7c15u + at * 0xd1342543de82ef95u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	return z ^ z >> 27;
}

static void name_block(char name[WEIR_CACHE_NAME_BYTES], uint64_t block)
{
	(void)snprintf(name, WEIR_CACHE_NAME_BYTES, "kv.%" PRIu64, block);
}

static struct weir_cache_item item_of(const struct wr_turns_blocks *b, uint64_t block,
				      const char *name)
{
	return (struct weir_cache_item){.key = {.hi = word_of(block, UINT64_MAX), .lo = block},
					.bytes = b->bytes,
					.class_id = WEIR_CLASS_KV,
					.name = name};
}

int wr_turns_blocks_open(const struct wr_turns *t, struct weir_cache *cache,
			 struct wr_turns_trace *trace, struct wr_turns_kv *counts,
			 struct wr_turns_blocks *ret, struct weir_error *err)
{
	*ret = (struct wr_turns_blocks){.cache = cache,
					.trace = trace,
					.nr = t->kv_blocks,
					.bytes = t->kv_bytes,
					.counts = counts};
	if (!ret->nr)
		return 0;
	ret->words = calloc(1, ret->bytes);
	return ret->words ? 0
			  : wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
					 "no memory for a KV block");
}

void wr_turns_blocks_close(struct wr_turns_blocks *b)
{
	free(b->words);
	*b = (struct wr_turns_blocks){0};
}

static int put_one(struct wr_turns_blocks *b, uint64_t block, struct weir_error *err)
{
	char name[WEIR_CACHE_NAME_BYTES];
	struct weir_cache_item item;
	int rc;

	name_block(name, block);
	item = item_of(b, block, name);
	for (uint64_t i = 0; i < b->bytes / sizeof(*b->words); i++)
		b->words[i] = word_of(block, i);
	rc = weir_cache_insert(b->cache, &item, b->words);
	if (rc == -ENOSPC)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "no room for KV block %" PRIu64 " of %" PRIu64
				    ": raise --budget, or give a folder with --l3",
				    block + 1, b->nr);
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "putting KV block %" PRIu64 ": %s", block, weir_strerror(rc));
	wr_turns_trace_add(b->trace, WEIR_CLASS_KV, name, wr_align_up(b->bytes, (uint64_t)4096));
	b->counts->nr_put++;
	return 0;
}

int wr_turns_blocks_put(struct wr_turns_blocks *b, uint64_t done, uint64_t all,
			struct weir_error *err)
{
	uint64_t due = (uint64_t)((double)b->nr * (double)done / (double)all);
	int rc = 0;

	for (; !rc && b->nr_put < due; b->nr_put++)
		rc = put_one(b, b->nr_put, err);
	return rc;
}

static int check_one(struct wr_turns_blocks *b, uint64_t block, struct weir_error *err)
{
	char name[WEIR_CACHE_NAME_BYTES];
	struct weir_cache_item item;
	struct weir_pin pin;
	const uint64_t *words;
	bool same;
	int rc;

	name_block(name, block);
	item = item_of(b, block, name);
	rc = weir_cache_get(b->cache, &item, WEIR_CACHE_NO_FILL, &pin);
	b->counts->nr_checked++;
	if (rc == -ENOENT || rc == -EBADMSG) {
		b->counts->nr_lost++;
		return 0;
	}
	if (rc)
		return wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE,
				    "getting KV block %" PRIu64 ": %s", block, weir_strerror(rc));
	wr_turns_trace_add(b->trace, WEIR_CLASS_KV, name, wr_align_up(b->bytes, (uint64_t)4096));
	words = pin.data;
	same = pin.bytes == b->bytes;
	for (uint64_t i = 0; same && i < b->bytes / sizeof(*words); i++)
		same = words[i] == word_of(block, i);
	b->counts->nr_wrong += !same;
	return weir_cache_put(b->cache, &pin);
}

int wr_turns_blocks_check(struct wr_turns_blocks *b, uint64_t first, uint64_t end,
			  struct weir_error *err)
{
	int rc = 0;

	for (uint64_t i = first; !rc && i < end; i++)
		rc = check_one(b, i, err);
	return rc;
}
