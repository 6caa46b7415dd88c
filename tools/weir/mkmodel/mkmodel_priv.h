/* SPDX-License-Identifier: MIT */
/*
 * What the parts of `weir mkmodel` share: a description of a model, the list of tensors that follows
 * from it, and a plan of files that are rendered byte range by byte range.
 *
 * The parts build on each other in one direction:
 *
 *   models -> shapes -> st | gguf -> plan of files -> render (fill) -> write
 *
 * A file of a plan is a pure function of its offset: any thread can render any byte range of it, so
 * that the bytes written do not depend on the number of threads or on the size of the chunks.
 */
#ifndef MKMODEL_PRIV_H
#define MKMODEL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

#define WR_MK_MAX_DIMS	    5
#define WR_MK_MAX_DEEPSTACK 3
#define WR_MK_NAME_BYTES    96
/* What the published checkpoints were split at; decimal gigabytes. */
#define WR_MK_SHARD_BYTES UINT64_C(5000000000)
#define WR_MK_GGUF_ALIGN  UINT64_C(32)

/* Element types that mkmodel writes. */
enum wr_mk_dtype {
	WR_MK_BF16,
	WR_MK_F16,
	WR_MK_F32,
	WR_MK_Q8_0,
	WR_MK_NR_DTYPES,
};

struct wr_mk_dtype_info {
	const char *name;    /* upper case, as both formats spell it */
	uint32_t gguf_type;  /* ggml_type of a tensor */
	uint32_t gguf_ftype; /* general.file_type of a file of mostly this type */
	uint32_t block_elems;
	uint32_t block_bytes;
};

extern const struct wr_mk_dtype_info wr_mk_dtypes[WR_MK_NR_DTYPES];

/* Numbers of one model, published or made smaller by options. */
struct wr_mk_model {
	const char *name;  /* as given to --model */
	const char *title; /* as in the names of published GGUF files */
	uint32_t hidden;
	uint32_t layers;
	uint32_t heads;
	uint32_t kv_heads;
	uint32_t head_dim;
	uint32_t inter;
	uint32_t experts; /* 0: dense */
	uint32_t experts_used;
	uint32_t moe_inter;
	uint32_t vocab;
	uint32_t v_hidden;
	uint32_t v_inter;
	uint32_t v_depth;
	uint32_t v_heads;
	uint32_t deepstack[WR_MK_MAX_DEEPSTACK];
	uint32_t nr_deepstack;
	bool tied; /* no lm_head: the embedding is used twice */
};

/* What a user asked to be smaller; zero leaves the published number. */
struct wr_mk_shrink {
	uint32_t layers;
	uint32_t vision_blocks;
	uint32_t vocab;
	uint32_t divisor; /* of every width, a power of two up to 16 */
};

/* How conversion to GGUF changes the place of a tensor's elements. */
enum wr_mk_conv {
	WR_MK_CONV_NONE,
	WR_MK_CONV_SPLIT_TIME,	  /* [h,c,2,p,p] becomes two of [h,c,p,p] */
	WR_MK_CONV_SPLIT_EXPERTS, /* [e,H,2F] becomes gate and up of [e,F,H] */
	WR_MK_CONV_TRANSPOSE,	  /* [e,F,H] becomes [e,H,F] */
};

/*
 * Which element of the source tensor stands at output element i:
 *   row = i / row_elems, col = i % row_elems
 *   off + (row / rows) * outer + (row % rows) * inner + col * step
 */
struct wr_mk_view {
	uint64_t row_elems;
	uint64_t rows;
	uint64_t outer;
	uint64_t inner;
	uint64_t step;
	uint64_t off;
};

struct wr_mk_tensor {
	char name[WR_MK_NAME_BYTES];
	const char *gguf_tmpl; /* name in GGUF, '#' stands for index; [const] */
	uint32_t index;	       /* of the layer or block */
	uint32_t gguf_index;   /* where GGUF counts differently */
	enum wr_mk_conv conv;
	enum wr_mk_dtype dtype;
	bool is_norm; /* values near 1 */
	uint32_t nr_dims;
	uint64_t shape[WR_MK_MAX_DIMS]; /* slowest first */
	uint64_t elems;
	uint64_t bytes;
	uint64_t offset; /* in the file, once laid out */
	uint64_t key;	 /* of the values: seed and source name */
	struct wr_mk_view view;
};

/* Growing list; the first failure sticks in err and later calls do nothing. */
struct wr_mk_tensors {
	struct wr_mk_tensor *v;
	size_t nr;
	size_t cap;
	int err;
};

/* Growing text or bytes, with the same kind of sticky err. */
struct wr_mk_buf {
	char *data;
	size_t len;
	size_t cap;
	int err;
};

/* One file: head bytes, then tensors at their offsets, zeros between. */
struct wr_mk_file {
	char name[WR_MK_NAME_BYTES];
	struct wr_mk_buf head;
	struct wr_mk_tensors tensors;
	uint64_t bytes;
};

struct wr_mk_plan {
	struct wr_mk_file *files;
	size_t nr_files;
	uint64_t bytes;
	uint64_t nr_tensors;
};

/* mkmodel_models.c */
const struct wr_mk_model *wr_mk_model_find(const char *name);
/* Returns NULL, or a static sentence saying what cannot be shrunk. */
const char *wr_mk_model_shrink(struct wr_mk_model *m, const struct wr_mk_shrink *s);

/* mkmodel_buf.c */
void wr_mk_buf_add(struct wr_mk_buf *b, const void *data, size_t len);
void wr_mk_buf_str(struct wr_mk_buf *b, const char *s);
void wr_mk_buf_printf(struct wr_mk_buf *b, const char *fmt, ...) WEIR_PRINTF(2, 3);
void wr_mk_buf_fini(struct wr_mk_buf *b);
/* Returns the new last element, zeroed, or NULL with err set. */
struct wr_mk_tensor *wr_mk_tensors_add(struct wr_mk_tensors *l);
void wr_mk_tensors_fini(struct wr_mk_tensors *l);
struct wr_mk_file *wr_mk_plan_add(struct wr_mk_plan *p, const char *name);
/* Sums of the files; call once after the last was added. */
void wr_mk_plan_total(struct wr_mk_plan *p);
void wr_mk_plan_fini(struct wr_mk_plan *p);

/* mkmodel_shapes.c */
/* Replaces '#' in @tmpl by @index. */
void wr_mk_name(char *ret, size_t size, const char *tmpl, uint32_t index);
/* Sets elems, bytes and the identity view from dtype and shape. */
void wr_mk_tensor_finish(struct wr_mk_tensor *t);
/* Every tensor of @m in the order in which checkpoints are split into shards. */
int wr_mk_shapes(const struct wr_mk_model *m, uint64_t seed, struct wr_mk_tensors *ret);

/* mkmodel_st.c, mkmodel_gguf.c, mkmodel_config.c: add files to a plan. */
int wr_mk_st_plan(const struct wr_mk_tensors *all, uint64_t shard_bytes, struct wr_mk_plan *p);
int wr_mk_gguf_plan(const struct wr_mk_model *m, const struct wr_mk_tensors *all,
		    enum wr_mk_dtype type, struct wr_mk_plan *p);
int wr_mk_config_plan(const struct wr_mk_model *m, struct wr_mk_plan *p);

/* mkmodel_fill.c */
uint64_t wr_mk_key(uint64_t seed, const char *name);
/* Bytes [@first, @first + @len) of @t's data. */
void wr_mk_tensor_fill(const struct wr_mk_tensor *t, uint64_t first, size_t len,
		       unsigned char *ret);

/* mkmodel_convert.c */
/* @nr blocks of @dtype from the BF16 values @src, which are as mkmodel_fill.c makes them. */
void wr_mk_convert(enum wr_mk_dtype dtype, const uint16_t *src, size_t nr, unsigned char *ret);

/* mkmodel_write.c */
/* Bytes [@offset, @offset + @len) of a file; the range lies within it. */
void wr_mk_render(const struct wr_mk_file *f, uint64_t offset, size_t len, unsigned char *ret);

struct wr_mk_write_opts {
	const char *dir;
	unsigned int threads;
	bool force; /* replace a model that is there */
	/* Called from one thread after each chunk with the bytes done so far. */
	void (*progress)(void *arg, uint64_t done);
	/* Any thread asks between chunks whether to give up. */
	bool (*stop)(void);
	void *arg;
};

/*
 * Writes every file of @p into opts->dir, which is made if its parent exists. All of them appear
 * under their names at the end or none does.
 * Returns 0, -EEXIST, -ENOSPC, -EBUSY, -EINTR (told to stop) or what the system said.
 */
int wr_mk_write(const struct wr_mk_plan *p, const struct wr_mk_write_opts *opts,
		struct weir_error *err);

#endif /* MKMODEL_PRIV_H */
