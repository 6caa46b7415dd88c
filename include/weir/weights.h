/* SPDX-License-Identifier: MIT */
/**
 * weir/weights.h - Where every tensor of a model lies, and in which order it is used.
 *
 * Opening a model reads headers only: safetensors (one file, or a directory with one
 * file or with model.safetensors.index.json and its shards) and GGUF version 2 and 3
 * (one file, a split set, or a directory with a text model and an mmproj file). The
 * result is one index: name, type, shape, file, offset, bytes of every tensor, and
 * groups in the order in which a forward pass uses them.
 *
 * Model files are hostile until checked. Every sum is checked against the size of the
 * file, every count is bounded by the bytes that are left, nothing is allocated by a
 * size that a file declares, and the data is never mapped: a file that shrinks later
 * is an error code, not a signal. What is refused is refused with the file, the byte
 * offset of what is wrong, and the numbers.
 *
 * Formats: safetensors, https://github.com/huggingface/safetensors (README and
 * safetensors/src/tensor.rs); GGUF, https://github.com/ggml-org/ggml (docs/gguf.md).
 */
#ifndef WEIR_WEIGHTS_H
#define WEIR_WEIGHTS_H

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_model;

/* Formats a model can have. */
enum weir_format {
	WEIR_FORMAT_SAFETENSORS = 1,
	WEIR_FORMAT_GGUF = 2,
};

/*
 * Element types. Block types hold weir_dtype_block_elems() elements in
 * weir_dtype_block_bytes() bytes.
 */
enum weir_dtype {
	WEIR_DTYPE_UNKNOWN = 0,
	WEIR_DTYPE_BOOL,
	WEIR_DTYPE_U8,
	WEIR_DTYPE_I8,
	WEIR_DTYPE_F8_E4M3,
	WEIR_DTYPE_F8_E5M2,
	WEIR_DTYPE_F8_E8M0,
	WEIR_DTYPE_U16,
	WEIR_DTYPE_I16,
	WEIR_DTYPE_F16,
	WEIR_DTYPE_BF16,
	WEIR_DTYPE_U32,
	WEIR_DTYPE_I32,
	WEIR_DTYPE_F32,
	WEIR_DTYPE_U64,
	WEIR_DTYPE_I64,
	WEIR_DTYPE_F64,
	WEIR_DTYPE_C64,
	WEIR_DTYPE_F4,	    /* two elements a byte */
	WEIR_DTYPE_F6_E2M3, /* four elements in three bytes */
	WEIR_DTYPE_F6_E3M2,
	WEIR_DTYPE_Q4_0,
	WEIR_DTYPE_Q4_1,
	WEIR_DTYPE_Q5_0,
	WEIR_DTYPE_Q5_1,
	WEIR_DTYPE_Q8_0,
	WEIR_DTYPE_Q8_1,
	WEIR_DTYPE_Q2_K,
	WEIR_DTYPE_Q3_K,
	WEIR_DTYPE_Q4_K,
	WEIR_DTYPE_Q5_K,
	WEIR_DTYPE_Q6_K,
	WEIR_DTYPE_Q8_K,
	WEIR_DTYPE_IQ1_S,
	WEIR_DTYPE_IQ1_M,
	WEIR_DTYPE_IQ2_XXS,
	WEIR_DTYPE_IQ2_XS,
	WEIR_DTYPE_IQ2_S,
	WEIR_DTYPE_IQ3_XXS,
	WEIR_DTYPE_IQ3_S,
	WEIR_DTYPE_IQ4_NL,
	WEIR_DTYPE_IQ4_XS,
	WEIR_DTYPE_TQ1_0,
	WEIR_DTYPE_TQ2_0,
	WEIR_DTYPE_MXFP4,
	WEIR_DTYPE_NVFP4,
	WEIR_DTYPE_Q1_0,
	WEIR_DTYPE_Q2_0,
	WEIR_DTYPE_F8_E4M3FNUZ,
	WEIR_DTYPE_F8_E5M2FNUZ,
	WEIR_DTYPE_COUNT,
};

/* What a group of tensors is for. */
enum weir_group_kind {
	WEIR_GROUP_OTHER = 0, /* names that no rule places; after all others */
	WEIR_GROUP_VISION,    /* part of the vision tower; before the text groups */
	WEIR_GROUP_EMBED,     /* token embedding */
	WEIR_GROUP_LAYER,     /* one decoder layer */
	WEIR_GROUP_NORM,      /* final norm */
	WEIR_GROUP_HEAD,      /* output projection, when not tied to the embedding */
};

/* Most dimensions a tensor may have. */
#define WEIR_MAX_DIMS 8

/**
 * struct weir_tensor - One tensor of a model. Immutable, owned by the model.
 * @name:        As in the file.
 * @dtype:       enum weir_dtype.
 * @nr_dims:     0 (a scalar) to WEIR_MAX_DIMS.
 * @dims:        Outermost first for both formats: the last one is contiguous.
 * @file:        Index for weir_model_file().
 * @group:       Index for weir_model_group().
 * @offset:      First byte in the file.
 * @bytes:       Size; 0 for a tensor with an empty dimension.
 * @nr_rows:     Product of all dimensions but the last, 1 for scalars and vectors'
 *               only row: @nr_rows * @row_bytes == @bytes. A row is what a tile never
 *               cuts. 0 when there are no bytes. 1 also when the type packs elements
 *               into shared bytes and a row does not end at one.
 * @row_bytes:   Size of one row; 0 when there are no bytes.
 * @nr_slices:   Experts held in the outermost dimension, each a contiguous extent of
 *               @bytes / @nr_slices; 1 for everything that is not an expert tensor.
 * @position:    Place in execution order over the whole model, from 0.
 * @expert:      Number of the expert that it is of, where each has tensors of its own, as in
 *               "layers.0.mlp.experts.5.up_proj.weight"; of a group with the experts 0 to some
 *               number, two at least. -1 for everything else.
 */
struct weir_tensor {
	const char *name;
	uint32_t dtype;
	uint32_t nr_dims;
	uint64_t dims[WEIR_MAX_DIMS];
	uint32_t file;
	uint32_t group;
	uint64_t offset;
	uint64_t bytes;
	uint64_t nr_rows;
	uint64_t row_bytes;
	uint32_t nr_slices;
	uint32_t position;
	int32_t expert;
};

/* How many experts it has anything of, counted from 0; 0: it is none's. */
static inline uint32_t weir_tensor_experts(const struct weir_tensor *tensor)
{
	if (!tensor->bytes)
		return 0;
	if (tensor->nr_slices > 1)
		return tensor->nr_slices;
	return tensor->expert >= 0 ? (uint32_t)tensor->expert + 1 : 0;
}

/**
 * struct weir_group - Tensors used together, in execution order.
 * @name:  For people: "visual.embed", "visual.blocks.3", "visual.deepstack.5" (what taps
 *         block 5, right behind it), "visual.merger", "embed", "layers.17", "norm", "head",
 *         "other". Of a model with several stacks of layers, all but the largest that is
 *         no encoder carry their prefix: "encoder.layers.3".
 * @kind:  enum weir_group_kind.
 * @layer: Number of the layer or vision block, -1 where there is none.
 * @first: Position of its first tensor; see weir_model_at().
 * @nr:    Tensors in it, at least 1.
 * @bytes: Sum of their sizes.
 */
struct weir_group {
	const char *name;
	uint32_t kind;
	int32_t layer;
	uint32_t first;
	uint32_t nr;
	uint64_t bytes;
};

/**
 * struct weir_model_file - One file of a model, as it was when opened.
 * @path:       Path to open it by.
 * @bytes:      Size.
 * @dev:        st_dev.
 * @ino:        st_ino.
 * @mtime_ns:   Modification time.
 * @data_offset: Where tensor data begins.
 */
struct weir_model_file {
	const char *path;
	uint64_t bytes;
	uint64_t dev;
	uint64_t ino;
	uint64_t mtime_ns;
	uint64_t data_offset;
};

/**
 * weir_model_open() - Index a model.
 * @path: A .safetensors or .gguf file, any file of a split GGUF, an index file
 *        (model.safetensors.index.json), or a directory that holds one model.
 * @ret:  The model; untouched on failure.
 * @err:  On failure: file, offset and reason. May be NULL.
 *
 * Files are told apart by content, not by name. In a directory model.safetensors wins
 * over an index, an index over other safetensors files, and those over GGUF files, of
 * which there may be one text model and one projector (mmproj); where that leaves a
 * choice the directory is refused. One shard of a sharded safetensors model opened by
 * itself is a model; one part of a split GGUF stands for all parts.
 *
 * The files an index names must lie beside it; links among them are followed. Tensors
 * of a shard that the index does not map to it are left out and logged. A wrong
 * total_size is logged.
 *
 * Reads headers only. Limits, all -EFBIG: 100,000,000 bytes of a safetensors header (as
 * the format's own reader), 1 GiB of GGUF metadata in 65,536 values, 64 MiB of an index,
 * 1,023 bytes of a tensor's name, WEIR_MAX_DIMS dimensions, 2^20 tensors, 4,096 shards,
 * an alignment of 1 MiB. Memory while reading: 256 KiB and what the index takes.
 *
 * Context: Any thread. May block, but not for the writer of a FIFO. Keeps no file open.
 * Owner:   The caller, until weir_model_close().
 * Cost:    About 0.6 us and 500 bytes a tensor, while reading 700.
 * Return:  0, -ENOENT (no such file, or a shard is missing), -ENOTDIR, -ELOOP,
 *          -ENAMETOOLONG, -EACCES, -EPERM, -EISDIR (a directory stands where a model
 *          has a file), -EINVAL (not a regular file or directory, or a directory without
 *          a model or with several), -EBADMSG (the file is malformed), -EOVERFLOW (its
 *          numbers wrap), -ENODATA (it is shorter than its header says), -EFBIG (a limit
 *          above), -EOPNOTSUPP (a version, byte order or type this library does not
 *          know), -EMFILE, -ENFILE, -ENOMEM, -EIO.
 * Since:   0.1
 */
WEIR_API WEIR_MUST_CHECK int weir_model_open(const char *path, struct weir_model **ret,
					     struct weir_error *err);

/**
 * weir_model_close() - Forget a model.
 * @model: The model, or NULL. No stream over it may be open.
 *
 * Context: Any thread.
 * Since:   0.1
 */
WEIR_API void weir_model_close(struct weir_model *model);

/**
 * weir_model_format() - Which format the files have.
 * @model: The model.
 *
 * Context: Any thread. Takes no lock, as everything below: a model is immutable.
 * Return:  enum weir_format.
 * Since:   0.1
 */
WEIR_API int weir_model_format(const struct weir_model *model);

/**
 * weir_format_name() - A format as text.
 * @format: enum weir_format.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "safetensors", "gguf" or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_format_name(int format);

/**
 * weir_model_nr_files() - How many files the model consists of.
 * @model: The model.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The number, at least 1.
 * Since:   0.1
 */
WEIR_API uint32_t weir_model_nr_files(const struct weir_model *model);

/**
 * weir_model_file() - One file of the model.
 * @model: The model.
 * @index: 0 to weir_model_nr_files() - 1.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The file, owned by the model; NULL when there is no such index.
 * Since:   0.1
 */
WEIR_API const struct weir_model_file *weir_model_file(const struct weir_model *model,
						       uint32_t index);

/**
 * weir_model_nr_tensors() - How many tensors the model has.
 * @model: The model.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The number; 0 for a model without any.
 * Since:   0.1
 */
WEIR_API uint32_t weir_model_nr_tensors(const struct weir_model *model);

/**
 * weir_model_tensor() - A tensor by index; indexes follow file and offset.
 * @model: The model.
 * @index: 0 to weir_model_nr_tensors() - 1.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The tensor, owned by the model; NULL when there is no such index.
 * Since:   0.1
 */
WEIR_API const struct weir_tensor *weir_model_tensor(const struct weir_model *model,
						     uint32_t index);

/**
 * weir_model_at() - A tensor by its place in execution order.
 * @model:    The model.
 * @position: 0 to weir_model_nr_tensors() - 1.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The tensor, owned by the model; NULL when there is no such position.
 * Since:   0.1
 */
WEIR_API const struct weir_tensor *weir_model_at(const struct weir_model *model, uint32_t position);

/**
 * weir_model_find() - A tensor by name.
 * @model: The model.
 * @name:  As in the file.
 *
 * Context: Any thread. Takes no lock.
 * Cost:    One hash, O(1).
 * Return:  The tensor, owned by the model; NULL when there is none of that name.
 * Since:   0.1
 */
WEIR_API const struct weir_tensor *weir_model_find(const struct weir_model *model,
						   const char *name);

/**
 * weir_model_nr_groups() - How many groups the model has.
 * @model: The model.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The number; 0 for a model without tensors.
 * Since:   0.1
 */
WEIR_API uint32_t weir_model_nr_groups(const struct weir_model *model);

/**
 * weir_model_group() - A group by its place in execution order.
 * @model: The model.
 * @index: 0 to weir_model_nr_groups() - 1.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The group, owned by the model; NULL when there is no such index.
 * Since:   0.1
 */
WEIR_API const struct weir_group *weir_model_group(const struct weir_model *model, uint32_t index);

/**
 * weir_group_kind_name() - A kind of group as text.
 * @kind: enum weir_group_kind.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "other", "vision", "embed", "layer", "norm", "head" or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_group_kind_name(int kind);

/**
 * weir_dtype_name() - A type as text, spelt as its format spells it.
 * @dtype: enum weir_dtype.
 *
 * Context: Any thread. Takes no lock.
 * Return:  "BF16", "Q4_K", ... or "unknown"; static storage.
 * Since:   0.1
 */
WEIR_API const char *weir_dtype_name(int dtype);

/**
 * weir_dtype_block_elems() - Elements in one block of a type.
 * @dtype: enum weir_dtype.
 *
 * Context: Any thread. Takes no lock.
 * Return:  1 for plain types, 2 or 4 for packed ones, 32 to 256 for quantised ones, 0
 *          for unknown.
 * Since:   0.1
 */
WEIR_API uint32_t weir_dtype_block_elems(int dtype);

/**
 * weir_dtype_block_bytes() - Bytes in one block of a type.
 * @dtype: enum weir_dtype.
 *
 * Context: Any thread. Takes no lock.
 * Return:  The size, 0 for unknown.
 * Since:   0.1
 */
WEIR_API uint32_t weir_dtype_block_bytes(int dtype);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_WEIGHTS_H */
