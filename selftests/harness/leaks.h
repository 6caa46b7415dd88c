/* SPDX-License-Identifier: MIT */
/*
 * Look for leaks where a test ends. The harness runs each test in a child that leaves through _exit(), which the leak
 * sanitizer does not see; in the address flavour the build includes this header before everything else in a test
 * program, and a test that passed with memory lost fails with status 1.
 *
 * A test that forks and leaves its own child by _exit() is looked at there, too; (_exit)(0) is the way around it.
 */
#ifndef WR_TEST_LEAKS_H
#define WR_TEST_LEAKS_H

#include <sanitizer/lsan_interface.h>
#include <unistd.h>

static inline _Noreturn void wr_test_exit(int status)
{
	if (status == 0 && __lsan_do_recoverable_leak_check())
		status = 1;
	_exit(status);
}

#define _exit(status) wr_test_exit(status)

#endif /* WR_TEST_LEAKS_H */
