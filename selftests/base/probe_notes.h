/* SPDX-License-Identifier: MIT */
/*
 * The probe sites of the running program, read from its own file, and uprobes on them as the
 * kernel's perf makes them: no BPF is needed to see that a site counts.
 */
#ifndef WR_SELFTESTS_BASE_PROBE_NOTES_H
#define WR_SELFTESTS_BASE_PROBE_NOTES_H

#include <stdint.h>

struct probe_site {
	uint64_t offset;	   /* in the file */
	uint64_t semaphore_offset; /* in the file */
	char args[64];
};

#define PROBE_MAX_SITES 16

/* Sites of weir:@name; returns how many, at most PROBE_MAX_SITES. */
unsigned probe_find(const char *name, struct probe_site sites[static PROBE_MAX_SITES]);

/* Counts hits of the site by this thread; a descriptor, or a negative errno. */
int probe_attach(const struct probe_site *site);
uint64_t probe_hits(int fd);

#endif /* WR_SELFTESTS_BASE_PROBE_NOTES_H */
