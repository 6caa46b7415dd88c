/* SPDX-License-Identifier: MIT */
/*
 * verify.h - Hash every tensor of a model, read by the engine or read plainly.
 *
 * Two readers that share no code below the model's index: what they agree on was
 * read right.
 */
#ifndef WR_TOOLS_VERIFY_H
#define WR_TOOLS_VERIFY_H

#include <stdatomic.h>
#include <stdint.h>

#include <weir/io.h>
#include <weir/weights.h>

/**
 * struct wr_verify - One reader's work, shared with whoever watches it.
 * @model: What to read.
 * @hash:  One XXH3 (64 bits, seed 0) per tensor, by weir_model_tensor() index; filled.
 * @stop:  Set from outside: end soon, with -ECANCELED.
 * @done:  Bytes hashed so far.
 */
struct wr_verify {
	const struct weir_model *model;
	uint64_t *hash;
	atomic_bool *stop;
	_Atomic uint64_t done;
};

/**
 * wr_verify_engine() - Read through an engine, several reads ahead.
 *
 * Return: 0, -ECANCELED, -ENOMEM, or what the engine says; @err tells the file.
 */
int wr_verify_engine(struct wr_verify *v, struct weir_io *io, struct weir_error *err);

/**
 * wr_verify_plain() - Read with pread(), and drop what was read from the page cache.
 *
 * Return: 0, -ECANCELED, -ENOMEM, -ENODATA (the file ends early), or the error of the
 *         system; @err tells the file.
 */
int wr_verify_plain(struct wr_verify *v, struct weir_error *err);

#endif /* WR_TOOLS_VERIFY_H */
