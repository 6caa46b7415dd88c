/* SPDX-License-Identifier: MIT */
/*
 * Past the page cache, or through it: decided for each file when it is opened, from what was
 * measured then, and again every now and then while it is read. Direct reads cost a fraction of the
 * processor's time and leave no copy behind; but what is in the page cache already is there at the
 * speed of memory, and memory that nobody uses might as well keep a file that is read again and
 * again. A fixed choice is wrong half of the time, so each says why it was made.
 *
 * What changes a choice must have lasted: one that was made stays for a time, longer each time it
 * changes, and what speaks for another must have spoken twice. Only shortness of memory is
 * heeded at once, and then for half a minute.
 */
#ifndef WR_IO_CHOICE_H
#define WR_IO_CHOICE_H

#include <weir/io.h>

/* What is not known is 0. */
struct wr_io_facts {
	uint32_t mode; /* enum weir_io_page_cache */
	uint64_t file_bytes;
	uint64_t cached_bytes;	  /* of the file, in the page cache */
	uint64_t spare_bytes;	  /* memory that nobody uses, or that can be had without harm */
	uint64_t total_bytes;	  /* all of the memory that this is a part of */
	uint64_t stall_permyriad; /* of the last 10 s, some task waited for memory */
	uint64_t refault_bps;	  /* file pages that come back soon after they were dropped */
	uint64_t device_bps;	  /* direct reads of this device, one at a time */
	uint64_t cache_bps;	  /* reads of what is in the page cache, one at a time */
};

#define WR_IO_CHOICE_BYTES 192

enum wr_io_access {
	WR_IO_DIRECT,	  /* past the page cache */
	WR_IO_FROM_CACHE, /* through it: the file is there */
	WR_IO_THROUGH,	  /* through it, and what comes in stays there */
};

/* Pure. @why: one sentence. */
enum wr_io_access wr_io_choose(const struct wr_io_facts *facts, char why[WR_IO_CHOICE_BYTES]);

/* Files of which less is in the page cache are not worth a measurement of rates. */
bool wr_io_is_warm(const struct wr_io_facts *facts);

/* How a choice stands. Zero at first. */
struct wr_io_standing {
	enum wr_io_access now;
	uint32_t mode;		/* that it was made in */
	enum wr_io_access next; /* what the last look said, and */
	uint32_t nr_said;	/* how often in a row, if that was another */
	uint32_t nr_changes;
	uint64_t until_ns; /* it stays for so long */
};

/*
 * The same again, of a file that is open. What it says is taken to be done. @why: written when it
 * changes. True: it does. Pure, but for @standing.
 */
bool wr_io_choose_again(struct wr_io_standing *standing, const struct wr_io_facts *facts,
			uint64_t now_ns, char why[WR_IO_CHOICE_BYTES]);

/* Whether another look would need the rates: what it says depends on them. */
bool wr_io_wants_rates(const struct wr_io_standing *standing, const struct wr_io_facts *facts,
		       uint64_t now_ns);

/* ---- what it is made of ---- */

struct wr_io_refaults {
	uint64_t pages, at_ns;
};

/*
 * Memory, stalls and refaults: of the machine, and of the memory cgroups that this process is in,
 * whichever is worse. @root: "", or where files of /proc and /sys lie that are made up.
 */
void wr_io_measure_system(const char *root, struct wr_io_refaults *since,
			  struct wr_io_facts *facts);

/* Both rates, by reading some of the file both ways; 0 where that fails. O_DIRECT is on, and stays. */
void wr_io_measure_rates(int fd, struct wr_io_facts *facts);

/* That of reads from the page cache, of what is there; waits for no device. @fd without O_DIRECT. */
uint64_t wr_io_measure_cache(int fd, uint64_t file_bytes);
/* That of direct reads, one at a time. @fd with O_DIRECT. */
uint64_t wr_io_measure_device(int fd, uint64_t file_bytes);

#endif /* WR_IO_CHOICE_H */
