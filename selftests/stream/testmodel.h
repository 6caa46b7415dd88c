/* SPDX-License-Identifier: MIT */
/*
 * Small real models for the tests of stream, load and context: a few megabytes, with odd rows,
 * sizes that move what follows off every boundary, an empty tensor, a scalar, and a vision tower;
 * and walks over them that compare each byte with what plain pread gave.
 */
#ifndef WR_SELFTESTS_TESTMODEL_H
#define WR_SELFTESTS_TESTMODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stream.h>
#include <weir/weights.h>

#define TM_MAX_FILES  4
#define TM_NR_EXPERTS 12u
/* More than a MiB: twice the largest group is no few pages, also where pages are huge. */
#define TM_EMBED_ROWS 6000

enum tm_format {
	TM_SINGLE,  /* one safetensors file */
	TM_SHARDED, /* two shards and an index */
	TM_GGUF,    /* one file, no vision tower */
	TM_EXPERTS, /* one safetensors file, a mixture of TM_NR_EXPERTS a layer */
	TM_SINGLES, /* the same, each expert in tensors of its own */
};

struct test_model {
	enum tm_format format;
	char *dir;
	struct weir_model *model;
	uint64_t all_bytes; /* of all tensors */
	/* What plain reads give, for each file of the model. */
	uint8_t *bytes[TM_MAX_FILES];
	size_t nr_bytes[TM_MAX_FILES];
};

/*
 * Write a model of @layers layers into a folder of its own, in the build folder or, with @memory,
 * on tmpfs; index it and keep its bytes. The files are in no page cache afterwards. False when
 * that fails.
 */
bool tm_open(struct test_model *tm, enum tm_format format, unsigned layers, bool memory);
void tm_close(struct test_model *tm);

/* Path of file @index of the model. */
const char *tm_path(const struct test_model *tm, uint32_t index);
/* A tensor's bytes as plain pread gave them. */
const uint8_t *tm_tensor(const struct test_model *tm, const struct weir_tensor *tensor);
/* The view shows rows of its tensor, all bytes right, aligned as in the file. */
bool tm_view_is_right(const struct test_model *tm, const struct weir_view *view);

/* What a walk has seen. */
struct tm_walk {
	uint64_t nr_units;
	uint64_t bytes;
	uint64_t nr_hits;
	uint64_t nr_wrong; /* units or views that are not what the list of units says */
	uint32_t first_wrong;
	int rc; /* what weir_stream_next() gave last */
	struct weir_error err;
};

/* The unit that is pinned is @units[unit->index], with the right bytes; else counted as wrong. */
void tm_check_unit(const struct test_model *tm, const struct weir_stream *stream,
		   const struct weir_units *units, const struct weir_unit *unit,
		   struct tm_walk *walk);
/* Up to the end of the pass that runs or begins, or to an error. Sums go on from @walk. */
int tm_walk_pass(const struct test_model *tm, struct weir_stream *stream,
		 const struct weir_units *units, struct tm_walk *walk);

/* The list covers each tensor that a plan with these @flags visits exactly once, in order. */
bool tm_units_cover(const struct test_model *tm, const struct weir_units *units, uint32_t flags);

#endif /* WR_SELFTESTS_TESTMODEL_H */
