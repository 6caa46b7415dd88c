/* SPDX-License-Identifier: MIT */
/*
 * What the outcome of one read means. The kernel's codes are turned into weir's here and nowhere
 * else:
 *
 *   all that was needed      complete
 *   fewer bytes              read on from the last whole block
 *   0, or twice less than    the file ends inside the range: -ESTALE if it is no longer the file
 *   a block                  that was opened, else -ENODATA
 *   EINTR EAGAIN             read again, NR_AGAIN times at most, then as a device error
 *   ENOMEM ENOBUFS           the same, then -ENOMEM
 *   EFAULT                   -EINVAL: the landing buffer is not writable memory
 *   ECANCELED                -ECANCELED
 *   ENOSPC EDQUOT EROFS EFBIG of a write: the file system's answer, -EDQUOT for both of the first
 *   anything else            a device error: read again once, then -ESTALE if the file has changed,
 *                            else -EIO. The block layer has many names for these; among them is
 *                            ENODATA for a bad sector (blk_errors[] in the kernel's
 *                            block/blk-core.c), which must not pass for the end of the file.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "io/io_internal.h"

#define NR_AGAIN 64
/* Attempts before the first pause; what lasts longer than these is not over in a moment. */
#define NR_AGAIN_AT_ONCE 4
#define PAUSE_NS	 200000

static int again(struct wr_io_chunk *c, int code)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	if (++c->nr_again > NR_AGAIN)
		return code;
	wr_io_count(c->req->lane->io, nr_retries, 1);
	if (c->nr_again > NR_AGAIN_AT_ONCE)
		nanosleep(&pause, NULL);
	return WR_IO_AGAIN;
}

static int file_ends(const struct wr_io_chunk *c)
{
	return wr_io_file_changed(c->req->user.file, true) == -ESTALE ? -ESTALE : -ENODATA;
}

static int device_error(struct wr_io_chunk *c, int64_t res)
{
	const struct weir_io_file *file = c->req->user.file;

	/* Each lost page is reported by one sync: a second one that succeeds proves nothing. */
	if (c->req->op != WR_IO_OP_SYNC && c->nr_errors++ == 0) {
		wr_io_count(c->req->lane->io, nr_retries, 1);
		return WR_IO_AGAIN;
	}
	wr_log(WEIR_LOG_WARN, "io", "%s: %s %u bytes at %llu failed: %s", file->path,
	       c->req->op == WR_IO_OP_READ ? "reading" : "writing", c->bytes - c->done,
	       (unsigned long long)c->offset + c->done, strerror((int)-res));
	return wr_io_file_changed(file, true) == -ESTALE ? -ESTALE : -EIO;
}

static int some_bytes(struct wr_io_chunk *c, uint32_t bytes)
{
	const struct weir_io_file *file = c->req->user.file;
	uint32_t blocks = bytes - bytes % file->align;

	if (c->req->op == WR_IO_OP_READ)
		wr_io_count(c->req->lane->io, bytes_read, bytes);
	if (c->req->op == WR_IO_OP_READ && c->req->way->direct)
		(void)wr_fetch_add_relaxed(&c->req->lane->io->direct_bytes, bytes);
	if (c->done + bytes >= c->needed) {
		c->done += bytes;
		return 0;
	}
	wr_io_count(c->req->lane->io, nr_short, 1);
	/* A direct read can only go on at a block, so the rest of a block is read once more. */
	c->done += blocks;
	if (blocks != 0)
		c->nr_stalls = 0;
	else if (++c->nr_stalls == 2)
		return file_ends(c);
	return WR_IO_AGAIN;
}

/* What a file system says of a write that no second try would change; 0: something else. */
static int is_full(int64_t code)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
		return -EDQUOT;
	case EROFS:
	case EFBIG:
		return -(int)code;
	default:
		return 0;
	}
}

int wr_io_chunk_result(struct wr_io_chunk *c, int64_t res)
{
	struct weir_io *io = c->req->lane->io;

#if WR_DEBUG
	const struct wr_io_fault *fault = wr_load_acquire(&io->fault);

	if (fault != NULL)
		res = fault->filter(fault->arg, c->offset + c->done, c->bytes - c->done, res);
#endif
	wr_io_count(io, nr_chunks, 1);
	if (c->fixed)
		wr_io_count(io, nr_fixed_chunks, 1);
	if (res > 0)
		return some_bytes(c, (uint32_t)res);
	if (c->req->op != WR_IO_OP_READ && is_full(-res) != 0)
		return is_full(-res);
	switch (-res) {
	case 0:
		if (c->req->op == WR_IO_OP_SYNC)
			return 0;
		return c->req->op == WR_IO_OP_WRITE ? device_error(c, -EIO) : file_ends(c);
	case EINTR:
	case EAGAIN:
		return again(c, -EIO);
	case ENOMEM:
	case ENOBUFS:
		return again(c, -ENOMEM);
	case EFAULT:
		return -EINVAL;
	case ECANCELED:
		return -ECANCELED;
	default:
		return device_error(c, res);
	}
}
