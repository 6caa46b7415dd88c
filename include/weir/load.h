/* SPDX-License-Identifier: MIT */
/**
 * weir/load.h - Tensors in memory: what a view shows, and a model that was read at once.
 *
 * A part is rows of a tensor in a file; a view is the same rows in memory. weir_load(), in
 * weir/stream.h, reads all parts of a plan at once and keeps them until weir_unload(); for a
 * model that does not fit, a stream yields views one unit after the other.
 */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include <weir/base.h>
#include <weir/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_loaded;

/**
 * struct weir_part - What one view of a unit shows: whole rows of a tensor.
 * @tensor:    The tensor, owned by the model.
 * @first_row: First row, of @tensor->nr_rows.
 * @nr_rows:   Rows in the part, at least 1. A tensor without bytes is in no unit.
 * @offset:    First byte in the tensor's file.
 * @bytes:     Size.
 */
struct weir_part {
	const struct weir_tensor *tensor;
	uint64_t first_row;
	uint64_t nr_rows;
	uint64_t offset;
	uint64_t bytes;
};

/**
 * struct weir_view - Bytes a host may read.
 * @tensor:    The tensor, owned by the model.
 * @first_row: First row, of @tensor->nr_rows.
 * @nr_rows:   Rows in the view.
 * @data:      First byte. Aligned as in the file modulo 4096: checkpoints give 8 bytes,
 *             GGUF files 32. Valid for as
 *             long as the call that filled the view says.
 * @bytes:     Size.
 */
struct weir_view {
	const struct weir_tensor *tensor;
	uint64_t first_row;
	uint64_t nr_rows;
	const void *data;
	uint64_t bytes;
};

/**
 * weir_unload() - Give the memory back to the context.
 * @loaded: The loaded tensors, or NULL. Views of them become invalid.
 *
 * Context: Any thread, when no other uses them.
 * Since:   0.1
 */
WEIR_API void weir_unload(struct weir_loaded *loaded);

/**
 * weir_loaded_view() - The bytes of a loaded tensor.
 * @loaded: The loaded tensors.
 * @tensor: A tensor of the model they were loaded from.
 * @ret:    The view; untouched on failure. Valid until weir_unload().
 *
 * Context: Any thread. Takes no lock.
 * Return:  0, -ENOENT (the plan did not visit it, or it has no bytes), -EINVAL (not of
 *          this model).
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_loaded_view(const struct weir_loaded *loaded,
					      const struct weir_tensor *tensor,
					      struct weir_view *ret);

/**
 * weir_loaded_bytes() - Bytes read from files to load them, over-read included.
 * @loaded: The loaded tensors.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The number.
 * Since:   0.1
 */
WEIR_API uint64_t weir_loaded_bytes(const struct weir_loaded *loaded);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_LOAD_H */
