/* SPDX-License-Identifier: MIT */
/*
 * Memory as the kernel tells of it: of the machine, from /proc, and of the memory cgroups that this
 * process is in, of both versions. Pages of files count towards a cgroup's limit, so a page cache is
 * at most as large as the tightest of them, whatever the machine has. What cannot be had stays 0,
 * "not known".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "io/choice.h"

#define PATH_BYTES 1200
#define CGROUP	   "/sys/fs/cgroup"
/* Version 1 says "no limit" so: the largest number of pages (mm/page_counter.c), and near it. */
#define NO_LIMIT ((uint64_t)1 << 62)

static FILE *open_under(const char *root, const char *path)
{
	char full[PATH_BYTES];

	if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int)sizeof(full))
		return NULL;
	return fopen(full, "re");
}

/* The number behind @name at the beginning of a line; 0 if it is not there. */
static uint64_t number_of(const char *root, const char *path, const char *name)
{
	size_t len = strlen(name);
	uint64_t value = 0;
	char line[256];
	FILE *f = open_under(root, path);

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len)) {
			value = strtoull(line + len, NULL, 10);
			break;
		}
	fclose(f);
	return value;
}

/* "some avg10=0.12 avg60=...", as hundredths of a percent. */
static uint64_t stall_permyriad(const char *root, const char *path)
{
	unsigned int whole = 0, hundredths = 0;
	FILE *f = open_under(root, path);

	if (!f)
		return 0;
	if (fscanf(f, "some avg10=%u.%2u", &whole, &hundredths) != 2)
		whole = hundredths = 0;
	fclose(f);
	return whole * 100 + hundredths;
}

/* ---- cgroups ---- */

/* Where the two versions say the same. */
struct version {
	const char *mount;
	const char *limit, *usage, *inactive, *active;
};

static const struct version v1 = {CGROUP "/memory", "memory.limit_in_bytes",
				  "memory.usage_in_bytes", "total_inactive_file ",
				  "total_active_file "};
static const struct version v2 = {CGROUP, "memory.max", "memory.current", "inactive_file ",
				  "active_file "};

/* The path of this process's memory cgroup below the mount; which version has it. */
static const struct version *find_cgroup(const char *root, char path[PATH_BYTES])
{
	const struct version *found = NULL;
	char line[PATH_BYTES];
	FILE *f = open_under(root, "/proc/self/cgroup");

	if (!f)
		return NULL;
	while (fgets(line, sizeof(line), f)) {
		char *controllers = strchr(line, ':'), *where;

		line[strcspn(line, "\n")] = '\0';
		where = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!where)
			continue;
		*where++ = '\0';
		/* A machine that has both keeps memory with the first, if it names it there. */
		if (strcmp(controllers + 1, "memory") != 0 && (controllers[1] || found))
			continue;
		found = controllers[1] ? &v1 : &v2;
		snprintf(path, PATH_BYTES, "%s", where);
	}
	fclose(f);
	return found;
}

static bool read_number(const char *root, const char *dir, const char *file, uint64_t *ret)
{
	char path[2 * PATH_BYTES], text[64];
	FILE *f;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = open_under(root, path);
	if (!f)
		return false;
	good = fgets(text, sizeof(text), f) && text[0] >= '0' && text[0] <= '9';
	if (good)
		*ret = strtoull(text, NULL, 10);
	fclose(f);
	return good;
}

/* One of them: what is left of its limit, with what can be dropped, if that is less than is known. */
static void take_limit(const char *root, const struct version *v, const char *dir,
		       struct wr_io_facts *facts)
{
	char path[2 * PATH_BYTES];
	uint64_t limit, usage = 0, spare;

	if (!read_number(root, dir, v->limit, &limit) || limit >= NO_LIMIT)
		return;
	if (!read_number(root, dir, v->usage, &usage))
		return;
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	spare = limit - wr_min(usage, limit);
	spare += number_of(root, path, v->inactive) + number_of(root, path, v->active);
	facts->spare_bytes = wr_min(facts->spare_bytes, wr_min(spare, limit));
	if (facts->total_bytes > limit)
		facts->total_bytes = limit;
	snprintf(path, sizeof(path), "%s/memory.pressure", dir);
	facts->stall_permyriad = wr_max(facts->stall_permyriad, stall_permyriad(root, path));
}

/*
 * From ours up to the root. In a container the path may be one of the host's that is not to be seen
 * here: then what is mounted is what counts.
 */
static void take_limits(const char *root, struct wr_io_facts *facts)
{
	char path[PATH_BYTES], dir[2 * PATH_BYTES];
	const struct version *v = find_cgroup(root, path);
	char *slash;

	if (!v)
		return;
	while ((slash = strrchr(path, '/'))) {
		if (slash[1]) {
			snprintf(dir, sizeof(dir), "%s%s", v->mount, path);
			take_limit(root, v, dir, facts);
		}
		*slash = '\0';
	}
	take_limit(root, v, v->mount, facts);
}

/* ---- all of it ---- */

/* Shorter, and a rate is chance. */
#define LEAST_NS 50000000u

static uint64_t refault_bps(const char *root, struct wr_io_refaults *since)
{
	uint64_t pages = number_of(root, "/proc/vmstat", "workingset_refault_file ");
	uint64_t now = wr_now_ns(), ns = now - since->at_ns;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bps = 0;

	if (since->at_ns && ns < LEAST_NS)
		return 0;
	if (since->at_ns && pages > since->pages)
		bps = (uint64_t)((double)(pages - since->pages) * (double)page * 1e9 / (double)ns);
	since->pages = pages;
	since->at_ns = now;
	return bps;
}

void wr_io_measure_system(const char *root, struct wr_io_refaults *since, struct wr_io_facts *facts)
{
	facts->spare_bytes = number_of(root, "/proc/meminfo", "MemAvailable:") << 10;
	facts->total_bytes = number_of(root, "/proc/meminfo", "MemTotal:") << 10;
	facts->stall_permyriad = stall_permyriad(root, "/proc/pressure/memory");
	facts->refault_bps = refault_bps(root, since);
	take_limits(root, facts);
}
