/* SPDX-License-Identifier: MIT */
/*
 * doctor_disk.c - The rungs of the engine, the place where models lie, and what a store would
 * have there.
 *
 * The engine itself is asked, rung by rung, so its reasons are the ones that a later
 * run prints.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <weir/io.h>

#include "peak.h"
#include "ui.h"

/* ---- the engine ---- */

static void advise_refused(struct wr_doctor_finding *f)
{
	if (wr_doctor_number("/proc/sys/kernel/io_uring_disabled", 0))
		wr_doctor_advise(f, "allow io_uring: one thread then does the work of several",
				 "%ssysctl -w kernel.io_uring_disabled=0", wr_doctor_sudo());
	else
		wr_doctor_advise(f,
				 "if this is a container, let its seccomp profile allow io_uring",
				 "docker run --security-opt seccomp=unconfined ...");
}

void wr_doctor_engine(struct wr_doctor *d)
{
	static const int rungs[] = {WEIR_IO_FIXED, WEIR_IO_URING, WEIR_IO_PREAD, WEIR_IO_BUFFERED};
	json_t *facts = json_object();
	bool advised = false;

	for (size_t i = 0; i < sizeof(rungs) / sizeof(rungs[0]); i++) {
		const struct weir_io_opts opts = {.size = sizeof(opts),
						  .backend = (uint32_t)rungs[i]};
		const char *name = weir_io_backend_name(rungs[i]);
		struct wr_doctor_finding *f;
		struct weir_error err = {.message = ""};
		struct weir_io *io = NULL;
		bool works = !weir_io_open(&opts, &io, &err);
		char title[24];

		weir_io_close(io);
		json_object_set_new(facts, name,
				    json_pack("{s:b, s:o}", "works", works, "reason",
					      works ? json_null() : wr_ui_json_text(err.message)));
		snprintf(title, sizeof(title), "io %.16s", name);
		f = wr_doctor_add(d, works ? WR_DOCTOR_OK : WR_DOCTOR_FIX, title, "%s",
				  works ? "works" : err.message);
		if (!works && !advised)
			advise_refused(f);
		advised |= !works;
	}
	json_object_set_new(d->facts, "engine", facts);
}

/* ---- the place ---- */

/* A file to try: @d->path itself, or one that is made in it. @ret_made: it must be removed. */
static int trial_file(const struct wr_doctor *d, char *path, size_t size, bool *ret_made)
{
	static const char block[65536];
	struct stat st;
	int fd, code = 0;

	*ret_made = false;
	if (stat(d->path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode)) {
		snprintf(path, size, "%s", d->path);
		return 0;
	}
	if ((size_t)snprintf(path, size, "%s/.weir-doctor-XXXXXX", d->path) >= size)
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_made = true;
	if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
		code = -ENOSPC;
	close(fd);
	return code;
}

/* Type and mount point of the file system of @path, from /proc/self/mountinfo. */
static void file_system(const char *path, char *type, size_t type_size, char *mount,
			size_t mount_size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	unsigned int major_nr, minor_nr;
	char line[1024], point[512], kind[64];
	struct stat st;

	snprintf(type, type_size, "unknown");
	snprintf(mount, mount_size, "?");
	if (f && !stat(path, &st)) {
		/* proc(5): id parent major:minor root point options tags... - type source ... */
		while (fgets(line, sizeof(line), f)) {
			const char *dash = strstr(line, " - ");

			if (sscanf(line, "%*u %*u %u:%u %*s %511s", &major_nr, &minor_nr, point) !=
				    3 ||
			    !dash || sscanf(dash, " - %63s", kind) != 1)
				continue;
			if (makedev(major_nr, minor_nr) != st.st_dev)
				continue;
			snprintf(type, type_size, "%s", kind);
			snprintf(mount, mount_size, "%s", point);
		}
	}
	if (f)
		fclose(f);
}

/* What direct reads of @path need, asked through an engine that may use any rung. */
static int direct_info(const char *path, struct weir_io_file_info *ret)
{
	const struct weir_io_opts opts = {.size = sizeof(opts), .page_cache = WEIR_IO_CACHE_NEVER};
	struct weir_io_file *file = NULL;
	struct weir_io *io = NULL;
	int code = weir_io_open(&opts, &io, NULL);

	if (!code)
		code = weir_io_file_open(io, path, &file, NULL);
	if (!code)
		weir_io_file_info(file, ret);
	weir_io_file_close(file);
	weir_io_close(io);
	return code;
}

static void look_at_direct(struct wr_doctor *d)
{
	struct weir_io_file_info info = {0};
	char path[4096], type[64], mount[512];
	struct wr_doctor_finding *f;
	bool made;
	int code;

	file_system(d->path, type, sizeof(type), mount, sizeof(mount));
	code = trial_file(d, path, sizeof(path), &made);
	if (!code)
		code = direct_info(path, &info);
	if (made)
		unlink(path);
	json_object_set_new(d->facts, "file_system", wr_ui_json_text(type));
	if (code) {
		wr_doctor_advise(wr_doctor_add(d, WR_DOCTOR_NOTE, "O_DIRECT",
					       "%s on %s: no file could be tried: %s", type, mount,
					       strerror(-code)),
				 "name a file that is there", "weir doctor FILE");
		return;
	}
	json_object_set_new(d->facts, "direct",
			    json_pack("{s:b, s:i, s:i}", "works", (int)info.direct, "offset_align",
				      (int)info.offset_align, "memory_align",
				      (int)info.memory_align));
	if (info.direct) {
		wr_doctor_add(d, WR_DOCTOR_OK, "O_DIRECT",
			      "%s on %s: offsets of %u bytes, memory of %u", type, mount,
			      info.offset_align, info.memory_align);
		return;
	}
	f = wr_doctor_add(d, WR_DOCTOR_FIX, "O_DIRECT",
			  "%s on %s has none: reads go through the page cache", type, mount);
	wr_doctor_advise(f, "keep models on a disk's file system (ext4, xfs)", "%s", "");
}

static void look_at_device(struct wr_doctor *d)
{
	struct wr_peak_device dev;
	struct wr_doctor_finding *f;
	char path[400];

	if (wr_peak_device_find(d->path, &dev)) {
		wr_doctor_add(d, WR_DOCTOR_NOTE, "device",
			      "not one block device: its counters and settings are not known");
		return;
	}
	json_object_set_new(d->facts, "device",
			    json_pack("{s:s, s:o, s:s}", "name", dev.name, "read_ahead_kb",
				      wr_ui_json_u64(dev.read_ahead_kb), "scheduler",
				      dev.scheduler));
	snprintf(path, sizeof(path), "%s/rotational", dev.queue);
	/* Virtual disks (vda, xvda) say so too and mean nothing by it. */
	if (wr_doctor_number(path, 0) == 1 && !strstr(dev.name, "vd"))
		wr_doctor_add(d, WR_DOCTOR_NOTE, "device", "%s says it rotates: seeks are slow",
			      dev.name);
	else
		wr_doctor_add(d, WR_DOCTOR_OK, "device", "%s", dev.name);
	f = wr_doctor_add(d, strcmp(dev.scheduler, "bfq") ? WR_DOCTOR_OK : WR_DOCTOR_FIX,
			  "scheduler", "%s", dev.scheduler[0] ? dev.scheduler : "none");
	if (f->state == WR_DOCTOR_FIX)
		wr_doctor_advise(f, "bfq shares the disk out in slices",
				 "echo none | %stee %.180s/scheduler", wr_doctor_sudo(), dev.queue);
	f = wr_doctor_add(d, dev.read_ahead_kb < 128 ? WR_DOCTOR_FIX : WR_DOCTOR_OK, "read-ahead",
			  "%" PRIu64 " KiB; matters to mmap and buffered reads only",
			  dev.read_ahead_kb);
	if (f->state == WR_DOCTOR_FIX)
		wr_doctor_advise(f, "buffered reads come in small pieces",
				 "echo 128 | %stee %.180s/read_ahead_kb", wr_doctor_sudo(),
				 dev.queue);
}

/* ---- a store of a cache (l3_dir) ---- */

#define STORE_TRIAL_BYTES ((size_t)32 << 20)
#define STORE_PIECE_BYTES ((size_t)1 << 20)
/* Below that the trial is left out, and a store would be of little use. */
#define STORE_LEAST_FREE ((uint64_t)1 << 30)

struct store_trial {
	bool direct;
	double bytes_per_second; /* until it is durable */
	double sync_seconds;	 /* of 4 KiB */
};

/* As a store writes: whole pieces past the page cache, then one sync. */
static int write_trial(int fd, struct store_trial *ret)
{
	void *piece = NULL;
	uint64_t begin, end;
	int code = 0;

	if (posix_memalign(&piece, 4096, STORE_PIECE_BYTES))
		return -ENOMEM;
	memset(piece, 1, STORE_PIECE_BYTES);
	if (posix_fallocate(fd, 0, (off_t)STORE_TRIAL_BYTES))
		code = -ENOSPC;
	begin = wr_ui_now_ns();
	for (size_t at = 0; !code && at < STORE_TRIAL_BYTES; at += STORE_PIECE_BYTES)
		if (pwrite(fd, piece, STORE_PIECE_BYTES, (off_t)at) != (ssize_t)STORE_PIECE_BYTES)
			code = -EIO;
	if (!code && fdatasync(fd))
		code = -errno;
	end = wr_ui_now_ns();
	ret->bytes_per_second = (double)STORE_TRIAL_BYTES * 1e9 / (double)(end - begin);
	if (!code && (pwrite(fd, piece, 4096, 0) != 4096 || fdatasync(fd)))
		code = -EIO;
	ret->sync_seconds = (double)(wr_ui_now_ns() - end) / 1e9;
	free(piece);
	return code;
}

static int try_store(const char *folder, struct store_trial *ret)
{
	char path[4096];
	int fd, code;

	if ((size_t)snprintf(path, sizeof(path), "%s/.weir-doctor-XXXXXX", folder) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret->direct = fcntl(fd, F_SETFL, O_DIRECT) == 0;
	code = write_trial(fd, ret);
	if (code == -EIO && ret->direct) { /* it was accepted, and does not work */
		ret->direct = false;
		code = fcntl(fd, F_SETFL, 0) ? -errno : write_trial(fd, ret);
	}
	close(fd);
	unlink(path);
	return code;
}

static bool is_of(const char *type, const char *const *kinds)
{
	for (; *kinds; kinds++)
		if (!strncmp(type, *kinds, strlen(*kinds)))
			return true;
	return false;
}

/* Kinds of file system on which owned blocks should not be kept. */
static void advise_store(struct wr_doctor_finding *f, const char *type, uint64_t free_bytes)
{
	static const char *const memory[] = {"tmpfs", "ramfs", NULL};
	static const char *const network[] = {"nfs", "cifs", "smb", "fuse", "9p", "ceph", NULL};

	if (is_of(type, memory))
		wr_doctor_advise(f, "what goes down stays in memory: name a folder on a disk",
				 "weir doctor FOLDER");
	else if (is_of(type, network))
		wr_doctor_advise(f, "a store belongs on a disk of this machine",
				 "weir doctor FOLDER");
	else if (free_bytes < STORE_LEAST_FREE)
		wr_doctor_advise(f, "make room, or name another folder", "weir doctor FOLDER");
	else
		f->state = WR_DOCTOR_OK;
}

static void look_at_store(struct wr_doctor *d)
{
	char type[64], mount[512], free_text[WR_UI_TEXT], rate[WR_UI_TEXT], sync[WR_UI_TEXT];
	struct wr_doctor_finding *f;
	struct store_trial trial = {0};
	uint64_t free_bytes;
	struct statvfs vfs;
	struct stat st;
	int code;

	if (stat(d->path, &st) || !S_ISDIR(st.st_mode) || statvfs(d->path, &vfs))
		return; /* a model's file: nobody asks about a store */
	file_system(d->path, type, sizeof(type), mount, sizeof(mount));
	free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	wr_ui_bytes(free_text, free_bytes);
	code = free_bytes < STORE_LEAST_FREE ? -ENOSPC : try_store(d->path, &trial);
	if (code) {
		f = wr_doctor_add(d, WR_DOCTOR_FIX, "store (L3)", "%s, %s free: not tried: %s",
				  type, free_text, strerror(-code));
		advise_store(f, type, free_bytes);
		f->state = WR_DOCTOR_FIX;
		return;
	}
	json_object_set_new(d->facts, "store",
			    json_pack("{s:o, s:b, s:f, s:f}", "free_bytes",
				      wr_ui_json_u64(free_bytes), "direct", (int)trial.direct,
				      "write_bytes_per_second", trial.bytes_per_second,
				      "sync_seconds", trial.sync_seconds));
	f = wr_doctor_add(d, WR_DOCTOR_FIX, "store (L3)",
			  "%s, %s free, writes %s%s, a sync takes %s", type, free_text,
			  wr_ui_rate(rate, trial.bytes_per_second),
			  trial.direct ? "" : " through the page cache",
			  wr_ui_duration(sync, trial.sync_seconds));
	advise_store(f, type, free_bytes);
}

void wr_doctor_place(struct wr_doctor *d)
{
	look_at_direct(d);
	look_at_device(d);
	look_at_store(d);
}
