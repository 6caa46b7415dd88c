/* SPDX-License-Identifier: MIT */
/*
 * The pattern is a sequence of 64-bit numbers that starts at the seed, so a block that was
 * mixed up with another, shifted or cut differs at once.
 */
#include <stdio.h>
#include <string.h>

#include <weir/log.h>

#include "handle_help.h"

#include "base/random.h"

struct weir_pool *help_open(struct fake_machine *m, int nr_nodes, size_t capacity_bytes)
{
	struct weir_pool_opts opts = {.size = sizeof(opts),
				      .capacity_bytes = capacity_bytes,
				      .page_kinds = 1u << WEIR_PAGE_4K};
	struct weir_pool *pool = NULL;

	fake_machine_init(m, nr_nodes);
	return wr_pool_open_on(&m->system, &opts, &pool, NULL) == 0 ? pool : NULL;
}

void help_fill(void *p, size_t bytes, uint64_t seed)
{
	uint64_t *words = p;
	size_t i;

	for (i = 0; i < bytes / sizeof(*words); i++)
		words[i] = seed + i * 0x9e3779b97f4a7c15ull;
}

bool help_is_filled(const void *p, size_t bytes, uint64_t seed)
{
	const uint64_t *words = p;
	size_t i;

	for (i = 0; i < bytes / sizeof(*words); i++)
		if (words[i] != seed + i * 0x9e3779b97f4a7c15ull)
			return false;
	return true;
}

static int fill_block(struct weir_pool *pool, const struct help_block *b)
{
	void *p;
	int rc = weir_handle_pin(pool, b->handle, &p);

	if (rc != 0)
		return rc;
	help_fill(p, b->bytes, b->seed);
	return weir_handle_unpin(pool, b->handle);
}

int help_take(struct weir_pool *pool, size_t bytes, int node, uint32_t flags, uint64_t seed,
	      struct help_block *ret)
{
	struct help_block b = {.bytes = bytes, .seed = seed};
	int rc;

	rc = weir_handle_alloc(pool, bytes, node, flags, "test", &b.handle);
	if (rc == 0)
		rc = fill_block(pool, &b);
	if (rc == 0)
		*ret = b;
	return rc;
}

bool help_is_whole(struct weir_pool *pool, const struct help_block *b)
{
	bool same;
	void *p;

	if (weir_handle_pin(pool, b->handle, &p) != 0)
		return false;
	same = help_is_filled(p, b->bytes, b->seed);
	return weir_handle_unpin(pool, b->handle) == 0 && same;
}

void *help_where(struct weir_pool *pool, const struct help_block *b)
{
	void *p;

	if (weir_handle_pin(pool, b->handle, &p) != 0)
		return NULL;
	return weir_handle_unpin(pool, b->handle) == 0 ? p : NULL;
}

int help_drop(struct weir_pool *pool, struct help_block *b)
{
	int rc = b->bytes ? weir_handle_free(pool, b->handle) : 0;

	if (rc == 0)
		b->bytes = 0;
	return rc;
}

size_t help_fragment(struct weir_pool *pool, size_t bytes, uint64_t seed, struct help_block *blocks,
		     size_t max_blocks)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	struct help_block *b;
	size_t i, nr;

	for (nr = 0; nr < max_blocks; nr++) {
		b = &blocks[nr];
		if (weir_handle_alloc(pool, bytes, WEIR_NODE_ANY, WEIR_HANDLE_MOVABLE, "test",
				      &b->handle) != 0)
			break;
		b->bytes = bytes;
		b->seed = nr;
	}
	for (i = 0; i < nr; i++) {
		if (wr_xorshift64(&random) % 8 != 0)
			(void)help_drop(pool, &blocks[i]);
		else if (fill_block(pool, &blocks[i]) != 0)
			return 0;
	}
	return nr;
}

static void hear(void *arg, int level, const char *module, const char *text)
{
	struct help_log *log = arg;

	(void)level;
	(void)module;
	log->nr++;
	snprintf(log->text, sizeof(log->text), "%s", text);
}

void help_listen(struct help_log *log)
{
	memset(log, 0, sizeof(*log));
	if (weir_log_set(hear, log, WEIR_LOG_DEBUG) != 0)
		log->nr = -1;
}
