/* SPDX-License-Identifier: MIT */
/* Reading a recording of a pool; see poolmap.h. */
#include "poolmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/util.h"

#define LINE_CHUNK 65536u

struct reader {
	struct wr_poolmap map;
	const char *name;
	struct weir_error *err;
	uint64_t line; /* number of the current one, from 1 */
	size_t room;   /* samples there is memory for */
};

static int malformed(struct reader *r, const char *what)
{
	return wr_error_set(r->err, -EBADMSG, r->name, WEIR_OFFSET_NONE,
			    "no recording of a pool: line %llu: %s", (unsigned long long)r->line,
			    what);
}

static int no_memory(struct reader *r)
{
	return wr_error_set(r->err, -ENOMEM, r->name, WEIR_OFFSET_NONE, "no memory");
}

/* A number of the object that is not negative. */
static bool get_number(const json_t *object, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static int read_region(struct reader *r, const json_t *object, struct wr_poolmap_region *region)
{
	const json_t *node = json_object_get(object, "node");
	const char *kind = json_string_value(json_object_get(object, "page_kind"));

	if (!get_number(object, "bytes", &region->bytes) || region->bytes == 0)
		return malformed(r, "a region without bytes");
	region->node = json_is_integer(node) ? (int)json_integer_value(node) : -1;
	snprintf(region->page_kind, sizeof(region->page_kind), "%s", kind ? kind : "?");
	region->first_piece = r->map.nr_pieces;
	region->nr_pieces = region->bytes / r->map.piece_bytes;
	region->nr_pieces += region->bytes % r->map.piece_bytes != 0;
	if (region->nr_pieces > WR_POOLMAP_MAX_PIECES - r->map.nr_pieces)
		return malformed(r, "the pool is too large");
	r->map.nr_pieces += region->nr_pieces;
	return 0;
}

static int read_head(struct reader *r, const json_t *object)
{
	const json_t *regions = json_object_get(object, "regions");
	size_t nr = json_array_size(regions);
	uint64_t version;
	int rc = 0;

	if (!get_number(object, "weir_pool_recording", &version) || version != 1)
		return malformed(r, "weir_pool_recording is not 1");
	/* KiB of a piece fit 16 bits. */
	if (!get_number(object, "piece_bytes", &r->map.piece_bytes) || r->map.piece_bytes < 1024 ||
	    r->map.piece_bytes > 32u << 20)
		return malformed(r, "piece_bytes is not between 1 KiB and 32 MiB");
	if (!get_number(object, "interval_ns", &r->map.interval_ns))
		return malformed(r, "no interval_ns");
	if (nr == 0 || nr > WR_POOLMAP_MAX_REGIONS)
		return malformed(r, "not 1 to 256 regions");
	r->map.regions = calloc(nr, sizeof(*r->map.regions));
	if (!r->map.regions)
		return no_memory(r);
	for (size_t i = 0; i < nr && !rc; i++)
		rc = read_region(r, json_array_get(regions, i), &r->map.regions[i]);
	r->map.nr_regions = (uint32_t)nr;
	return rc;
}

/* Pairs of a number of pieces and their KiB, which make up a region exactly. */
static int read_pairs(struct reader *r, const json_t *pairs, const struct wr_poolmap_region *region,
		      uint16_t *kib)
{
	uint64_t most = (r->map.piece_bytes + 1023) / 1024;
	uint64_t left = region->nr_pieces;

	for (size_t i = 0; i + 1 < json_array_size(pairs); i += 2) {
		const json_t *run = json_array_get(pairs, i), *taken = json_array_get(pairs, i + 1);
		json_int_t n = json_integer_value(run), k = json_integer_value(taken);

		if (!json_is_integer(run) || n < 1 || (uint64_t)n > left)
			return malformed(r, "more pieces than the region has");
		if (!json_is_integer(taken) || k < 0 || (uint64_t)k > most)
			return malformed(r, "more is taken of a piece than there is");
		for (left -= (uint64_t)n; n > 0; n--)
			*kib++ = (uint16_t)k;
	}
	return left ? malformed(r, "fewer pieces than the region has") : 0;
}

static int add_sample(struct reader *r, struct wr_poolmap_sample **ret)
{
	struct wr_poolmap_sample *s = r->map.samples;

	if ((r->map.nr_samples + 1) * r->map.nr_pieces > WR_POOLMAP_MAX_CELLS)
		return malformed(r, "too many samples for one picture");
	if (r->map.nr_samples == r->room) {
		size_t room = r->room ? 2 * r->room : 64;

		s = realloc(s, room * sizeof(*s));
		if (!s)
			return no_memory(r);
		r->map.samples = s;
		r->room = room;
	}
	s += r->map.nr_samples;
	memset(s, 0, sizeof(*s));
	s->kib = calloc(r->map.nr_pieces, sizeof(*s->kib));
	if (!s->kib)
		return no_memory(r);
	r->map.nr_samples++;
	*ret = s;
	return 0;
}

static int read_sample(struct reader *r, const json_t *object)
{
	const json_t *regions = json_object_get(object, "regions");
	struct wr_poolmap_sample *s = NULL;
	int rc = add_sample(r, &s);

	if (rc)
		return rc;
	if (!get_number(object, "t_ns", &s->t_ns) ||
	    !get_number(object, "used_bytes", &s->used_bytes) ||
	    !get_number(object, "requested_bytes", &s->requested_bytes) ||
	    !get_number(object, "largest_free_bytes", &s->largest_free_bytes) ||
	    !get_number(object, "nr_live", &s->nr_live))
		return malformed(r, "a sample without all its numbers");
	if (r->map.nr_samples > 1 && s->t_ns < s[-1].t_ns)
		return malformed(r, "time goes back");
	if (json_array_size(regions) != r->map.nr_regions)
		return malformed(r, "not as many regions as the first line names");
	for (uint32_t i = 0; i < r->map.nr_regions && !rc; i++)
		rc = read_pairs(r, json_array_get(regions, i), &r->map.regions[i],
				s->kib + r->map.regions[i].first_piece);
	return rc;
}

static int read_line(struct reader *r, const char *text, size_t bytes)
{
	json_t *object;
	int rc;

	r->line++;
	object = json_loadb(text, bytes, 0, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		return malformed(r, "not a JSON object");
	}
	rc = r->line == 1 ? read_head(r, object) : read_sample(r, object);
	json_decref(object);
	return rc;
}

void wr_poolmap_fini(struct wr_poolmap *map)
{
	for (size_t i = 0; i < map->nr_samples; i++)
		free(map->samples[i].kib);
	free(map->samples);
	free(map->regions);
	memset(map, 0, sizeof(*map));
}

int wr_poolmap_parse(const char *text, size_t bytes, const char *name, struct wr_poolmap *ret,
		     struct weir_error *err)
{
	struct reader r = {.name = name, .err = err};
	const char *end = text + bytes;
	int rc = 0;

	while (text < end && !rc) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));

		/* Only the process that writes it can be killed in the middle of a line. */
		r.map.was_cut = !newline;
		if (!newline)
			break;
		rc = read_line(&r, text, (size_t)(newline - text));
		text = newline + 1;
	}
	if (!rc && !r.map.nr_samples)
		rc = malformed(&r, "no sample");
	if (rc) {
		wr_poolmap_fini(&r.map);
		return rc;
	}
	*ret = r.map;
	return 0;
}

static int read_all(FILE *f, char **ret, size_t *ret_bytes)
{
	size_t bytes = 0, room = 0, got;
	char *text = NULL;

	do {
		if (bytes == room) {
			char *more = realloc(text, room += room ? room : LINE_CHUNK);

			if (!more) {
				free(text);
				return -ENOMEM;
			}
			text = more;
		}
		got = fread(text + bytes, 1, room - bytes, f);
		bytes += got;
	} while (got);
	if (ferror(f)) {
		free(text);
		return -EIO;
	}
	*ret = text;
	*ret_bytes = bytes;
	return 0;
}

int wr_poolmap_read(const char *path, struct wr_poolmap *ret, struct weir_error *err)
{
	bool is_stdin = !strcmp(path, "-");
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t bytes = 0;
	int rc;

	if (!f) {
		rc = -errno;
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "%s", weir_strerror(rc));
	}
	rc = read_all(f, &text, &bytes);
	if (!is_stdin)
		fclose(f);
	if (rc)
		return wr_error_set(err, rc, path, WEIR_OFFSET_NONE, "%s", weir_strerror(rc));
	rc = wr_poolmap_parse(text, bytes, path, ret, err);
	free(text);
	return rc;
}
