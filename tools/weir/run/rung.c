/* SPDX-License-Identifier: MIT */
/* On which rung a model's files are really read; see rung.h. */
#include "rung.h"

#include <stdio.h>

void wr_rung_of(struct weir_io *io, const struct weir_model *model, struct wr_rung *ret)
{
	uint32_t nr = 0, nr_direct = 0;
	char why[192] = "";

	for (uint32_t i = 0; i < weir_model_nr_files(model); i++) {
		struct weir_io_file_info info;
		struct weir_io_file *file;

		if (weir_io_file_open(io, weir_model_file(model, i)->path, &file, NULL))
			continue;
		weir_io_file_info(file, &info);
		nr++;
		nr_direct += info.direct;
		if (!info.direct && !why[0])
			snprintf(why, sizeof(why), "%s", weir_io_file_reason(file));
		weir_io_file_close(file);
	}
	ret->backend = (uint32_t)weir_io_backend(io);
	if (nr_direct == nr || ret->backend == WEIR_IO_BUFFERED) {
		snprintf(ret->reason, sizeof(ret->reason), "%s", weir_io_backend_reason(io));
		return;
	}
	snprintf(ret->reason, sizeof(ret->reason), "%u of %u files: %s; %s: %s", nr - nr_direct, nr,
		 why, nr_direct ? "the others" : "elsewhere the engine would run on",
		 weir_io_backend_name(weir_io_backend(io)));
	if (!nr_direct)
		ret->backend = WEIR_IO_BUFFERED;
}
