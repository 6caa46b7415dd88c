/* SPDX-License-Identifier: MIT */
/*
 * svg.h - Charts as SVG: grouped bars and lines with axes, units and a legend.
 *
 * Made for few groups (passes) of few series (arms of a comparison). Every file
 * stands alone: no scripts, no fonts of its own, text as text, light background.
 */
#ifndef WR_TOOLS_SVG_H
#define WR_TOOLS_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <weir/base.h>

/* Most series of a panel and most panels of a chart. */
#define WR_SVG_MAX_SERIES 10
#define WR_SVG_MAX_PANELS 8

/**
 * struct wr_svg_series - One value per group.
 * @name:   For the legend. The same name has the same colour in every panel.
 * @values: As many as the panel has groups; NAN where there is none.
 * @line:   A line with points instead of bars; for bounds and ideals.
 */
struct wr_svg_series {
	const char *name;
	const double *values;
	bool line;
};

/**
 * struct wr_svg_panel - One pair of axes.
 * @title:      Above it.
 * @unit:       Of the values, at the value axis: "GB", "s".
 * @group_axis: What the groups are: "pass".
 * @groups:     Their names.
 * @nr_groups:  Their number, at least 1.
 * @series:     What is compared.
 * @nr_series:  At least 1.
 */
struct wr_svg_panel {
	const char *title;
	const char *unit;
	const char *group_axis;
	const char *const *groups;
	size_t nr_groups;
	const struct wr_svg_series *series;
	size_t nr_series;
};

/**
 * struct wr_svg_chart - A picture.
 * @title:     One line.
 * @subtitle:  Conditions of the measurement; lines separated by '\n'; "" for none.
 * @panels:    From top to bottom.
 * @nr_panels: At least 1.
 */
struct wr_svg_chart {
	const char *title;
	const char *subtitle;
	const struct wr_svg_panel *panels;
	size_t nr_panels;
};

/**
 * wr_svg_write() - Draw a chart into a file.
 * @chart: What to draw.
 * @path:  Written whole under another name first, then renamed.
 * @err:   On failure; may be NULL.
 *
 * Return: 0, -EINVAL (empty, or too many series or panels), or the error of the
 *         file system.
 */
int wr_svg_write(const struct wr_svg_chart *chart, const char *path, struct weir_error *err);

/* For pictures of other kinds: the letters, the colour of text, and that of what matters less. */
#define WR_SVG_FONT "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\""
#define WR_SVG_INK  "#222222"
#define WR_SVG_SOFT "#666666"

/* Write a file whole under another name first, then rename it. 0 or the file system's error. */
int wr_svg_save(const char *path, void (*draw_all)(FILE *f, const void *arg), const void *arg,
		struct weir_error *err);

/* Put a text; what XML reserves is replaced. @anchor: "start", "middle" or "end". */
void wr_svg_label(FILE *f, double x, double y, int size, const char *anchor, const char *colour,
		  const char *text);

#endif /* WR_TOOLS_SVG_H */
