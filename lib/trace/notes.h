/* SPDX-License-Identifier: MIT */
/*
 * Probe sites in an ELF file: what its notes of the format of systemtap say, each checked against
 * the file. The file is a stranger's and may say anything: nothing is allocated by a number in it
 * beyond a stated limit, and nothing is read that it does not have.
 */
#ifndef WR_TRACE_NOTES_H
#define WR_TRACE_NOTES_H

#include <stddef.h>
#include <stdint.h>

#include "trace/elf_read.h"

#define WR_SITE_ARGS 3u

/* A site whose code, semaphore and arguments are as lib/base/probe.h makes them. */
struct wr_site {
	const char *name;	   /* of the probe; valid during the call */
	uint64_t offset;	   /* of the code in the file */
	uint64_t semaphore;	   /* of the counter in the file */
	uint8_t reg[WR_SITE_ARGS]; /* place in the saved registers, in words */
	uint8_t nr_args;
};

/*
 * Calls fn() for each site of provider weir; another value than 0 ends the walk and is returned.
 * Else 0, -EBADMSG (no ELF file of this machine), -EFBIG (a table above the limits), -ENOMEM, or
 * what read() says. A note that is wrong is left out and the walk goes on.
 */
int wr_sites_of(const struct wr_elf_file *file, int (*fn)(void *arg, const struct wr_site *site),
		void *arg);

#endif /* WR_TRACE_NOTES_H */
