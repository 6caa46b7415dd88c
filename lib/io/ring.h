/* SPDX-License-Identifier: MIT */
/*
 * The io_uring lane, as its two files share it: ring.c runs it, ring_table.c keeps its registered
 * buffers and files. Everything marked [ring] belongs to the ring's thread: the kernel ties a
 * SINGLE_ISSUER ring to the thread that made it, for submission and for registration, so whoever
 * else wants something of it sends a control message and waits.
 */
#ifndef WR_IO_RING_H
#define WR_IO_RING_H

#include <liburing.h>

#include "io/io_internal.h"

/* Files beyond the table, and buffers outside its pieces, are read without registration. */
#define WR_IO_MAX_FILES	 256u
#define WR_IO_MAX_PIECES 1024u

struct wr_io_piece {
	char *base;
	size_t bytes;
	uint32_t index; /* in the kernel's table */
};

struct wr_io_ring {
	struct wr_io_lane lane;
	struct io_uring uring; /* [ring] */
	pthread_t thread;
	bool want_fixed; /* [const] */
	int wake_fd;	 /* [const] eventfd */

	/*
	 * [atomic] 1 while the thread is, or is about to be, inside the kernel with nothing to do.
	 * Sleeping: the thread sets it, then looks at the inbox, then waits. Waking: a producer
	 * pushes, then takes it; whoever takes the 1 writes the eventfd. Both are seq_cst pairs
	 * (guarantee D in mpsc.h), so either the thread sees the push or the producer sees the 1.
	 */
	_Alignas(WR_CACHE_LINE) _Atomic uint32_t sleeping;

	uint64_t wake_count; /* [ring] where the eventfd's read lands */
	bool wake_armed;     /* [ring] */
	bool enter_failed;   /* [ring] said so in the log */

	/* [IO], by io->changed: the outcome of the start. */
	bool started;
	int start_code;
	char start_why[WR_IO_REASON_BYTES];

	/* [ring] since the last turn of its loop */
	uint64_t turned_at_ns;
	bool was_busy;

	/* [ring] */
	bool fixed;	   /* registered buffers are in use */
	bool sparse;	   /* the kernel has tables with holes */
	bool files;	   /* there is a table of files */
	uint32_t nr_files; /* its size */
	uint32_t nr_pieces;
	struct wr_io_piece *pieces; /* by base; WR_IO_MAX_PIECES of them once there is one */
	uint64_t file_used[WR_IO_MAX_FILES / 64];
};

/* A function run by the ring's thread for another one, which waits. */
struct wr_io_control {
	struct wr_io_msg msg;
	int (*run)(struct wr_io_ring *ring, void *arg);
	void *arg;
	int result; /* [IO] */
	bool done;  /* [IO] */
};

/* Any thread, the ring's own included; no lock held. */
int wr_io_ring_call(struct wr_io_ring *ring, int (*run)(struct wr_io_ring *ring, void *arg),
		    void *arg);

/* Ring's thread. 0, or the kernel's code with @why filled. */
int wr_io_table_init(struct wr_io_ring *ring, char why[WR_IO_REASON_BYTES]);
void wr_io_table_fini(struct wr_io_ring *ring);
/* The kernel's index of the piece that holds all of it, or -1. */
int wr_io_table_find(const struct wr_io_ring *ring, const char *mem, size_t bytes);

#endif /* WR_IO_RING_H */
