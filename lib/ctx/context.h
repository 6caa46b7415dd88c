/* SPDX-License-Identifier: MIT */
/* The context's parts, for the files of this module. */
#ifndef WR_CTX_CONTEXT_H
#define WR_CTX_CONTEXT_H

#include <weir/weir.h>

enum wr_ctx_source { WR_CTX_IO, WR_CTX_POOL, WR_CTX_CACHE, WR_CTX_AHEAD };

/* One number of a part, for a registry that reads it. */
struct wr_ctx_series {
	struct weir *weir;
	enum wr_ctx_source source;
	uint32_t tier;	   /* of the cache */
	uint32_t class_id; /* of the cache; WEIR_NR_CLASSES: the sum of all */
	size_t at;	   /* in the source's statistics */
};

/* All [const] between open and close. */
struct weir {
	size_t budget_bytes; /* as asked for; the pool's capacity may be a page less */
	struct weir_topo *topo;
	struct weir_io *io;
	struct weir_pool *pool;
	struct weir_metrics *metrics;
	struct weir_knobs *knobs;
	struct weir_cache *cache; /* NULL: none */
	struct wr_ctx_series *series;
	size_t nr_series; /* only in weir_open() */
};

/* Show what engine, pool and cache count themselves in the context's registry. */
int wr_ctx_register_metrics(struct weir *weir);

#endif /* WR_CTX_CONTEXT_H */
