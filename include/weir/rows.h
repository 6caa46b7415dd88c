/* SPDX-License-Identifier: MIT */
/**
 * weir/rows.h - Rows of a table that is too large to stay, such as an embedding.
 *
 * Of a token's embedding a token uses one row, some kilobytes of hundreds of megabytes. A table is
 * left out of a plan by a rule, and its rows are got by their numbers: out of the context's cache,
 * where each is an entry of its own, of the class WEIR_CLASS_WEIGHTS, and from the file, many reads
 * at a time.
 *
 *	struct weir_plan_rule rule = {"*embed_tokens.weight", WEIR_TENSOR_ROWS};
 *
 *	plan.rules = &rule, plan.nr_rules = 1;              of weir_stream_open()
 *	rc = weir_rows_open(weir, model, tensor, &rows, NULL);
 *	...
 *	rc = weir_rows_get(rows, tokens, nr_tokens, to, NULL);
 */
#ifndef WEIR_ROWS_H
#define WEIR_ROWS_H

#include <weir/base.h>
#include <weir/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir;
struct weir_rows;

/**
 * struct weir_rows_info - What there is, and what was done.
 * @row_bytes:  Of a row.
 * @nr_rows:    How many there are.
 * @entry_bytes: Memory that one takes in the cache, at most; what is read for it.
 * @nr_got:     Rows that were asked for, and
 * @nr_read:    reads for those that were not in memory;
 * @read_bytes: what they brought, with what lies around the rows.
 */
struct weir_rows_info {
	uint64_t row_bytes;
	uint64_t nr_rows;
	uint64_t entry_bytes;
	uint64_t nr_got;
	uint64_t nr_read;
	uint64_t read_bytes;
};

/**
 * weir_rows_open() - Make the rows of a tensor known to the context's cache.
 * @weir:   The context, opened with a cache; must outlive the rows.
 * @model:  The model; must outlive the rows.
 * @tensor: Of the model.
 * @ret:    The rows; untouched on failure.
 * @err:    On failure: why. May be NULL.
 *
 * Opens the model's files, checks that they are the ones that were indexed, and reads nothing yet.
 *
 * Context: Any thread. May block.
 * Owner:   The caller, until weir_rows_close().
 * Return:  0, -EINVAL (the context has no cache, or the tensor no rows), -ESTALE (a file changed
 *          since the model was opened), -EOVERFLOW, -ENOENT, -EACCES, -EMFILE, -ENOMEM, -EIO,
 *          -EOPNOTSUPP (see weir_io_file_open()).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_rows_open(struct weir *weir, const struct weir_model *model,
					    const struct weir_tensor *tensor,
					    struct weir_rows **ret, struct weir_error *err);

/**
 * weir_rows_close() - Take the rows out of the cache.
 * @rows: The rows, or NULL.
 *
 * Context: Any thread, when no other uses them. May block: for reads to end.
 * Since:   0.1
 */
WEIR_API void weir_rows_close(struct weir_rows *rows);

/**
 * weir_rows_get() - Gather rows.
 * @rows:    The rows.
 * @numbers: Array of @nr numbers of rows, in any order, also repeated.
 * @nr:      How many.
 * @to:      Where row @numbers[i] goes: @to + i * row_bytes.
 * @err:     On failure: why. May be NULL.
 *
 * Those that are not in memory are read 64 at a time, each once.
 *
 * Context: Any thread. May block.
 * Return:  0, -EINVAL (there is no such row, before anything is done), and the codes of
 *          weir_cache_get() and weir_io_read(): then @to is undefined.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_rows_get(struct weir_rows *rows, const uint64_t *numbers,
					   size_t nr, void *to, struct weir_error *err);

/**
 * weir_rows_info() - What there is, and what was done so far.
 * @rows: The rows.
 * @ret:  Filled.
 *
 * Context: Any thread. Takes no lock.
 * Since:   0.1
 */
WEIR_API void weir_rows_info(const struct weir_rows *rows, struct weir_rows_info *ret);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_ROWS_H */
