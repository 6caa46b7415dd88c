/* SPDX-License-Identifier: MIT */
/*
 * What the ring has registered with the kernel: memory, so that its pages are pinned once and not
 * at every read, and files, so that no reference is taken at every read.
 *
 * Both are tables that start with holes and are filled one entry at a time. A kernel without such
 * tables for memory (before 5.13, or 5.19 for holes) gets the whole list anew at each change; one
 * without them for files reads by descriptor. A registered buffer is at most 1 GiB, the kernel's
 * limit (io_uring/rsrc.c, io_buffer_validate()).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/io_internal.h"
#include "io/ring.h"

static void init_files(struct wr_io_ring *ring)
{
	struct rlimit limit = {.rlim_cur = WR_IO_MAX_FILES};

	/* The kernel allows as many as the process may open. */
	getrlimit(RLIMIT_NOFILE, &limit);
	ring->nr_files = (uint32_t)wr_min(limit.rlim_cur, (rlim_t)WR_IO_MAX_FILES);
	ring->files = io_uring_register_files_sparse(&ring->uring, ring->nr_files) == 0;
}

/* Without holes there is nothing to register yet: try it with a page of our own. */
static int try_buffers(struct wr_io_ring *ring)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *mem = wr_calloc_aligned(page, page);
	struct iovec iov = {.iov_base = mem, .iov_len = page};
	int rc;

	if (mem == NULL)
		return -ENOMEM;
	rc = io_uring_register_buffers(&ring->uring, &iov, 1);
	if (rc == 0)
		io_uring_unregister_buffers(&ring->uring);
	wr_free(mem);
	return rc;
}

int wr_io_table_init(struct wr_io_ring *ring, char why[WR_IO_REASON_BYTES])
{
	char text[160];
	int rc;

	if (!ring->want_fixed)
		return 0;
	ring->sparse = io_uring_register_buffers_sparse(&ring->uring, WR_IO_MAX_PIECES) == 0;
	rc = ring->sparse ? 0 : try_buffers(ring);
	if (rc != 0) {
		wr_io_refusal(rc, text, sizeof(text));
		snprintf(why, WR_IO_REASON_BYTES, "registered buffers are refused: %s", text);
		return -EOPNOTSUPP;
	}
	ring->fixed = true;
	init_files(ring);
	return 0;
}

/* ---- memory ------------------------------------------------------------------------------------- */

/* Make the kernel's table what ring->pieces says, where it only takes whole tables. */
static int replace_table(struct wr_io_ring *ring, uint32_t nr_registered)
{
	struct iovec *iov;
	int rc = 0;

	if (nr_registered != 0)
		io_uring_unregister_buffers(&ring->uring);
	if (ring->nr_pieces == 0)
		return 0;
	iov = wr_calloc(ring->nr_pieces, sizeof(*iov));
	if (iov == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < ring->nr_pieces; i++) {
		ring->pieces[i].index = i;
		iov[i].iov_base = ring->pieces[i].base;
		iov[i].iov_len = ring->pieces[i].bytes;
	}
	rc = io_uring_register_buffers(&ring->uring, iov, ring->nr_pieces);
	wr_free(iov);
	return rc;
}

static void insert_piece(struct wr_io_ring *ring, struct wr_io_piece piece)
{
	uint32_t i = ring->nr_pieces++;

	for (; i > 0 && ring->pieces[i - 1].base > piece.base; i--)
		ring->pieces[i] = ring->pieces[i - 1];
	ring->pieces[i] = piece;
}

static int update_buffer(struct wr_io_ring *ring, uint32_t index, void *base, size_t bytes)
{
	struct iovec iov = {.iov_base = base, .iov_len = bytes};
	__u64 tag = 0;
	int rc = io_uring_register_buffers_update_tag(&ring->uring, index, &iov, &tag, 1);

	return rc < 0 ? rc : 0;
}

static void drop_pieces(struct wr_io_ring *ring)
{
	if (ring->nr_pieces != 0 || ring->sparse)
		io_uring_unregister_buffers(&ring->uring);
	ring->nr_pieces = 0;
	ring->sparse = false;
	ring->fixed = false;
	wr_free(ring->pieces);
	ring->pieces = NULL;
}

struct region {
	char *base;
	size_t bytes;
};

static bool overlaps(const struct wr_io_ring *ring, const struct region *region)
{
	for (uint32_t i = 0; i < ring->nr_pieces; i++) {
		const struct wr_io_piece *p = &ring->pieces[i];

		if (region->base < p->base + p->bytes && p->base < region->base + region->bytes)
			return true;
	}
	return false;
}

/* -EFAULT: not (all) mapped. On failure nothing of the region is registered. */
static int add_pieces(struct wr_io_ring *ring, const struct region *region)
{
	uint32_t before = ring->nr_pieces;
	int rc = 0;

	for (size_t at = 0; at < region->bytes && rc == 0; at += WR_IO_PIECE_BYTES) {
		struct wr_io_piece piece = {
			.base = region->base + at,
			.bytes = wr_min(region->bytes - at, WR_IO_PIECE_BYTES),
			.index = ring->nr_pieces,
		};

		if (ring->sparse)
			rc = update_buffer(ring, piece.index, piece.base, piece.bytes);
		if (rc == 0)
			insert_piece(ring, piece);
	}
	return rc != 0 || ring->sparse ? rc : replace_table(ring, before);
}

/* Take back all pieces of @region. */
static void remove_pieces(struct wr_io_ring *ring, const struct region *region)
{
	uint32_t before = ring->nr_pieces, kept = 0;

	for (uint32_t i = 0; i < before; i++) {
		struct wr_io_piece *p = &ring->pieces[i];

		if (p->base >= region->base && p->base < region->base + region->bytes) {
			if (ring->sparse)
				(void)update_buffer(ring, p->index, NULL, 0);
		} else {
			ring->pieces[kept++] = *p;
		}
	}
	ring->nr_pieces = kept;
	/* When even the old table is refused, nothing is registered and all reads are plain. */
	if (!ring->sparse && replace_table(ring, 0) != 0)
		ring->nr_pieces = 0;
}

/*
 * Say so and go on without: the memory limit is the user's to raise, and until then the reads come
 * all the same. Only with WEIR_IO_AUTO.
 */
static void step_down(struct wr_io_ring *ring, size_t bytes, int code)
{
	struct weir_io *io = ring->lane.io;
	char text[160];

	drop_pieces(ring);
	wr_io_refusal(code, text, sizeof(text));
	snprintf(io->reason_after_step, sizeof(io->reason_after_step),
		 "fixed: registering %zu KiB is refused: %s", bytes >> 10, text);
	/* Pairs with the acquire in weir_io_backend_reason(). */
	wr_store_release(&io->reason, (const char *)io->reason_after_step);
	wr_store_release(&io->backend, WEIR_IO_URING);
	wr_log(WEIR_LOG_INFO, "io", "%s", io->reason_after_step);
}

static int add_region(struct wr_io_ring *ring, void *arg)
{
	const struct region *region = arg;
	size_t nr = (region->bytes + WR_IO_PIECE_BYTES - 1) / WR_IO_PIECE_BYTES;
	int rc;

	if (!ring->fixed)
		return 0; /* stepped down before */
	if (nr > WR_IO_MAX_PIECES - ring->nr_pieces)
		return -ENOSPC;
	if (overlaps(ring, region))
		return -EINVAL;
	if (ring->pieces == NULL)
		ring->pieces = wr_calloc(WR_IO_MAX_PIECES, sizeof(*ring->pieces));
	if (ring->pieces == NULL)
		return -ENOMEM;
	rc = add_pieces(ring, region);
	if (rc == 0)
		return 0;
	if (rc != -EFAULT && !ring->lane.io->by_name) {
		step_down(ring, region->bytes, rc);
		return 0;
	}
	remove_pieces(ring, region);
	return rc == -EFAULT ? -EINVAL : rc;
}

int wr_io_ring_add_region(struct wr_io_ring *ring, void *base, size_t bytes)
{
	struct region region = {.base = base, .bytes = bytes};

	return wr_io_ring_call(ring, add_region, &region);
}

int wr_io_table_find(const struct wr_io_ring *ring, const char *mem, size_t bytes)
{
	uint32_t low = 0, high = ring->nr_pieces;

	/* The last piece that begins at or before mem is at low - 1 in the end. */
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (ring->pieces[mid].base <= mem)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0)
		return -1;
	low--;
	if (mem + bytes > ring->pieces[low].base + ring->pieces[low].bytes)
		return -1;
	return (int)ring->pieces[low].index;
}

/* ---- files -------------------------------------------------------------------------------------- */

static int add_file(struct wr_io_ring *ring, void *arg)
{
	struct wr_io_way *way = arg;

	if (!ring->files)
		return 0;
	for (uint32_t i = 0; i < ring->nr_files; i++) {
		if (ring->file_used[i / 64] >> i % 64 & 1)
			continue;
		if (io_uring_register_files_update(&ring->uring, i, &way->fd, 1) != 1)
			return 0;
		ring->file_used[i / 64] |= (uint64_t)1 << i % 64;
		way->slot = (int)i;
		return 0;
	}
	return 0;
}

static int remove_file(struct wr_io_ring *ring, void *arg)
{
	struct wr_io_way *way = arg;
	uint32_t i = (uint32_t)way->slot;
	int none = -1;

	(void)io_uring_register_files_update(&ring->uring, i, &none, 1);
	ring->file_used[i / 64] &= ~((uint64_t)1 << i % 64);
	way->slot = -1;
	return 0;
}

void wr_io_ring_add_file(struct wr_io_ring *ring, struct wr_io_way *way)
{
	(void)wr_io_ring_call(ring, add_file, way);
}

void wr_io_ring_remove_file(struct wr_io_ring *ring, struct wr_io_way *way)
{
	(void)wr_io_ring_call(ring, remove_file, way);
}

void wr_io_table_fini(struct wr_io_ring *ring)
{
	drop_pieces(ring);
	if (ring->files)
		io_uring_unregister_files(&ring->uring);
	ring->files = false;
}
