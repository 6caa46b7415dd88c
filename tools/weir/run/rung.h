/* SPDX-License-Identifier: MIT */
/*
 * rung.h - On which rung a model's files are really read, and why.
 *
 * The engine says on which rung it runs; a file whose file system has no O_DIRECT is read by
 * the buffered rung's threads all the same. What is printed is what happens to the files.
 */
#ifndef WR_TOOLS_RUNG_H
#define WR_TOOLS_RUNG_H

#include <weir/weir.h>

/**
 * struct wr_rung - The answer.
 * @backend: enum weir_io_backend: WEIR_IO_BUFFERED when no file is read directly.
 * @reason:  One sentence.
 */
struct wr_rung {
	uint32_t backend;
	char reason[512];
};

/* Opens each file of the model for a moment; one that cannot be opened is not counted. */
void wr_rung_of(struct weir_io *io, const struct weir_model *model, struct wr_rung *ret);

#endif /* WR_TOOLS_RUNG_H */
