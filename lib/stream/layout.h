/* SPDX-License-Identifier: MIT */
/*
 * Which units stay in memory, and how large the two slots for the others must be.
 *
 * Pure arithmetic over sizes: no memory, no files. In a cyclic order every unit is used once
 * a pass, so a byte that stays saves a byte of reading whichever unit it belongs to, and the
 * optimum is any choice that fills the budget (Belady 1966, for a loop). The choices made
 * among those: the resident units are spread evenly over the order, so that the device reads
 * during all of a pass and not only in its second half; units so small that a read is mostly
 * its latency stay; and a few units much larger than the rest stay rather than to set the
 * size of the slots, two of which are kept for everything else.
 */
#ifndef WR_STREAM_LAYOUT_H
#define WR_STREAM_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wr_layout {
	uint64_t slot_bytes;	   /* out: size of each of the two slots; 0: all is resident */
	uint64_t resident_bytes;   /* out: landing bytes of the resident units */
	uint64_t min_budget_bytes; /* out: smallest budget for which a layout exists */
	uint32_t nr_resident;	   /* out */
};

/*
 * Choose from @bytes[0..nr), the landing sizes in execution order, for @budget bytes. @wishes: of
 * each, enum weir_tensor_rule: what is pinned stays before all else, what is streamed does not;
 * NULL: nobody wishes anything. @resident[i] is set for every i. 0, -ENOSPC (@ret->min_budget_bytes is set nevertheless),
 * -ENOMEM.
 */
int wr_layout_choose(const uint64_t *bytes, const uint8_t *wishes, uint32_t nr, uint64_t budget,
		     bool *resident, struct wr_layout *ret);

#endif /* WR_STREAM_LAYOUT_H */
