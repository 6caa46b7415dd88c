/* SPDX-License-Identifier: MIT */
/*
 * Predictor and manager under operations from a file, four bytes each: references, hints,
 * forecasts, completions, evictions, in any order and also where they make no sense. Whatever
 * comes, no key is told twice, only reads that were started are counted, and what is ahead stays
 * within its limit.
 */
#include <errno.h>

#include "fuzz/fuzz.h"
#include "predict/predict.h"
#include "prefetch/prefetch.h"

#define NR_KEYS 256u
#define AHEAD	((uint64_t)1 << 20)

struct host {
	bool reading[NR_KEYS];
	bool resident[NR_KEYS];
	uint64_t nr_started;
};

static int host_start(void *ctx, struct weir_key key, uint64_t bytes, uint64_t deadline_ns)
{
	struct host *h = ctx;

	(void)bytes;
	(void)deadline_ns;
	must(key.lo < NR_KEYS && !h->reading[key.lo] && !h->resident[key.lo]);
	if (key.lo % 17 == 0)
		return key.lo % 2 ? -EAGAIN : -EIO;
	h->reading[key.lo] = true;
	h->nr_started++;
	return 0;
}

static void host_cancel(void *ctx, struct weir_key key)
{
	const struct host *h = ctx;

	must(h->reading[key.lo]);
}

static bool host_resident(void *ctx, struct weir_key key)
{
	const struct host *h = ctx;

	return h->resident[key.lo];
}

static const struct wr_prefetch_ops ops = {
	.start = host_start, .cancel = host_cancel, .resident = host_resident};

static void forecast(struct wr_predict *p, struct wr_prefetch *m, uint64_t now, uint8_t max)
{
	struct wr_forecast f[WR_PREDICT_MAX];
	bool told[NR_KEYS] = {false};
	uint32_t nr = wr_predict_forecast(p, f, max);

	must(nr <= max);
	for (uint32_t i = 0; i < nr; i++) {
		must(f[i].key.lo < NR_KEYS && !told[f[i].key.lo]);
		must(f[i].prob <= WR_PREDICT_SURE && f[i].distance >= 1);
		told[f[i].key.lo] = true;
	}
	if (wr_prefetch_wants(m))
		wr_prefetch_forecast(m, now, f, nr);
}

static void reference(struct host *h, struct wr_predict *p, struct wr_prefetch *m, uint64_t now,
		      const uint8_t *op)
{
	bool expert = op[3] & 1;
	const struct wr_predict_ref ref = {.key = {.lo = op[1]},
					   .bytes = ((uint64_t)op[2] << 10) + 1,
					   .layer = expert ? op[1] / 16u : WR_PREDICT_NONE,
					   .expert = expert ? op[1] % 16u : WR_PREDICT_NONE};

	wr_predict_observe(p, &ref);
	wr_prefetch_reference(m, now, ref.key, ref.bytes,
			      h->resident[op[1]]  ? WR_PREFETCH_HIT
			      : h->reading[op[1]] ? WR_PREFETCH_LATE
						  : WR_PREFETCH_MISS,
			      op[3]);
	h->resident[op[1]] |= !h->reading[op[1]];
}

static void operate(struct host *h, struct wr_predict *p, struct wr_prefetch *m, uint64_t now,
		    const uint8_t *op)
{
	const struct weir_key key = {.lo = op[1]};
	const struct weir_key plan[] = {{.lo = op[1]}, {.lo = op[2]}, {.lo = op[3]}};
	const uint64_t bytes[] = {1, 1000, 100000};

	switch (op[0] % 12) {
	case 0:
		(void)!wr_predict_need(p, key, op[2]);
		break;
	case 1:
		(void)!wr_predict_likely(p, key, op[2], op[3] * 512u);
		break;
	case 2:
		(void)!wr_predict_plan(p, plan, bytes, op[0] / 64u, op[3] & 1);
		break;
	case 3:
		forecast(p, m, now, op[2]);
		break;
	case 4:
	case 5:
		wr_prefetch_filled(m, now, key, op[2] & 1 ? -ECANCELED : 0, op[3]);
		h->resident[op[1]] |= h->reading[op[1]] && !(op[2] & 1);
		h->reading[op[1]] = false;
		break;
	case 6:
		h->resident[op[1]] = false;
		wr_prefetch_evicted(m, key, op[2] & 1);
		break;
	case 7:
		wr_prefetch_run(m, now);
		break;
	default:
		reference(h, p, m, now, op);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct wr_predict_opts predict = {
		.nr_items = 200, .nr_layers = 4, .nr_experts = 16, .halve_at = 8};
	struct host h = {{false}, {false}, 0};
	const struct wr_prefetch_opts prefetch = {
		.ops = &ops, .ctx = &h, .nr_tracked = 24, .ahead_bytes = AHEAD};
	struct wr_prefetch_info info;
	struct wr_prefetch_stat stat;
	struct wr_prefetch *m;
	struct wr_predict *p;

	must(wr_predict_open(&predict, &p) == 0 && wr_prefetch_open(&prefetch, &m) == 0);
	for (size_t i = 0; i + 4 <= size; i += 4) {
		operate(&h, p, m, i * 1000, &data[i]);
		wr_prefetch_info(m, &info);
		must(info.ahead_bytes <= AHEAD && info.nr_tracked <= 24);
	}
	wr_prefetch_stat(m, WR_PREDICT_NR_SOURCES, &stat);
	must(stat.nr_started == h.nr_started);
	wr_prefetch_close(m);
	wr_predict_close(p);
	return 0;
}
