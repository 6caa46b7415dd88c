/* SPDX-License-Identifier: MIT */
/* Loading everything at once, on the parts of a context; ctx wires them to struct weir. */
#ifndef WR_LOAD_LOADING_H
#define WR_LOAD_LOADING_H

#include <weir/io.h>
#include <weir/load.h>
#include <weir/pool.h>

/*
 * Read @parts, each a whole tensor of @model with bytes, into memory of @pool: at most
 * @budget_bytes of it, 0 for all that is free. As weir_load() otherwise.
 */
int wr_load_open(struct weir_io *io, struct weir_pool *pool, uint64_t budget_bytes,
		 const struct weir_model *model, const struct weir_part *parts, uint32_t nr,
		 struct weir_loaded **ret, struct weir_error *err);

#endif /* WR_LOAD_LOADING_H */
