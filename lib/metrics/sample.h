/* SPDX-License-Identifier: MIT */
/* What samples, queue and trackers share: the parts of weir_metrics_put(). */
#ifndef WR_METRICS_SAMPLE_H
#define WR_METRICS_SAMPLE_H

#include <weir/metrics_sample.h>

/* As weir_metrics_check(); what is refused is counted. */
int wr_metrics_check_counted(struct weir_metrics *metrics,
			     const struct weir_sample *sample) WEIR_MUST_CHECK;

/* Count and remember a sample that was checked. */
int wr_metrics_take(struct weir_metrics *metrics, const struct weir_sample *sample) WEIR_MUST_CHECK;

/* labels.c: names and values by the rules, for a name that is new. */
int wr_metrics_check_labels(const struct weir_label *labels, uint32_t nr) WEIR_MUST_CHECK;

uint64_t wr_unix_ms(void);

#endif /* WR_METRICS_SAMPLE_H */
