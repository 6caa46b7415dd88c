/* SPDX-License-Identifier: MIT */
/*
 * The baseline: the same passes over a mapping of the files, as hosts do it today.
 *
 * The mapping is shared and read-only, without advice: the kernel's own readahead, and its
 * own choice of what to keep. Bytes read are what the kernel counts for this process, so
 * other readers of the disk do not disturb the number. A file that is cut while it is mapped
 * ends the process with SIGBUS; that is what a mapping does, and why weir does not map.
 */
#include "arm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <weir/topo.h>

#include "peak.h"
#include "ui.h"

struct mmap_arm {
	struct wr_maps maps;
	struct weir_topo *topo;
	struct wr_workload *work;
	struct wr_ui_progress progress;
};

static int map_file(struct wr_mapping *map, const struct weir_model_file *file)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	map->bytes = (size_t)file->bytes;
	map->base = mmap(NULL, map->bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map->base == MAP_FAILED)
		rc = -errno;
	close(fd);
	return rc;
}

int wr_maps_open(const struct weir_model *model, struct wr_maps *ret, const char **ret_failed)
{
	uint32_t nr = weir_model_nr_files(model);
	int rc = 0;

	*ret = (struct wr_maps){.maps = calloc(nr, sizeof(*ret->maps))};
	*ret_failed = "mapping the model";
	if (!ret->maps)
		return -ENOMEM;
	for (uint32_t i = 0; !rc && i < nr; i++) {
		rc = map_file(&ret->maps[i], weir_model_file(model, i));
		*ret_failed = rc ? weir_model_file(model, i)->path : NULL;
		ret->nr += !rc;
	}
	if (rc)
		wr_maps_close(ret);
	return rc;
}

void wr_maps_close(struct wr_maps *maps)
{
	for (uint32_t i = 0; i < maps->nr; i++)
		munmap(maps->maps[i].base, maps->maps[i].bytes);
	free(maps->maps);
	*maps = (struct wr_maps){0};
}

static int do_pass(struct mmap_arm *m, const struct wr_arm *arm, const struct weir_units *units,
		   uint32_t number, struct wr_arm_result *ret)
{
	struct wr_arm_pass *pass = &ret->passes[number];
	uint64_t begin = wr_ui_now_ns(), read = wr_peak_read_bytes(), done = 0;

	wr_ui_progress_start(&m->progress, "mapped pass", ret->info.plan_bytes, !arm->progress);
	wr_workload_begin(m->work);
	for (uint32_t i = 0; i < weir_units_nr(units) && !wr_ui_interrupted(); i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);

		for (int p = 0; p < nr; p++) {
			const struct wr_mapping *map = &m->maps.maps[parts[p].tensor->file];
			struct weir_view view = {.tensor = parts[p].tensor,
						 .first_row = parts[p].first_row,
						 .nr_rows = parts[p].nr_rows,
						 .data = (char *)map->base + parts[p].offset,
						 .bytes = parts[p].bytes};

			wr_workload_view(m->work, &view);
			done += view.bytes;
		}
		wr_ui_progress_update(&m->progress, done);
	}
	wr_ui_progress_end(&m->progress);
	*pass = (struct wr_arm_pass){.ns = wr_ui_now_ns() - begin,
				     .compute_ns = wr_workload_ns(m->work),
				     .bytes_read = wr_peak_read_bytes() - read,
				     .checksum = wr_workload_checksum(m->work)};
	if (wr_ui_interrupted())
		return -EINTR;
	ret->nr_passes++;
	return 0;
}

static void note_plan(const struct weir_units *units, struct wr_arm_result *ret)
{
	struct weir_stream_info *info = &ret->info;

	info->nr_units = weir_units_nr(units);
	for (uint32_t i = 0; i < info->nr_units; i++) {
		const struct weir_part *parts;
		int nr = weir_units_parts(units, i, &parts);
		uint64_t bytes = 0;

		for (int p = 0; p < nr; p++)
			bytes += parts[p].bytes;
		info->plan_bytes += bytes;
		if (bytes > info->unit_bytes)
			info->unit_bytes = bytes;
	}
}

int wr_arm_run_mmap(const struct wr_arm *arm, const struct weir_model *model,
		    const struct weir_units *units, struct wr_arm_result *ret)
{
	struct weir_topo_opts topo_opts = {.size = sizeof(topo_opts)};
	struct mmap_arm m = {0};
	const char *failed;
	double cpu;
	int rc;

	note_plan(units, ret);
	rc = wr_maps_open(model, &m.maps, &failed);
	if (rc)
		return wr_arm_fail(ret, rc, failed);
	rc = weir_topo_open(&topo_opts, &m.topo, &ret->err);
	if (!rc) {
		rc = wr_workload_open(arm->compute, arm->threads, m.topo, units, &m.work);
		if (rc)
			wr_arm_fail(ret, rc, "starting the compute threads");
	}
	cpu = wr_peak_cpu_seconds();
	for (uint32_t p = 0; !rc && p < arm->passes; p++)
		rc = do_pass(&m, arm, units, p, ret);
	ret->cpu_ns = (uint64_t)((wr_peak_cpu_seconds() - cpu) * 1e9);
	ret->peak_bytes = wr_peak_bytes();
	ret->backend = WR_ARM_MMAP;
	if (m.work)
		ret->threads = wr_workload_threads(m.work);
	wr_workload_close(m.work);
	weir_topo_close(m.topo);
	wr_maps_close(&m.maps);
	return rc;
}
