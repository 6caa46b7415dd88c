/* SPDX-License-Identifier: MIT */
/* Counts of open files and of threads, and what these do, from /proc/self. */
#include "holdings.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* PF_EXITING of the kernel's include/linux/sched.h, set before the one who joins is woken. */
#define EXITING 0x4u

int nr_open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	if (dir == NULL)
		return -errno;
	while (readdir(dir) != NULL)
		nr++;
	closedir(dir);
	/* Less the two names of folders and the descriptor that looks. */
	return nr - 3;
}

static bool read_stat(const char *tid, char *ret_state, unsigned *ret_flags)
{
	char path[300], line[512] = "";
	const char *rest;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/stat", tid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	fclose(f);
	/* The name, in brackets, may hold anything: proc(5), fields 3 to 9 follow it. */
	rest = strrchr(line, ')');
	return rest != NULL &&
	       sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %u", ret_state, ret_flags) == 2;
}

static bool is_living(const char *tid)
{
	unsigned flags;
	char state;

	return read_stat(tid, &state, &flags) && !(flags & EXITING);
}

bool thread_sleeps(int tid)
{
	unsigned flags;
	char name[16], state;

	snprintf(name, sizeof(name), "%d", tid);
	return read_stat(name, &state, &flags) && state == 'S';
}

int nr_living_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	int nr = 0;

	if (dir == NULL)
		return -errno;
	while ((e = readdir(dir)) != NULL)
		nr += e->d_name[0] != '.' && is_living(e->d_name);
	closedir(dir);
	return nr;
}
