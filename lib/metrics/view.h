/* SPDX-License-Identifier: MIT */
/*
 * What an export sees of numbers, wherever they are: a registry of this process, or the segment of
 * another. Ids are dense; a family is the id that stands for its name, with the series after it.
 */
#ifndef WR_METRICS_VIEW_H
#define WR_METRICS_VIEW_H

#include <weir/metrics_sample.h>

struct wr_view {
	void *source;
	char labels[96]; /* put in front of each series' own; "" for none */
	uint32_t (*nr)(void *source);
	/*
	 * The entry @id: false when it cannot be shown. @ret_is_series is false for a family with
	 * labels, of which only name, unit, help and kind are there.
	 */
	bool (*show)(void *source, uint32_t id, struct weir_metric *ret, bool *ret_is_series);
	/* Name, kind, unit of @id without reading its value. */
	bool (*peek)(void *source, uint32_t id, struct weir_metric *ret);
	/* The series after @id in its family, or UINT32_MAX. */
	uint32_t (*next)(void *source, uint32_t id);
	int (*histogram)(void *source, uint32_t id, struct weir_histogram *ret);
	int (*history)(void *source, uint32_t id, int ring, uint32_t max, struct weir_point *ret);
};

/* Write what all @views have. Codes as weir_metrics_export(). */
int wr_views_export(const struct wr_view *views, uint32_t nr, int format,
		    int (*write)(void *arg, const char *text, size_t bytes), void *arg);

#endif /* WR_METRICS_VIEW_H */
