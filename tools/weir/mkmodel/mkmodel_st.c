/* SPDX-License-Identifier: MIT */
/*
 * safetensors: which tensor goes into which shard, the header of each, and the index over them.
 *
 * Written as the published checkpoints were, so that their file sizes come out to the byte:
 * - A shard is closed when the next tensor would take its data over a limit, 5*10^9 bytes there.
 * - The header is compact JSON that begins with the metadata {"format":"pt"}, entries and data in
 *   the order of dtype (descending; there is only BF16 here) and then of the bytes of the name,
 *   spaces up to a multiple of 8 (huggingface/safetensors tensor.rs@000a16f4, prepare()).
 *   So layers.10 comes before layers.2, and lm_head before everything.
 * - model.safetensors.index.json is json.dumps(..., indent=2, sort_keys=True) and a newline, as
 *   transformers writes it; there is none for a single file.
 */
#include "mkmodel_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static int by_name(const void *a, const void *b)
{
	const struct wr_mk_tensor *ta = a, *tb = b;

	return strcmp(ta->name, tb->name);
}

static void add_entry(struct wr_mk_buf *b, const struct wr_mk_tensor *t, uint64_t start)
{
	wr_mk_buf_printf(b, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name,
			 wr_mk_dtypes[t->dtype].name);
	for (uint32_t d = 0; d < t->nr_dims; d++)
		wr_mk_buf_printf(b, "%s%" PRIu64, d ? "," : "", t->shape[d]);
	wr_mk_buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", start,
			 start + t->bytes);
}

/* Orders a shard's tensors, lays them out and builds its header. */
static int finish_shard(struct wr_mk_file *f)
{
	struct wr_mk_tensors *l = &f->tensors;
	unsigned char prefix[8] = {0};
	uint64_t data = 0, json_bytes;

	if (l->err)
		return l->err;
	qsort(l->v, l->nr, sizeof(*l->v), by_name);
	wr_mk_buf_add(&f->head, prefix, sizeof(prefix));
	wr_mk_buf_str(&f->head, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (size_t i = 0; i < l->nr; i++) {
		add_entry(&f->head, &l->v[i], data);
		data += l->v[i].bytes;
	}
	wr_mk_buf_str(&f->head, "}");
	while (!f->head.err && f->head.len % 8)
		wr_mk_buf_str(&f->head, " ");
	if (f->head.err)
		return f->head.err;
	json_bytes = f->head.len - sizeof(prefix);
	for (int i = 0; i < 8; i++)
		f->head.data[i] = (char)(json_bytes >> (8 * i) & 0xff);
	f->bytes = f->head.len;
	for (size_t i = 0; i < l->nr; i++) {
		l->v[i].offset = f->bytes;
		f->bytes += l->v[i].bytes;
	}
	return 0;
}

/* Fills the plan with shards that have tensors but no names yet. */
static int split(const struct wr_mk_tensors *all, uint64_t shard_bytes, struct wr_mk_plan *p)
{
	struct wr_mk_file *f = NULL;
	uint64_t used = 0;

	for (size_t i = 0; i < all->nr; i++) {
		struct wr_mk_tensor *t;

		if (!f || (used && used + all->v[i].bytes > shard_bytes)) {
			f = wr_mk_plan_add(p, "");
			used = 0;
		}
		if (!f)
			return -ENOMEM;
		t = wr_mk_tensors_add(&f->tensors);
		if (!t)
			return f->tensors.err;
		*t = all->v[i];
		used += t->bytes;
	}
	return 0;
}

static void name_shards(struct wr_mk_plan *p, size_t first)
{
	size_t nr = p->nr_files - first;

	for (size_t i = 0; i < nr; i++) {
		struct wr_mk_file *f = &p->files[first + i];

		if (nr == 1)
			snprintf(f->name, sizeof(f->name), "model.safetensors");
		else
			snprintf(f->name, sizeof(f->name), "model-%05zu-of-%05zu.safetensors",
				 i + 1, nr);
	}
}

/* One line of the index: which file a tensor is in. */
struct place {
	const char *tensor;
	const char *file;
};

static int by_tensor(const void *a, const void *b)
{
	const struct place *pa = a, *pb = b;

	return strcmp(pa->tensor, pb->tensor);
}

static void print_index(struct wr_mk_buf *b, const struct place *places, size_t nr, uint64_t total)
{
	wr_mk_buf_printf(b, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n", total);
	wr_mk_buf_str(b, "  \"weight_map\": {\n");
	for (size_t i = 0; i < nr; i++)
		wr_mk_buf_printf(b, "    \"%s\": \"%s\"%s\n", places[i].tensor, places[i].file,
				 i + 1 < nr ? "," : "");
	wr_mk_buf_str(b, "  }\n}\n");
}

static int add_index(struct wr_mk_plan *p, size_t first, const struct wr_mk_tensors *all)
{
	struct wr_mk_file *f = wr_mk_plan_add(p, "model.safetensors.index.json");
	struct place *places = wr_calloc(all->nr, sizeof(*places));
	uint64_t total = 0;
	size_t nr = 0;

	if (!f || !places) {
		wr_free(places);
		return -ENOMEM;
	}
	for (size_t i = first; i + 1 < p->nr_files; i++) {
		const struct wr_mk_file *shard = &p->files[i];

		for (size_t k = 0; k < shard->tensors.nr; k++) {
			places[nr++] = (struct place){shard->tensors.v[k].name, shard->name};
			total += shard->tensors.v[k].bytes;
		}
	}
	qsort(places, nr, sizeof(*places), by_tensor);
	print_index(&f->head, places, nr, total);
	wr_free(places);
	f->bytes = f->head.len;
	return f->head.err;
}

int wr_mk_st_plan(const struct wr_mk_tensors *all, uint64_t shard_bytes, struct wr_mk_plan *p)
{
	size_t first = p->nr_files;
	int ret = split(all, shard_bytes, p);

	if (ret)
		return ret;
	name_shards(p, first);
	for (size_t i = first; i < p->nr_files; i++) {
		ret = finish_shard(&p->files[i]);
		if (ret)
			return ret;
	}
	return p->nr_files - first > 1 ? add_index(p, first, all) : 0;
}
