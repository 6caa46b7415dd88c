/* SPDX-License-Identifier: MIT */
/* The file system that fails on request; see fault_fs.h. */
#include "tier/fault_fs.h"

#include <stddef.h>

#if HAVE_FUSE3

#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"

#define WAIT_MS 5000

/* Of the server's process. */
static struct fault_knobs *knobs;
static int root_fd;

static bool chance(uint32_t permille)
{
	uint64_t r = wr_mix64(atomic_fetch_add(&knobs->random, 0x9e3779b97f4a7c15u));

	return permille && (r >> 33) % 1000 < permille;
}

/* 0, or what the call is to fail with. */
static int fault(enum fault_op op)
{
	struct fault_knob *k = &knobs->op[op];
	uint32_t us = atomic_load(&k->delay_us);

	atomic_fetch_add(&k->nr_calls, 1);
	if (us) {
		atomic_fetch_add(&k->nr_faults, 1);
		usleep(us);
	}
	if (!chance(atomic_load(&k->permille)))
		return 0;
	atomic_fetch_add(&k->nr_faults, 1);
	return -atomic_load(&k->code);
}

/* Whole blocks: less than one twice in a row is the end of a file. */
static size_t shortened(enum fault_op op, size_t bytes)
{
	if (bytes < 8192 || !chance(atomic_load(&knobs->op[op].short_permille)))
		return bytes;
	atomic_fetch_add(&knobs->op[op].nr_faults, 1);
	return bytes / 2 / 4096 * 4096;
}

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int result_of(int rc)
{
	return rc < 0 ? -errno : 0;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	return result_of(fi ? fstat((int)fi->fh, st)
			    : fstatat(root_fd, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int fs_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(root_fd, below(path), O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	(void)offset;
	(void)fi;
	(void)flags;
	if (!dir)
		return -errno;
	while ((d = readdir(dir)))
		if (fill(buf, d->d_name, NULL, 0, 0))
			break;
	closedir(dir);
	return 0;
}

/* The backing file is read and written as is; what the opener wanted past the cache, he gets. */
static int open_backing(const char *path, int flags, mode_t mode, struct fuse_file_info *fi)
{
	int fd = openat(root_fd, below(path), flags & ~(O_DIRECT | O_NOFOLLOW), mode);

	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	fi->direct_io = 1;
	return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
	return open_backing(path, fi->flags, 0, fi);
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int rc = fault(FAULT_CREATE);

	return rc ? rc : open_backing(path, fi->flags | O_CREAT, mode, fi);
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return result_of(close((int)fi->fh));
}

static int fs_read(const char *path, char *buf, size_t bytes, off_t offset,
		   struct fuse_file_info *fi)
{
	int rc = fault(FAULT_READ);
	ssize_t n;

	(void)path;
	if (rc)
		return rc;
	n = pread((int)fi->fh, buf, shortened(FAULT_READ, bytes), offset);
	return n < 0 ? -errno : (int)n;
}

/* Take @bytes of the room there is. */
static bool has_room(int64_t bytes)
{
	int64_t room = atomic_load(&knobs->room_bytes);

	while (room >= 0) {
		if (room < bytes) {
			atomic_fetch_add(&knobs->op[FAULT_WRITE].nr_faults, 1);
			return false;
		}
		if (atomic_compare_exchange_weak(&knobs->room_bytes, &room, room - bytes))
			return true;
	}
	return true;
}

static int fs_write(const char *path, const char *buf, size_t bytes, off_t offset,
		    struct fuse_file_info *fi)
{
	int rc = fault(FAULT_WRITE);
	ssize_t n;

	(void)path;
	if (rc) {
		/* A failing device may have written some of it. */
		n = pwrite((int)fi->fh, buf, bytes / 2, offset);
		return n < 0 ? -errno : rc;
	}
	bytes = shortened(FAULT_WRITE, bytes);
	if (!has_room((int64_t)bytes))
		return -ENOSPC;
	n = pwrite((int)fi->fh, buf, bytes, offset);
	return n < 0 ? -errno : (int)n;
}

static int fs_fallocate(const char *path, int mode, off_t offset, off_t bytes,
			struct fuse_file_info *fi)
{
	int rc = fault(FAULT_ALLOCATE);

	(void)path;
	if (rc || !has_room(bytes))
		return rc ? rc : -ENOSPC;
	return result_of(fallocate((int)fi->fh, mode, offset, bytes));
}

static int fs_fsync(const char *path, int is_data, struct fuse_file_info *fi)
{
	(void)path;
	(void)is_data;
	(void)fi;
	return fault(FAULT_SYNC);
}

static int fs_fsyncdir(const char *path, int is_data, struct fuse_file_info *fi)
{
	(void)path;
	(void)is_data;
	(void)fi;
	return fault(FAULT_SYNC_DIR);
}

static int fs_truncate(const char *path, off_t bytes, struct fuse_file_info *fi)
{
	int fd, rc = fault(FAULT_TRUNCATE);

	if (rc)
		return rc;
	if (fi)
		return result_of(ftruncate((int)fi->fh, bytes));
	fd = openat(root_fd, below(path), O_WRONLY);
	if (fd < 0)
		return -errno;
	rc = result_of(ftruncate(fd, bytes));
	close(fd);
	return rc;
}

static int fs_unlink(const char *path)
{
	int rc = fault(FAULT_UNLINK);

	return rc ? rc : result_of(unlinkat(root_fd, below(path), 0));
}

static int fs_rename(const char *from, const char *to, unsigned int flags)
{
	int rc = flags ? -EINVAL : fault(FAULT_RENAME);

	return rc ? rc : result_of(renameat(root_fd, below(from), root_fd, below(to)));
}

static int fs_mkdir(const char *path, mode_t mode)
{
	return result_of(mkdirat(root_fd, below(path), mode));
}

static void *fs_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->use_ino = 1;
	config->hard_remove = 1;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = fs_init,
	.getattr = fs_getattr,
	.readdir = fs_readdir,
	.open = fs_open,
	.create = fs_create,
	.release = fs_release,
	.read = fs_read,
	.write = fs_write,
	.fallocate = fs_fallocate,
	.fsync = fs_fsync,
	.fsyncdir = fs_fsyncdir,
	.truncate = fs_truncate,
	.unlink = fs_unlink,
	.rename = fs_rename,
	.mkdir = fs_mkdir,
};

/* The server: until it is unmounted, or the test is gone. */
static _Noreturn void serve(const struct fault_fs *fs)
{
	char name[] = "weir-fault", foreground[] = "-f";
	char mount[sizeof(fs->mount)];
	char *argv[] = {name, foreground, mount, NULL};
	int quiet = open("/dev/null", O_WRONLY);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	memcpy(mount, fs->mount, sizeof(mount));
	knobs = fs->knobs;
	root_fd = open(fs->backing, O_RDONLY | O_DIRECTORY);
	if (quiet >= 0)
		dup2(quiet, STDERR_FILENO);
	umask(0);
	(_exit)(fuse_main(3, argv, &operations, NULL));
}

static bool is_mounted(const struct fault_fs *fs, dev_t before)
{
	struct stat st;

	return stat(fs->mount, &st) == 0 && st.st_dev != before;
}

const char *fault_fs_start(struct fault_fs *fs, const char *backing, const char *mount)
{
	struct stat before;

	memset(fs, 0, sizeof(*fs));
	snprintf(fs->backing, sizeof(fs->backing), "%s", backing);
	snprintf(fs->mount, sizeof(fs->mount), "%s", mount);
	if (access("/dev/fuse", R_OK | W_OK) != 0)
		return "no FUSE: /dev/fuse cannot be opened";
	if (mkdir(backing, 0700) != 0 || mkdir(mount, 0700) != 0 || stat(mount, &before) != 0)
		return "no FUSE: its folders cannot be made";
	fs->knobs = mmap(NULL, sizeof(*fs->knobs), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fs->knobs == MAP_FAILED)
		return "no FUSE: memory";
	fs->knobs->room_bytes = -1;
	fs->server = fork();
	if (fs->server == 0)
		serve(fs);
	for (int i = 0; i < WAIT_MS / 5; i++) {
		if (is_mounted(fs, before.st_dev))
			return NULL;
		if (waitpid(fs->server, NULL, WNOHANG) == fs->server)
			break;
		usleep(5000);
	}
	fs->server = 0;
	return "no FUSE: mounting is refused";
}

void fault_fs_stop(struct fault_fs *fs)
{
	if (fs->server > 0) {
		(void)umount2(fs->mount, MNT_DETACH);
		kill(fs->server, SIGTERM);
		waitpid(fs->server, NULL, 0);
	}
	if (fs->knobs)
		munmap(fs->knobs, sizeof(*fs->knobs));
	(void)rmdir(fs->mount);
}

#else

const char *fault_fs_start(struct fault_fs *fs, const char *backing, const char *mount)
{
	(void)fs;
	(void)backing;
	(void)mount;
	return "no FUSE: libfuse3-dev was not there when this was built";
}

void fault_fs_stop(struct fault_fs *fs)
{
	(void)fs;
}

#endif
