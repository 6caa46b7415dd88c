/* SPDX-License-Identifier: MIT */
/*
 * Traces in the BPF file system: one folder for each process, 0700, with its maps by name and its
 * links as link_*. The map meta is pinned last and opened first, so a folder that has it is whole.
 */
#include "trace/session.h"

#if WR_TRACE_BPF

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/util.h"

int wr_trace_pin_name(char dir[static 256], const char *pin_dir, int pid)
{
	int n = snprintf(dir, 256, "%s/%d", pin_dir ? pin_dir : WEIR_TRACE_PIN_DIR, pid);

	return n < 256 - 40 ? 0 : -ENAMETOOLONG;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

/* The folder that holds all traces: anyone with the rights may pin beside others, as in /tmp. */
static int make_parent(const char *pin_dir)
{
	char above[256];
	char *slash;

	snprintf(above, sizeof(above), "%s", pin_dir);
	slash = strrchr(above, '/');
	if (slash && slash != above)
		*slash = '\0';
	if (!is_bpffs(pin_dir) && !is_bpffs(above))
		return -ENODEV;
	if (mkdir(pin_dir, 0700) != 0)
		return errno == EEXIST ? 0 : -errno;
	return chmod(pin_dir, 01777) != 0 ? -errno : 0;
}

int wr_trace_pin_make(struct weir_trace *t, const char *pin_dir, struct weir_error *err)
{
	int rc = wr_trace_pin_name(t->dir, pin_dir, t->pid);

	if (!rc)
		rc = make_parent(pin_dir ? pin_dir : WEIR_TRACE_PIN_DIR);
	if (rc == -ENODEV)
		return wr_error_set(err, rc, pin_dir ? pin_dir : WEIR_TRACE_PIN_DIR,
				    WEIR_OFFSET_NONE,
				    "not in a BPF file system: mount -t bpf bpf /sys/fs/bpf");
	if (!rc)
		wr_trace_pin_sweep(pin_dir);
	if (!rc && mkdir(t->dir, 0700) != 0)
		rc = -errno;
	if (rc == -EEXIST)
		return wr_error_set(err, rc, t->dir, WEIR_OFFSET_NONE,
				    "process %d is traced already", t->pid);
	if (rc)
		return wr_error_set(err, rc, t->dir, WEIR_OFFSET_NONE, "cannot pin: %s",
				    weir_strerror(rc));
	t->pinned = true;
	return 0;
}

int wr_trace_pin_all(struct weir_trace *t)
{
	char path[320];

	for (size_t i = 0; i < t->nr_links; i++) {
		const struct wr_trace_link *l = &t->links[i];

		snprintf(path, sizeof(path), "%s/link_%s", t->dir, l->name);
		if (bpf_obj_pin(l->link ? bpf_link__fd(l->link) : l->fd, path))
			return -errno;
	}
	for (int i = 0; i < WR_TRACE_NR_MAPS; i++) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, wr_trace_map_names[i]);
		if (t->map[i] >= 0 && bpf_obj_pin(t->map[i], path))
			return -errno;
	}
	return 0;
}

/* What is pinned may be of another version, or of somebody who chose the same names. */
static int check_sizes(int fd, enum wr_trace_map which)
{
	static const struct {
		size_t key, value;
	} sizes[WR_TRACE_NR_MAPS] = {
#define MAP(name, key, value) {key, value},
		WR_TRACE_MAPS(MAP)
#undef MAP
	};
	struct bpf_map_info info = {0};
	__u32 bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &bytes) != 0)
		return -errno;
	return info.key_size == sizes[which].key && info.value_size == sizes[which].value
		       ? 0
		       : -EBADMSG;
}

int wr_trace_pin_open(struct weir_trace *t, const char *pin_dir, struct weir_error *err)
{
	char path[320];
	int rc = wr_trace_pin_name(t->dir, pin_dir, t->pid);

	for (int i = WR_TRACE_NR_MAPS - 1; !rc && i >= 0; i--) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, wr_trace_map_names[i]);
		t->map[i] = bpf_obj_get(path);
		/* Parts that are off have no maps. */
		if (t->map[i] < 0 && (errno != ENOENT || i == WR_MAP_meta))
			rc = -errno;
		else if (t->map[i] >= 0)
			rc = check_sizes(t->map[i], (enum wr_trace_map)i);
	}
	t->pinned = true;
	if (rc)
		return wr_error_set(err, rc, t->dir, WEIR_OFFSET_NONE, "%s",
				    rc == -ENOENT    ? "this process is not traced"
				    : rc == -EBADMSG ? "the maps are not those of this version"
						     : weir_strerror(rc));
	return 0;
}

int wr_trace_pin_remove(const char *dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *d = opendir(dir);
	int rc = 0;

	if (!d)
		return -errno;
	while ((entry = readdir(d)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (unlink(path) != 0 && errno != ENOENT)
			rc = -errno;
	}
	closedir(d);
	if (rmdir(dir) != 0 && errno != ENOENT && !rc)
		rc = -errno;
	return rc;
}

/* Is what is pinned there of a process that has ended? */
static bool is_over(const char *dir, int pid)
{
	struct weir_trace_meta meta;
	uint32_t zero = 0;
	char path[PATH_MAX];
	int fd;
	bool over;

	snprintf(path, sizeof(path), "%s/meta", dir);
	fd = bpf_obj_get(path);
	/* Being made, or left unfinished: only its end is certain. */
	if (fd < 0)
		return errno == ENOENT && wr_trace_start_ticks(pid) == 0;
	over = bpf_map_lookup_elem(fd, &zero, &meta) == 0 &&
	       meta.target_start_ticks != wr_trace_start_ticks(pid);
	close(fd);
	return over;
}

void wr_trace_pin_sweep(const char *pin_dir)
{
	const char *top = pin_dir ? pin_dir : WEIR_TRACE_PIN_DIR;
	struct dirent *entry;
	DIR *d = opendir(top);
	char dir[256];
	char *end;

	if (!d)
		return;
	while ((entry = readdir(d)) != NULL) {
		long pid = strtol(entry->d_name, &end, 10);

		if (pid <= 0 || pid > INT32_MAX || *end != '\0' ||
		    wr_trace_pin_name(dir, top, (int)pid))
			continue;
		if (is_over(dir, (int)pid))
			(void)wr_trace_pin_remove(dir);
	}
	closedir(d);
}

#endif
