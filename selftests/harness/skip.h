/* SPDX-License-Identifier: MIT */
/*
 * SKIP() for the setup of a fixture. The harness goes on with the test after a setup that has
 * passed, which a skipped one has by its own account; this one has not, and is still reported as
 * skipped. The fixture is not torn down.
 */
#ifndef WR_SELFTESTS_SKIP_H
#define WR_SELFTESTS_SKIP_H

#define SKIP_SETUP(...)                \
	do {                           \
		SKIP(, __VA_ARGS__);   \
		_metadata->passed = 0; \
		return;                \
	} while (0)

#endif /* WR_SELFTESTS_SKIP_H */
