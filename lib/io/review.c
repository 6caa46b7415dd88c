/* SPDX-License-Identifier: MIT */
/*
 * Looking again whether open files are read the best way.
 *
 * Once a second at most, and only while something is read, one of the engine's own threads does it
 * between two reads: some numbers of the kernel's, and for each file how much of it is in the page
 * cache; some tenth of a millisecond. It never waits for the device there: the ring's thread knows
 * the device's rate from what it has read, and a worker is one of several. A file that changes
 * costs a descriptor for the other way, the first time; what is under way ends as it began.
 */
#include <stdio.h>
#include <string.h>

#include "io/io_internal.h"

#define EVERY_NS ((uint64_t)1000000000)
/* No file is to be looked at. */
#define NEVER UINT64_MAX
/* All files together, as long as there are many; the others come first the next time. */
#define MOST_NS ((uint64_t)1000000)
/* Less, and a rate is chance. */
#define LEAST_BYTES ((uint64_t)16 << 20)

void wr_io_review_expect(struct weir_io *io)
{
	uint64_t never = NEVER;

	(void)wr_cas_relaxed(&io->look_at_ns, &never, wr_now_ns() + EVERY_NS);
}

/* Of direct reads while there were some, since this was last known; 0: too few. */
static uint64_t rate_so_far(struct weir_io *io) WR_REQUIRES(io->lock)
{
	uint64_t bytes = wr_load_relaxed(&io->direct_bytes) - io->bytes_seen;
	uint64_t busy_ns = wr_load_relaxed(&io->busy_ns) - io->busy_seen_ns;

	wr_lock_assert_held(&io->lock);
	if (bytes < LEAST_BYTES || !busy_ns)
		return 0;
	io->bytes_seen += bytes;
	io->busy_seen_ns += busy_ns;
	return (uint64_t)((double)bytes * 1e9 / (double)busy_ns);
}

static void measure_rates(struct weir_io *io, struct weir_io_file *file, bool may_read,
			  struct wr_io_facts *facts) WR_REQUIRES(io->lock)
{
	wr_lock_assert_held(&io->lock);
	if (wr_io_file_open_way(io, file, WR_IO_FROM_CACHE))
		return;
	if (may_read)
		facts->device_bps =
			wr_io_measure_device(file->ways[WR_IO_DIRECT].fd, file->info.bytes);
	facts->cache_bps = wr_io_measure_cache(file->ways[WR_IO_FROM_CACHE].fd, file->info.bytes);
}

/* True: it is read another way from now on. */
static bool look_at(struct weir_io *io, struct weir_io_file *file, struct wr_io_facts *facts,
		    bool may_read, char why[WR_IO_CHOICE_BYTES]) WR_REQUIRES(io->lock)
{
	struct wr_io_standing before = file->standing;
	uint64_t now = wr_now_ns();

	wr_lock_assert_held(&io->lock);
	facts->mode = wr_io_file_mode(file);
	facts->file_bytes = file->info.bytes;
	facts->cached_bytes = wr_io_probe_cached(file->fd);
	if (wr_io_wants_rates(&file->standing, facts, now))
		measure_rates(io, file, may_read, facts);
	if (!wr_io_choose_again(&file->standing, facts, now, why))
		return false;
	if (!wr_io_file_open_way(io, file, file->standing.now) &&
	    !wr_io_file_turn(io, file, file->standing.now, why))
		return true;
	/* It cannot be had now: it stays as it is, and is not asked again at once. */
	before.until_ns = file->standing.until_ns;
	before.mode = file->standing.mode;
	file->standing = before;
	return false;
}

/* All of them, or the first that changes; that, or NULL. */
static struct weir_io_file *look(struct weir_io *io, uint64_t now_ns, bool may_read,
				 char why[WR_IO_CHOICE_BYTES]) WR_REQUIRES(io->lock)
{
	struct weir_io_file *file, *last = TAILQ_LAST(&io->files, wr_io_file_list);
	struct wr_io_facts facts = {0};

	wr_lock_assert_held(&io->lock);
	wr_io_measure_system(io->root, &io->refaults, &facts);
	facts.device_bps = may_read ? 0 : rate_so_far(io);
	wr_io_count(io, nr_looks, 1);
	do {
		file = TAILQ_FIRST(&io->files);
		if (file == NULL)
			return NULL;
		TAILQ_REMOVE(&io->files, file, link);
		TAILQ_INSERT_TAIL(&io->files, file, link);
		if (file->may_change && look_at(io, file, &facts, may_read, why))
			return file;
	} while (file != last && wr_now_ns() - now_ns < MOST_NS);
	return NULL;
}

/* What fits, of the end. */
static const char *end_of(const char *path, size_t bytes)
{
	size_t len = strlen(path);

	return len < bytes ? path : path + len - bytes + 1;
}

void wr_io_review(struct weir_io *io, uint64_t now_ns, bool may_read)
{
	uint64_t due = wr_load_relaxed(&io->look_at_ns);
	char why[WR_IO_CHOICE_BYTES], path[128] = "";
	struct weir_io_file *file;

	if (now_ns < due || !wr_cas_relaxed(&io->look_at_ns, &due, now_ns + EVERY_NS))
		return;
	/* Whoever opens or closes a file has it; the next time, then. */
	if (!wr_mutex_trylock(&io->lock))
		return;
	file = look(io, now_ns, may_read, why);
	if (file != NULL) {
		wr_io_count(io, nr_turned, 1);
		(void)snprintf(path, sizeof(path), "%s", end_of(file->path, sizeof(path)));
		/* The others soon. */
		wr_store_relaxed(&io->look_at_ns, now_ns);
	}
	wr_mutex_unlock(&io->lock);
	if (file != NULL)
		wr_log(WEIR_LOG_INFO, "io", "%s: from now on %s", path, why);
}

#if WR_DEBUG
void wr_io_set_root(struct weir_io *io, const char *root)
{
	io->root = root;
}

void wr_io_review_soon(struct weir_io *io)
{
	wr_store_relaxed(&io->look_at_ns, 0);
}
#endif
