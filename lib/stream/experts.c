/* SPDX-License-Identifier: MIT */
/*
 * Experts as entries of a cache.
 *
 * All is planned at open, as in a stream: for each expert the reads that bring its slices, and
 * where each slice will stand in the entry. The cache fetches one entry once at a time, so the
 * state of an expert's fetch is part of the expert, and so is the source that the cache is shown:
 * a fetch is found from what the cache hands back without a table.
 */
#include <weir/experts.h>

#include <errno.h>
#include <stdio.h>

#include <xxhash.h>

#include <weir/cache_ahead.h>

#include "base/alloc.h"
#include "base/atomic.h"
#include "base/util.h"
#include "load/fetch.h"
#include "load/files.h"
#include "stream/streaming.h"

/* More are refused in one get. */
#define MAX_CHOSEN 256u
/* "experts.1023.65535" */
#define NAME_BYTES 32u

struct expert {
	struct weir_experts *experts; /* [const] as all but fetch and token */
	struct weir_key key;
	size_t bytes;
	uint32_t first_run;
	uint32_t nr_runs;
	char name[NAME_BYTES];
	struct weir_cache_source source;
	struct wr_fetch fetch;
	uint64_t token; /* [thread] of whoever fetches */
};

struct layer {
	uint32_t group;
	uint32_t nr_parts; /* of an expert, at most */
	uint32_t nr_experts;
	uint32_t first_expert; /* in entries */
	uint32_t first_part;   /* in parts and places: [expert][part] */
};

/* All [const] after open, but the fetches. */
struct weir_experts {
	struct weir_cache *cache;
	const struct weir_model *model;
	struct wr_files files;
	struct weir_experts_info info;
	struct layer *layers;
	const struct weir_tensor **parts; /* NULL: the expert has no more */
	struct expert *entries;
	uint32_t nr_entries, nr_runs, most_parts;
	size_t *places;
	struct wr_run *runs;
	struct wr_fetch_read *reads;
	bool is_foreseen; /* [thread] of whoever opens and closes */
};

/* ---- as a source ---- */

static void expert_fetched(struct wr_fetch *fetch, int result)
{
	struct expert *e = fetch->arg;

	weir_cache_filled(e->experts->cache, e->token, result, 0);
}

static int fill_expert(void *arg, const struct weir_cache_fill *fill)
{
	struct expert *e = arg;

	e->token = fill->token;
	e->fetch.mem = fill->mem;
	return wr_fetch_start(&e->fetch, fill->demand ? WEIR_IO_DEMAND : WEIR_IO_SPECULATIVE);
}

static void promote_expert(void *arg, uint64_t token)
{
	struct expert *e = arg;

	(void)token;
	wr_fetch_promote(&e->fetch);
}

static void cancel_expert(void *arg, uint64_t token)
{
	struct expert *e = arg;

	(void)token;
	wr_fetch_cancel(&e->fetch);
}

/* ---- planning ---- */

/*
 * Tensors that hold something of an expert: all of a stack, which each has a slice of, and those that
 * are of one expert. The most that one has.
 */
static uint32_t count_parts(const struct weir_model *model, const struct weir_group *group,
			    uint32_t *ret_experts)
{
	uint32_t stacked = 0, single = 0, most = 0;
	int32_t last = -1;

	*ret_experts = 0;
	for (uint32_t p = group->first; p < group->first + group->nr; p++) {
		const struct weir_tensor *tensor = weir_model_at(model, p);
		uint32_t nr = weir_tensor_experts(tensor);

		*ret_experts = wr_max(*ret_experts, nr);
		if (nr && tensor->nr_slices > 1) {
			stacked++;
		} else if (nr) {
			/* Those of one expert stand together. */
			single = tensor->expert == last ? single + 1 : 1;
			last = tensor->expert;
			most = wr_max(most, single);
		}
	}
	return stacked + most;
}

/* How much there is of everything, so that all is allocated at once. */
static int measure(struct weir_experts *x, uint64_t *ret_parts)
{
	uint64_t nr_entries = 0, nr_parts = 0;

	for (uint32_t g = 0; g < weir_model_nr_groups(x->model); g++) {
		uint32_t experts, parts;

		parts = count_parts(x->model, weir_model_group(x->model, g), &experts);
		x->info.nr_layers += parts > 0;
		x->info.nr_experts = wr_max(x->info.nr_experts, experts);
		x->most_parts = wr_max(x->most_parts, parts);
		nr_entries += experts;
		nr_parts += (uint64_t)experts * parts;
	}
	if (nr_parts > UINT32_MAX)
		return -EFBIG;
	x->nr_entries = (uint32_t)nr_entries;
	*ret_parts = nr_parts;
	return nr_entries ? 0 : -ENODATA;
}

static int take_memory(struct weir_experts *x, uint64_t nr_parts)
{
	x->layers = wr_calloc(x->info.nr_layers, sizeof(*x->layers));
	x->parts = wr_calloc(nr_parts, sizeof(*x->parts));
	x->entries = wr_calloc(x->nr_entries, sizeof(*x->entries));
	x->places = wr_calloc(nr_parts, sizeof(*x->places));
	x->runs = wr_calloc(nr_parts, sizeof(*x->runs));
	x->reads = wr_calloc(nr_parts, sizeof(*x->reads));
	return x->layers && x->parts && x->entries && x->places && x->runs && x->reads ? 0
										       : -ENOMEM;
}

static uint32_t part_at(const struct layer *l, uint32_t expert, uint32_t part)
{
	return l->first_part + expert * l->nr_parts + part;
}

/* Bytes of an expert in one of its tensors, and where they begin. */
static uint64_t part_bytes(const struct weir_tensor *tensor)
{
	return tensor->bytes / tensor->nr_slices;
}

static uint64_t part_offset(const struct weir_tensor *tensor, uint32_t expert)
{
	return tensor->offset + (tensor->nr_slices > 1 ? expert * part_bytes(tensor) : 0);
}

/* The identity of the file and what of it: contents, as far as a file that is not written to has. */
static struct weir_key key_of(const struct weir_experts *x, const struct layer *l, uint32_t expert)
{
	const struct weir_tensor *first = x->parts[part_at(l, expert, 0)];
	const struct weir_model_file *file = weir_model_file(x->model, first->file);
	const uint64_t what[] = {file->dev,   file->ino,     file->mtime_ns,
				 file->bytes, first->offset, expert};
	XXH128_hash_t hash = XXH3_128bits(what, sizeof(what));

	return (struct weir_key){.hi = hash.high64, .lo = hash.low64};
}

/* What an expert has; a tensor with fewer experts than others ends before. */
static uint32_t list_parts(const struct weir_experts *x, const struct layer *l, uint32_t expert,
			   struct wr_extent *extents, struct wr_extent **sorted)
{
	uint32_t nr = 0;

	for (; nr < l->nr_parts; nr++) {
		const struct weir_tensor *tensor = x->parts[part_at(l, expert, nr)];

		if (!tensor)
			break;
		extents[nr] = (struct wr_extent){.file = tensor->file,
						 .offset = part_offset(tensor, expert),
						 .bytes = part_bytes(tensor)};
		sorted[nr] = &extents[nr];
	}
	return nr;
}

static int plan_expert(struct weir_experts *x, const struct layer *l, uint32_t expert,
		       struct wr_extent *extents, struct wr_extent **sorted)
{
	struct expert *e = &x->entries[l->first_expert + expert];
	uint32_t nr = list_parts(x, l, expert, extents, sorted);
	int nr_runs;

	wr_extents_sort(sorted, nr);
	nr_runs = wr_runs_plan(&x->files, sorted, nr, (uint64_t)1 << 30, &x->runs[x->nr_runs],
			       &e->bytes);
	if (nr_runs < 0)
		return nr_runs;
	for (uint32_t t = 0; t < nr; t++)
		x->places[part_at(l, expert, t)] = extents[t].place;
	e->experts = x;
	e->key = key_of(x, l, expert);
	e->first_run = x->nr_runs;
	e->nr_runs = (uint32_t)nr_runs;
	e->source = (struct weir_cache_source){
		.fill = fill_expert, .promote = promote_expert, .cancel = cancel_expert, .arg = e};
	e->fetch = (struct wr_fetch){.files = &x->files,
				     .runs = &x->runs[e->first_run],
				     .nr_runs = e->nr_runs,
				     .reads = &x->reads[e->first_run],
				     .done = expert_fetched,
				     .arg = e};
	(void)snprintf(e->name, sizeof(e->name), "experts.%d.%u",
		       weir_model_group(x->model, l->group)->layer, expert);
	x->nr_runs += e->nr_runs;
	x->info.expert_bytes = wr_max(x->info.expert_bytes, (uint64_t)e->bytes);
	x->info.all_bytes += e->bytes;
	return 0;
}

static int plan_experts(struct weir_experts *x)
{
	struct wr_extent *extents = wr_calloc(x->most_parts, sizeof(*extents));
	struct wr_extent **sorted = wr_calloc(x->most_parts, sizeof(*sorted));
	int rc = extents && sorted ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < x->info.nr_layers && !rc; i++)
		for (uint32_t e = 0; e < x->layers[i].nr_experts && !rc; e++)
			rc = plan_expert(x, &x->layers[i], e, extents, sorted);
	wr_free(extents);
	wr_free(sorted);
	return rc;
}

/* Behind those that it has. */
static void add_part(struct weir_experts *x, const struct layer *l, uint32_t expert,
		     const struct weir_tensor *tensor)
{
	uint32_t part = 0;

	while (x->parts[part_at(l, expert, part)])
		part++;
	wr_assert(part < l->nr_parts);
	x->parts[part_at(l, expert, part)] = tensor;
}

static void add_tensor(struct weir_experts *x, const struct layer *l,
		       const struct weir_tensor *tensor)
{
	if (tensor->nr_slices > 1)
		for (uint32_t e = 0; e < tensor->nr_slices; e++)
			add_part(x, l, e, tensor);
	else if (weir_tensor_experts(tensor))
		add_part(x, l, (uint32_t)tensor->expert, tensor);
}

static void list_layers(struct weir_experts *x)
{
	uint32_t nr = 0, nr_entries = 0, nr_parts = 0;

	for (uint32_t g = 0; g < weir_model_nr_groups(x->model); g++) {
		const struct weir_group *group = weir_model_group(x->model, g);
		struct layer l = {.group = g, .first_expert = nr_entries, .first_part = nr_parts};

		l.nr_parts = count_parts(x->model, group, &l.nr_experts);
		if (!l.nr_parts)
			continue;
		for (uint32_t p = group->first; p < group->first + group->nr; p++)
			add_tensor(x, &l, weir_model_at(x->model, p));
		x->layers[nr++] = l;
		nr_entries += l.nr_experts;
		nr_parts += l.nr_experts * l.nr_parts;
	}
}

static int plan(struct weir_experts *x, struct weir_error *err)
{
	uint64_t nr_parts = 0;
	int rc = measure(x, &nr_parts);

	if (rc == -ENODATA)
		return wr_error_set(err, rc, weir_model_file(x->model, 0)->path, WEIR_OFFSET_NONE,
				    "the model has no experts");
	if (!rc)
		rc = take_memory(x, nr_parts);
	if (!rc) {
		list_layers(x);
		rc = plan_experts(x);
	}
	return rc ? wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "preparing the experts: %s",
				 weir_strerror(rc))
		  : 0;
}

int wr_stream_experts_open(struct weir_io *io, struct weir_cache *cache,
			   const struct weir_model *model, struct weir_experts **ret,
			   struct weir_error *err)
{
	struct weir_experts *x;
	int rc;

	if (!cache)
		return wr_error_set(err, -EINVAL, NULL, WEIR_OFFSET_NONE,
				    "experts need a context with a cache");
	x = wr_calloc(1, sizeof(*x));
	if (!x)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE, "no memory for experts");
	x->cache = cache;
	x->model = model;
	rc = wr_files_init(&x->files, io, model, err);
	if (!rc)
		rc = plan(x, err);
	if (!rc)
		wr_files_expect_gaps(&x->files);
	if (rc) {
		x->cache = NULL; /* it knows none of them */
		weir_experts_close(x);
		return rc;
	}
	*ret = x;
	return 0;
}

void weir_experts_close(struct weir_experts *x)
{
	if (!x)
		return;
	/* Their sources are ours: what is left may not be asked for them any more. */
	if (x->is_foreseen && weir_cache_ahead_end(x->cache))
		wr_assert(false);
	for (uint32_t i = 0; x->cache && i < x->nr_entries; i++) {
		int rc = weir_cache_remove(x->cache, x->entries[i].key);

		wr_assert(!rc || rc == -ENOENT || rc == -ECANCELED || rc == -ENOMEM);
		(void)rc;
	}
	wr_files_fini(&x->files);
	wr_free(x->layers);
	wr_free(x->parts);
	wr_free(x->entries);
	wr_free(x->places);
	wr_free(x->runs);
	wr_free(x->reads);
	wr_free(x);
}

int weir_experts_foresee(struct weir_experts *x, struct weir_error *err)
{
	struct weir_cache_ahead_opts opts = {.size = sizeof(opts),
					     .classes = 1u << WEIR_CLASS_EXPERTS,
					     .nr_layers = x->info.nr_layers,
					     .nr_experts = x->info.nr_experts};
	int rc = weir_cache_ahead(x->cache, &opts, err);

	if (rc)
		return rc;
	x->is_foreseen = true;
	for (uint32_t layer = 0; !rc && layer < x->info.nr_layers; layer++)
		for (uint32_t e = 0; !rc && e < x->layers[layer].nr_experts; e++) {
			struct weir_cache_item item;

			rc = weir_experts_item(x, layer, e, &item);
			rc = rc ? rc : weir_cache_declare(x->cache, &item, layer, e);
		}
	if (rc)
		wr_error_set(err, rc, NULL, WEIR_OFFSET_NONE, "declaring the experts: %s",
			     weir_strerror(rc));
	return rc;
}

/* ---- use ---- */

void weir_experts_info(const struct weir_experts *x, struct weir_experts_info *ret)
{
	*ret = x->info;
}

int weir_experts_layer(const struct weir_experts *x, uint32_t group)
{
	uint32_t low = 0, high = x->info.nr_layers;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (x->layers[mid].group == group)
			return (int)mid;
		if (x->layers[mid].group < group)
			low = mid + 1;
		else
			high = mid;
	}
	return -ENOENT;
}

/* NULL: there is no such expert. */
static const struct expert *find(const struct weir_experts *x, uint32_t layer, uint32_t expert)
{
	if (layer >= x->info.nr_layers || expert >= x->layers[layer].nr_experts)
		return NULL;
	return &x->entries[x->layers[layer].first_expert + expert];
}

int weir_experts_item(const struct weir_experts *x, uint32_t layer, uint32_t expert,
		      struct weir_cache_item *ret)
{
	const struct expert *e = find(x, layer, expert);

	if (!e)
		return -EINVAL;
	*ret = (struct weir_cache_item){.key = e->key,
					.bytes = e->bytes,
					.class_id = WEIR_CLASS_EXPERTS,
					.name = e->name,
					.source = &e->source};
	return 0;
}

/* 0, -EINVAL */
static int list_items(const struct weir_experts *x, uint32_t layer, const uint32_t *experts,
		      size_t nr, struct weir_cache_item *items)
{
	int rc = !nr || nr > MAX_CHOSEN ? -EINVAL : 0;

	for (size_t i = 0; i < nr && !rc; i++)
		rc = weir_experts_item(x, layer, experts[i], &items[i]);
	return rc;
}

/* What failed is a read of one of them, or there was no room. */
static int64_t get_failed(const struct weir_experts *x, uint32_t layer, const uint32_t *chosen,
			  size_t nr, int64_t rc, struct weir_error *err)
{
	for (size_t i = 0; i < nr; i++) {
		const struct expert *e = find(x, layer, chosen[i]);
		const struct wr_run *run = &x->runs[e->first_run];

		if (wr_load_relaxed(&e->fetch.result) != rc)
			continue;
		run += wr_load_relaxed(&e->fetch.failed);
		return wr_error_set(err, (int)rc, weir_model_file(x->model, run->file)->path,
				    run->offset, "reading %llu bytes for %s: %s",
				    (unsigned long long)run->bytes, e->name,
				    weir_strerror((int)rc));
	}
	return wr_error_set(err, (int)rc, NULL, WEIR_OFFSET_NONE,
			    "%zu experts of layer %u at once: %s", nr, layer,
			    weir_strerror((int)rc));
}

int64_t weir_experts_get(struct weir_experts *x, uint32_t layer, const uint32_t *chosen, size_t nr,
			 struct weir_pin *pins, struct weir_error *err)
{
	struct weir_cache_item items[MAX_CHOSEN];
	int64_t rc = list_items(x, layer, chosen, nr, items);

	if (rc < 0)
		return wr_error_set(err, (int)rc, NULL, WEIR_OFFSET_NONE,
				    "layer %u of the experts: there are no such experts", layer);
	rc = weir_cache_get_all(x->cache, items, nr, 0, pins);
	return rc < 0 ? get_failed(x, layer, chosen, nr, rc, err) : rc;
}

int64_t weir_experts_likely(struct weir_experts *x, uint32_t layer, const uint32_t *likely,
			    size_t nr, uint32_t permille)
{
	struct weir_cache_item items[MAX_CHOSEN];
	int rc = list_items(x, layer, likely, nr, items);

	return rc < 0 ? rc : weir_cache_likely(x->cache, items, nr, permille);
}

int weir_experts_view(const struct weir_experts *x, uint32_t layer, uint32_t expert,
		      const struct weir_pin *pin, uint32_t index, struct weir_view *ret)
{
	const struct expert *e = find(x, layer, expert);
	const struct weir_tensor *tensor;
	const struct layer *l;
	uint64_t rows;

	if (!e || !pin->slot || index >= x->layers[layer].nr_parts)
		return -EINVAL;
	l = &x->layers[layer];
	tensor = x->parts[part_at(l, expert, index)];
	if (!tensor)
		return -EINVAL;
	rows = tensor->nr_rows / tensor->nr_slices;
	*ret = (struct weir_view){.tensor = tensor,
				  .first_row = tensor->nr_slices > 1 ? expert * rows : 0,
				  .nr_rows = rows,
				  .data = (const char *)pin->data +
					  x->places[part_at(l, expert, index)],
				  .bytes = part_bytes(tensor)};
	return 0;
}
