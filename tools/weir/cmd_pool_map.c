/* SPDX-License-Identifier: MIT */
/*
 * weir pool-map - draw what a pool looked like while a process ran.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "poolmap.h"
#include "ui.h"

static double part_of(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

/* Bytes of pieces that are neither free nor full, in the worst sample. */
static uint64_t most_partial_bytes(const struct wr_poolmap *map)
{
	uint64_t most = 0;

	for (size_t i = 0; i < map->nr_samples; i++) {
		uint64_t nr = 0;

		for (uint64_t k = 0; k < map->nr_pieces; k++)
			nr += map->samples[i].kib[k] &&
			      map->samples[i].kib[k] < map->piece_bytes / 1024;
		most = nr > most ? nr : most;
	}
	return most * map->piece_bytes;
}

static int print_json(const struct wr_poolmap *map, const char *picture)
{
	const struct wr_poolmap_sample *last = &map->samples[map->nr_samples - 1];
	json_t *regions = json_array();

	for (uint32_t i = 0; i < map->nr_regions; i++)
		json_array_append_new(regions, json_pack("{s:o, s:i, s:s}", "bytes",
							 wr_ui_json_u64(map->regions[i].bytes),
							 "node", map->regions[i].node, "page_kind",
							 map->regions[i].page_kind));
	return wr_ui_json_print(json_pack(
		"{s:o, s:o, s:f, s:o, s:o, s:o, s:o, s:b}", "picture", wr_ui_json_text(picture),
		"regions", regions, "seconds", (double)last->t_ns / 1e9, "samples",
		wr_ui_json_u64(map->nr_samples), "used_bytes_at_end",
		wr_ui_json_u64(last->used_bytes), "largest_free_bytes_at_end",
		wr_ui_json_u64(last->largest_free_bytes), "most_bytes_in_partial_pieces",
		wr_ui_json_u64(most_partial_bytes(map)), "was_cut", map->was_cut));
}

static int print_text(const struct wr_poolmap *map, const char *picture)
{
	const struct wr_poolmap_sample *last = &map->samples[map->nr_samples - 1];
	uint64_t capacity = 0;
	char a[WR_UI_TEXT], b[WR_UI_TEXT], c[WR_UI_TEXT];

	for (uint32_t i = 0; i < map->nr_regions; i++)
		capacity += map->regions[i].bytes;
	printf("%s: %zu changes in %s%s\n", picture, map->nr_samples,
	       wr_ui_duration(a, (double)last->t_ns / 1e9),
	       map->was_cut ? "; the recording is cut short" : "");
	printf("at the end %s of %s are in spans (%.0f %%), the largest free run is %s\n",
	       wr_ui_memory(a, last->used_bytes), wr_ui_memory(b, capacity),
	       100 * part_of(last->used_bytes, capacity),
	       wr_ui_memory(c, last->largest_free_bytes));
	return WR_EXIT_OK;
}

int cmd_pool_map(int argc, char **argv)
{
	const char *title = "Where the pool is in use";
	struct weir_error err;
	struct wr_poolmap map;
	uint32_t region = 0;
	bool json = false;
	const struct wr_ui_option options[] = {
		{"region", WR_UI_U32, "N", "which region to draw, from 0 (0)", &region, 0, 0},
		{"title", WR_UI_STRING, "TEXT", "above the picture", &title, 0, 0},
		{"json", WR_UI_FLAG, NULL, "print one JSON object", &json, 0, 0},
	};
	const struct wr_ui_usage usage = {
		.name = "pool-map",
		.args = "RECORDING PICTURE",
		.summary =
			"Draw a recording of a pool, such as weir stream --pool-map makes, as SVG.",
		.options = options,
		.nr_options = sizeof(options) / sizeof(options[0]),
		.min_args = 2,
		.max_args = 2};
	int nr, rc;

	rc = wr_ui_parse(&usage, argc, argv, &nr);
	if (rc != WR_UI_RUN)
		return rc;
	rc = wr_poolmap_read(argv[1], &map, &err);
	if (rc)
		return wr_ui_fail(json, "pool-map", &err);
	rc = wr_poolmap_draw(&map, region, title, argv[2], &err);
	if (rc)
		rc = wr_ui_fail(json, "pool-map", &err);
	else
		rc = json ? print_json(&map, argv[2]) : print_text(&map, argv[2]);
	wr_poolmap_fini(&map);
	return rc;
}
