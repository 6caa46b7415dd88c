/* SPDX-License-Identifier: MIT */
/*
 * bench_lock.h - The arms of weir bench lock: a nest of two locks.
 */
#ifndef WR_TOOLS_BENCH_LOCK_H
#define WR_TOOLS_BENCH_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Take two, count, release two, @nr times; LOCK and UNLOCK are the arm's. The count is volatile:
 * what is under the locks must not move out.
 */
#define WR_NEST_LOOP(nr, LOCK, UNLOCK, outer, inner)     \
	do {                                             \
		static volatile uint64_t under;          \
                                                         \
		for (uint32_t i_ = 0; i_ < (nr); i_++) { \
			LOCK(outer);                     \
			LOCK(inner);                     \
			under++;                         \
			UNLOCK(inner);                   \
			UNLOCK(outer);                   \
		}                                        \
	} while (0)

/* pthread's mutexes; the library's; the library's with the validator. */
void wr_nest_plain(uint32_t nr);
void wr_nest_weir(uint32_t nr);
void wr_nest_checked(uint32_t nr);
/* For wr_nest_checked(): with the learned order, or with the list of ranks alone. */
void wr_nest_check_graph(bool graph);
/* Is the validator compiled into the library itself? Then its arm says nothing. */
bool wr_nest_is_checked_build(void);

/**
 * wr_nest_tsan_open() - Build the nest of pthread's mutexes with ThreadSanitizer.
 * @path:   Of the program, to be unlinked.
 * @reason: When there is none: why.
 *
 * Return: 0, -ENOENT (no compiler that can), or why it failed.
 */
int wr_nest_tsan_build(char path[static 64], char reason[static 128]);
/* Least ns a nest over @batches of @nr; negative when it did not run. */
double wr_nest_tsan_run(const char *path, uint32_t batches, uint32_t nr);

#endif /* WR_TOOLS_BENCH_LOCK_H */
