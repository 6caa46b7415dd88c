/* SPDX-License-Identifier: MIT */
/*
 * A model's files, open in an engine, and known to be the ones that were indexed.
 */
#ifndef WR_LOAD_FILES_H
#define WR_LOAD_FILES_H

#include <weir/io.h>
#include <weir/weights.h>

/* Caller's memory. All fields [const] after wr_files_init(). */
struct wr_files {
	struct weir_io *io;
	const struct weir_model *model;
	uint32_t nr;
	struct weir_io_file **files;
};

/*
 * Open every file of @model. The model must outlive it.
 * 0, -ESTALE (a file is not the one that was indexed), and weir_io_file_open()'s codes.
 */
int wr_files_init(struct wr_files *files, struct weir_io *io, const struct weir_model *model,
		  struct weir_error *err);
void wr_files_fini(struct wr_files *files);

/* Are all of them still unchanged? 0, -ESTALE, -EIO; @err names the file. May block. */
int wr_files_check(const struct wr_files *files, struct weir_error *err);

/* From now on not all of them is read; see io/advice.h. */
void wr_files_expect_gaps(const struct wr_files *files);

#endif /* WR_LOAD_FILES_H */
