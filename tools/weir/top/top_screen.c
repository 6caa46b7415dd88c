/* SPDX-License-Identifier: MIT */
/*
 * top_screen.c - The live screen of `weir top`.
 *
 * curses draws only what changed, which is what makes it bearable over a slow line; everything
 * shown comes as lines from top_draw.c.
 */
#include "top.h"

#include <errno.h>

#include "ui.h"

#if HAVE_NCURSES
#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <time.h>

bool wr_top_has_screen(void)
{
	return true;
}

static uint64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Free, a little, half, much, full. */
static const short colours[] = {-1, COLOR_YELLOW, COLOR_YELLOW, COLOR_GREEN, COLOR_CYAN};

static void begin_colours(void)
{
	if (!has_colors() || start_color() == ERR || use_default_colors() == ERR)
		return;
	for (short i = 0; i < (short)(sizeof(colours) / sizeof(colours[0])); i++)
		init_pair((short)(i + 1), colours[i], -1);
}

static void show_map(const char *line)
{
	char mark[8];
	unsigned bytes;

	addnstr(line, WR_TOP_INDENT);
	for (line += strnlen(line, WR_TOP_INDENT); *line; line += bytes) {
		int level = wr_top_map_level(line, &bytes);

		memcpy(mark, line, bytes);
		mark[bytes] = '\0';
		if (level >= 0 && has_colors())
			attron(COLOR_PAIR(level + 1));
		addstr(mark);
		attrset(A_NORMAL);
	}
}

static void show(const struct wr_top_page *page)
{
	erase();
	for (unsigned i = 0; i < page->nr; i++) {
		bool title = page->style[i] == WR_TOP_TITLE;

		if (title)
			attron(A_REVERSE);
		/* What the line above spilled over its end goes. */
		move((int)i, 0);
		clrtoeol();
		if (page->style[i] == WR_TOP_MAP)
			show_map(page->line[i]);
		else
			addstr(page->line[i]);
		/* A title goes over the whole width. */
		if (title) {
			for (int x = getcurx(stdscr); getcury(stdscr) == (int)i && x < COLS; x++)
				addch(' ');
			attroff(A_REVERSE);
		}
	}
	move(LINES - 1, 0);
	clrtoeol();
	mvprintw(LINES - 1, 0, "q quit   n next host   p previous");
	refresh();
}

/* One look: 0, or why there is nothing to show. */
static int look(const struct wr_top_args *args, unsigned skip, bool blocks, unsigned *ret_nr)
{
	static struct wr_top_page page;
	static struct wr_top_host host;
	struct weir_segment *segment;
	unsigned which;
	int rc = wr_top_find(args, skip, &which, ret_nr, &segment);

	if (rc)
		return rc;
	wr_top_read(segment, unix_ms(), &host);
	weir_segment_close(segment);
	page.max = LINES > 1 ? (unsigned)LINES - 1 : 1;
	page.width = COLS > 0 ? (unsigned)COLS : 1;
	page.blocks = blocks;
	wr_top_draw(&host, which, *ret_nr, &page);
	show(&page);
	return 0;
}

/* With a host that ended and no other there is nothing to wait for; without a pid there may be. */
static int run(const struct wr_top_args *args, bool blocks)
{
	unsigned skip = 0, looks = 0, nr = 1;
	int rc = 0, key;

	while (!wr_ui_interrupted() && (!args->count || looks < args->count)) {
		rc = look(args, skip, blocks, &nr);
		if (rc == -ENOENT && !args->pid && !args->post_mortem) {
			erase();
			mvprintw(0, 0, "No host runs. Waiting for one; q quits.");
			refresh();
			rc = 0;
		}
		if (rc)
			break;
		looks++;
		key = getch();
		if (key == 'q' || key == 'Q' || key == 27)
			break;
		if (key == 'n' || key == '\t')
			skip++;
		if (key == 'p')
			skip += nr - 1;
	}
	return rc;
}

int wr_top_screen(const struct wr_top_args *args)
{
	bool blocks;
	int rc;

	setlocale(LC_CTYPE, "");
	blocks = !strcmp(nl_langinfo(CODESET), "UTF-8");
	if (!initscr())
		return wr_ui_fail_code(false, "top", -ENODEV, "this terminal has no screen");
	begin_colours();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	timeout((int)args->interval_ms);
	rc = run(args, blocks);
	endwin();
	if (rc)
		return wr_ui_fail_code(false, "top", rc,
				       args->post_mortem ? "no host of that number left anything"
							 : "the host has ended, or never ran");
	return wr_ui_interrupted() ? WR_EXIT_INTERRUPTED : WR_EXIT_OK;
}
#else
bool wr_top_has_screen(void)
{
	return false;
}

int wr_top_screen(const struct wr_top_args *args)
{
	(void)args;
	return wr_ui_fail_code(false, "top", -EOPNOTSUPP, "built without ncurses");
}
#endif
