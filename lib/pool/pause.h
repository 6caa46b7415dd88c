/* SPDX-License-Identifier: MIT */
/*
 * pool/pause.h - How long blocks could not be pinned, as counts by length.
 *
 * Eight lengths to a power of two, so a quantile is at most an eighth too long. Not locked:
 * of the one thread that compacts.
 */
#ifndef WR_POOL_PAUSE_H
#define WR_POOL_PAUSE_H

#include <stdint.h>

#define WR_PAUSE_PARTS	8u
#define WR_PAUSE_COUNTS (WR_PAUSE_PARTS * 62u)

struct wr_pauses {
	uint64_t nr;
	uint64_t longest_ns;
	uint32_t count[WR_PAUSE_COUNTS];
};

/* So many blocks had a pause of so long. */
void wr_pauses_add(struct wr_pauses *p, uint64_t nr_blocks, uint64_t ns);

/* The length that so many of a thousand blocks did not exceed; 0 when there was none. */
uint64_t wr_pauses_quantile(const struct wr_pauses *p, unsigned permille);

#endif /* WR_POOL_PAUSE_H */
