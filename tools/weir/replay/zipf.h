/* SPDX-License-Identifier: MIT */
/* zipf.h - Choices by the law of Zipf: rank i, from 0 on, in proportion to 1 / (i + 1)^s. */
#ifndef WR_TOOLS_ZIPF_H
#define WR_TOOLS_ZIPF_H

#include <stdint.h>

struct wr_zipf {
	double *sums; /* of the proportions up to each rank */
	uint64_t nr;
};

/* Of @nr ranks, one at least. 0 or -ENOMEM. */
int wr_zipf_init(struct wr_zipf *zipf, uint64_t nr, double s);
void wr_zipf_fini(struct wr_zipf *zipf);

/* The rank that a random number stands for. */
uint64_t wr_zipf_rank(const struct wr_zipf *zipf, uint64_t random);

#endif /* WR_TOOLS_ZIPF_H */
