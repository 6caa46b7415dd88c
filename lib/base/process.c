/* SPDX-License-Identifier: MIT */
/* Processes as /proc shows them. */
#include "base/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

uint64_t wr_process_start_ticks(int pid)
{
	char path[32] = "/proc/self/stat", text[1024];
	char *at;
	size_t n;
	FILE *f;

	if (pid != 0)
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	/* The name in brackets may hold anything; field 3, the state, follows the last of them. */
	at = strrchr(text, ')');
	if (!at || at[1] == '\0' || at[2] == 'Z' || at[2] == 'X')
		return 0;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

/* Linux gives the first pid namespace this number (PROC_PID_INIT_INO). */
bool wr_process_sees_kernel_pids(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) != 0 || st.st_ino == 0xeffffffcu;
}
