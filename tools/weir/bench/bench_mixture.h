/* SPDX-License-Identifier: MIT */
/* bench_mixture.h - weir bench stream where the model is a mixture of experts. */
#ifndef WR_TOOLS_BENCH_MIXTURE_H
#define WR_TOOLS_BENCH_MIXTURE_H

#include "bench.h"

/* Exit status. */
int wr_bench_mixture(const struct wr_bench_args *args);

#endif /* WR_TOOLS_BENCH_MIXTURE_H */
