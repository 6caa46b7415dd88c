/* SPDX-License-Identifier: MIT */
/*
 * svg_test.c - What a chart's file contains. How it looks is for eyes.
 */
#include "kselftest_harness.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "svg.h"

static const char *const groups[] = {"1", "2", "3"};

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

/* Draw @series into a file and return it; the caller frees. */
static char *draw(const struct wr_svg_series *series, size_t nr, const char *title)
{
	struct wr_svg_panel panel = {"Panel", "GB", "pass", groups, 3, series, nr};
	struct wr_svg_chart chart = {title, "a\nb", &panel, 1};
	char dir[] = "/tmp/weir-svg-XXXXXX", path[64];
	char *text = calloc(1, 1 << 16);
	FILE *f;

	if (!mkdtemp(dir))
		return text;
	snprintf(path, sizeof(path), "%s/chart.svg", dir);
	if (!wr_svg_write(&chart, path, NULL)) {
		f = fopen(path, "r");
		if (f && !fread(text, 1, (1 << 16) - 1, f))
			text[0] = '\0';
		if (f)
			fclose(f);
	}
	remove(path);
	if (rmdir(dir)) /* something was left beside the chart */
		text[0] = '\0';
	return text;
}

TEST(every_value_is_a_bar_and_missing_ones_are_none)
{
	const double a[] = {1, 2, 3}, b[] = {1, NAN, 3};
	const struct wr_svg_series series[] = {{"a", a, false}, {"b", b, false}};
	char *text = draw(series, 2, "t");

	/* The background, five bars, two squares of the legend. */
	EXPECT_EQ(1 + 5 + 2, count(text, "<rect "));
	EXPECT_EQ(text, strstr(text, "<svg "));
	EXPECT_EQ(1, count(text, "</svg>\n"));
	EXPECT_EQ(0, count(text, "nan"));
	EXPECT_EQ(0, count(text, "inf"));
	free(text);
}

TEST(a_line_is_interrupted_where_a_value_is_missing)
{
	const double a[] = {1, NAN, 3};
	const struct wr_svg_series series[] = {{"bound", a, true}};
	char *text = draw(series, 1, "t");

	EXPECT_EQ(2, count(text, "<circle "));
	EXPECT_EQ(2 + 1, count(text, "<path "));
	free(text);
}

TEST(values_of_zero_draw_an_axis)
{
	const double a[] = {0, 0, 0};
	const struct wr_svg_series series[] = {{"a", a, false}};
	char *text = draw(series, 1, "t");

	EXPECT_EQ(1, count(text, "</svg>"));
	EXPECT_EQ(0, count(text, "nan"));
	EXPECT_EQ(0, count(text, "inf"));
	free(text);
}

TEST(text_that_xml_reserves_is_escaped)
{
	const double a[] = {1, 2, 3};
	const struct wr_svg_series series[] = {{"<script>", a, false}};
	char *text = draw(series, 1, "a < b & \"c\"");

	EXPECT_EQ(0, count(text, "<script>"));
	EXPECT_EQ(1, count(text, "a &lt; b &amp; &quot;c&quot;"));
	free(text);
}

TEST(an_empty_or_overfull_chart_is_refused)
{
	struct wr_svg_chart none = {"t", "", NULL, 0};
	struct weir_error err = {0};

	EXPECT_EQ(-EINVAL, wr_svg_write(&none, "/tmp/none.svg", &err));
	EXPECT_EQ(-EINVAL, err.code);
}

TEST(a_folder_that_is_not_there_is_reported)
{
	const double a[] = {1, 2, 3};
	const struct wr_svg_series series[] = {{"a", a, false}};
	const struct wr_svg_panel panel = {"Panel", "GB", "pass", groups, 3, series, 1};
	const struct wr_svg_chart chart = {"t", "", &panel, 1};
	struct weir_error err = {0};

	EXPECT_EQ(-ENOENT, wr_svg_write(&chart, "/tmp/weir-no-such-folder/x.svg", &err));
	EXPECT_STREQ("/tmp/weir-no-such-folder/x.svg", err.file);
}

TEST_HARNESS_MAIN
