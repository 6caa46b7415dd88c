/* SPDX-License-Identifier: MIT */
/* See zipf.h. */
#include "zipf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/random.h"

int wr_zipf_init(struct wr_zipf *zipf, uint64_t nr, double s)
{
	double sum = 0;

	zipf->nr = nr;
	zipf->sums = malloc(nr * sizeof(*zipf->sums));
	if (!zipf->sums)
		return -ENOMEM;
	for (uint64_t i = 0; i < nr; i++) {
		sum += pow((double)(i + 1), -s);
		zipf->sums[i] = sum;
	}
	return 0;
}

void wr_zipf_fini(struct wr_zipf *zipf)
{
	free(zipf->sums);
}

uint64_t wr_zipf_rank(const struct wr_zipf *zipf, uint64_t random)
{
	double at = wr_random_unit(random) * zipf->sums[zipf->nr - 1];
	uint64_t low = 0, high = zipf->nr - 1;

	while (low < high) {
		uint64_t mid = (low + high) / 2;

		if (zipf->sums[mid] < at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}
