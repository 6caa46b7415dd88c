/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of the weights parsers do with a table that was accepted: build the model that it
 * makes and hold it against what its header promises. Whatever a parser lets through must be safe
 * to stream from.
 */
#ifndef SELFTESTS_FUZZ_WEIGHTS_FUZZ_H
#define SELFTESTS_FUZZ_WEIGHTS_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fuzz/fuzz.h"
#include "weights/weights_internal.h"

static inline void must_tensor(const struct weir_model *m, const struct weir_tensor *t,
			       uint64_t file_bytes)
{
	must(t->name != NULL && strlen(t->name) <= WR_TENSOR_NAME_MOST);
	must(t->dtype > 0 && t->dtype < WEIR_DTYPE_COUNT);
	must(t->nr_dims <= WEIR_MAX_DIMS);
	must(t->offset <= file_bytes && t->bytes <= file_bytes - t->offset);
	must(t->nr_rows * t->row_bytes == t->bytes);
	must(t->nr_slices > 0 && t->bytes % t->nr_slices == 0);
	must(t->group < weir_model_nr_groups(m));
	must(weir_model_at(m, t->position) == t);
	must(weir_model_find(m, t->name) == t);
}

static inline void must_model(const struct weir_model *m, uint64_t file_bytes)
{
	uint32_t at = 0;
	uint64_t end = 0;

	for (uint32_t i = 0; i < weir_model_nr_tensors(m); i++) {
		const struct weir_tensor *t = weir_model_tensor(m, i);

		must_tensor(m, t, file_bytes);
		must(t->bytes == 0 || t->offset >= end);
		end = t->bytes != 0 ? t->offset + t->bytes : end;
	}
	for (uint32_t g = 0; g < weir_model_nr_groups(m); g++) {
		must(weir_model_group(m, g)->first == at);
		must(weir_model_group(m, g)->nr > 0);
		at += weir_model_group(m, g)->nr;
	}
	must(at == weir_model_nr_tensors(m));
}

/* Takes the table over. */
static inline void use_table(struct wr_table *table, uint64_t file_bytes)
{
	struct weir_model *m = wr_calloc(1, sizeof(*m));
	struct wr_config config = {.nr_deepstack = 1, .deepstack = {3}};

	must(m != NULL);
	m->table = *table;
	must(wr_model_finish(m, table->nr % 2 != 0 ? &config : NULL) == 0);
	must_model(m, file_bytes);
	weir_model_close(m);
}

/* An error that was returned must have been described. */
static inline void must_error(int code, const struct weir_error *err, uint64_t file_bytes)
{
	must(code < 0 && err->code == code && err->message[0] != '\0');
	must(err->offset == WEIR_OFFSET_NONE || err->offset <= file_bytes);
}

/* What a parser of a whole file returned; takes the source and the table over. */
static inline void must_have_parsed(int code, struct wr_src *src, struct wr_table *table,
				    const struct weir_error *err, uint64_t file_bytes)
{
	if (code == 0) {
		use_table(table, file_bytes);
	} else {
		must_error(code, err, file_bytes);
		wr_table_fini(table);
	}
	wr_src_fini(src);
}

#endif /* SELFTESTS_FUZZ_WEIGHTS_FUZZ_H */
