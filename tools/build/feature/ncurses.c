/* SPDX-License-Identifier: MIT */
/* feature: optional tools pkg=ncursesw deb=libncurses-dev */
/* The screen of `weir top`. */
#include <curses.h>

int main(void)
{
	return curses_version() == NULL;
}
