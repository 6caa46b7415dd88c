/* SPDX-License-Identifier: MIT */
/* A model's files, open in an engine; see files.h. */
#include "load/files.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/util.h"
#include "io/advice.h"

/* The index was made from the file's header: another file may look alike and is not. */
static int open_one(struct wr_files *files, uint32_t i, struct weir_error *err)
{
	const struct weir_model_file *want = weir_model_file(files->model, i);
	struct weir_io_file_info have;
	int rc;

	rc = weir_io_file_open(files->io, want->path, &files->files[i], err);
	if (rc)
		return rc;
	files->nr = i + 1;
	weir_io_file_info(files->files[i], &have);
	if (have.dev != want->dev || have.ino != want->ino || have.bytes != want->bytes ||
	    have.mtime_ns != want->mtime_ns)
		return wr_error_set(err, -ESTALE, want->path, WEIR_OFFSET_NONE,
				    "the file changed since the model was opened; open it again");
	return 0;
}

int wr_files_init(struct wr_files *files, struct weir_io *io, const struct weir_model *model,
		  struct weir_error *err)
{
	uint32_t nr = weir_model_nr_files(model);
	int rc = 0;

	files->io = io;
	files->model = model;
	files->nr = 0;
	files->files = wr_calloc(nr, sizeof(*files->files));
	if (!files->files)
		return wr_error_set(err, -ENOMEM, NULL, WEIR_OFFSET_NONE,
				    "no memory for %u open files", nr);
	for (uint32_t i = 0; !rc && i < nr; i++)
		rc = open_one(files, i, err);
	if (rc)
		wr_files_fini(files);
	return rc;
}

void wr_files_fini(struct wr_files *files)
{
	for (uint32_t i = 0; i < files->nr; i++)
		weir_io_file_close(files->files[i]);
	wr_free(files->files);
	files->files = NULL;
	files->nr = 0;
}

int wr_files_check(const struct wr_files *files, struct weir_error *err)
{
	for (uint32_t i = 0; i < files->nr; i++) {
		int rc = weir_io_file_check(files->files[i]);

		if (rc)
			return wr_error_set(err, rc, weir_model_file(files->model, i)->path,
					    WEIR_OFFSET_NONE,
					    "the file changed while it was being read; "
					    "open the model again");
	}
	return 0;
}

void wr_files_expect_gaps(const struct wr_files *files)
{
	for (uint32_t i = 0; i < files->nr; i++)
		wr_io_file_expect_gaps(files->files[i]);
}
