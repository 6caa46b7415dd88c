/* SPDX-License-Identifier: MIT */
/* What the files of the export share: one file per kind of text, one walk over families. */
#ifndef WR_METRICS_EXPORT_H
#define WR_METRICS_EXPORT_H

#include "metrics/text.h"
#include "metrics/view.h"

/* The base units of Prometheus: what is shown under another unit, with digits after the point. */
struct wr_unit {
	const char *unit, *shown;
	unsigned digits;
};

struct wr_walk {
	const struct wr_view *views;
	uint32_t nr;
	struct wr_out *out;
	int format;
	bool history;
	bool any;	 /* something was written in this text */
	bool head;	 /* the head of this family was */
	uint64_t now_ms; /* of the export */
};

/* One series of @view. */
void wr_export_text(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m);
void wr_export_json(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m);
void wr_export_csv(struct wr_walk *walk, const struct wr_view *view, const struct weir_metric *m);

const char *wr_kind_name(int kind);

extern const char *const wr_ring_names[3];

#endif /* WR_METRICS_EXPORT_H */
