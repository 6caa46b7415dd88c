/* SPDX-License-Identifier: MIT */
/*
 * Small model files for tests, right and wrong, as bytes and as files, and the tensor lists of the
 * published Qwen3-VL models, whose data is a hole in a sparse file. Written apart from weir's own
 * writers, so that a mistake shared by reader and writer shows.
 */
#ifndef SELFTESTS_WEIGHTS_MODEL_BUILDER_H
#define SELFTESTS_WEIGHTS_MODEL_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/base.h>

/* Bytes that grow; running out of memory ends the program. */
struct mb_bytes {
	uint8_t *p;
	size_t n;
	size_t room;
};

void mb_put(struct mb_bytes *b, const void *p, size_t n);
void mb_text(struct mb_bytes *b, const char *fmt, ...) WEIR_PRINTF(2, 3);
void mb_u32(struct mb_bytes *b, uint32_t v);
void mb_u64(struct mb_bytes *b, uint64_t v);
void mb_zeros(struct mb_bytes *b, size_t n);
void mb_free(struct mb_bytes *b);

/* A safetensors file: length, @header, @data_bytes zeros. */
void mb_st(struct mb_bytes *b, const char *header, size_t data_bytes);

/* GGUF pieces; a string is a length and as many bytes. */
void mb_gguf_head(struct mb_bytes *b, uint32_t version, uint64_t nr_tensors, uint64_t nr_pairs);
void mb_gguf_string(struct mb_bytes *b, const char *text);
void mb_gguf_key(struct mb_bytes *b, const char *key, uint32_t type);
void mb_gguf_pair_u32(struct mb_bytes *b, const char *key, uint32_t v);
void mb_gguf_pair_u16(struct mb_bytes *b, const char *key, uint16_t v);
void mb_gguf_pair_string(struct mb_bytes *b, const char *key, const char *v);
void mb_gguf_tensor(struct mb_bytes *b, const char *name, uint32_t nr_dims, const uint64_t *ne,
		    uint32_t type, uint64_t offset);
void mb_gguf_align(struct mb_bytes *b, size_t align);

/* A temporary directory, and all in it away again. */
char *mb_dir_make(void);
void mb_dir_remove(char *dir);

/* "@dir/@name", to be freed. */
char *mb_path(const char *dir, const char *name);

/* A file of these bytes, as long as @file_bytes if that is more (a hole). Returns 0 or -errno. */
int mb_file(const char *dir, const char *name, const struct mb_bytes *b, uint64_t file_bytes);
int mb_file_text(const char *dir, const char *name, const char *text);

/* ---- Qwen3-VL ----------------------------------------------------------------------------- */

/* Numbers of a published model; facts of its config.json. */
struct mb_qwen {
	const char *name;
	uint32_t hidden, layers, heads, kv_heads, inter, experts, moe_inter;
	uint32_t v_hidden, v_inter, v_depth, v_out;
	bool tied;
	uint32_t deepstack[3];
};

extern const struct mb_qwen mb_qwen_2b, mb_qwen_4b, mb_qwen_8b, mb_qwen_30b;

/*
 * Write the model as published: shards of at most 5e9 bytes, each with a hole for data, index and
 * config.json. Returns 0 or -errno.
 */
int mb_qwen_st(const struct mb_qwen *q, const char *dir);

/* The same as F16 GGUF: text.gguf and mmproj.gguf. */
int mb_qwen_gguf(const struct mb_qwen *q, const char *dir);

#endif /* SELFTESTS_WEIGHTS_MODEL_BUILDER_H */
