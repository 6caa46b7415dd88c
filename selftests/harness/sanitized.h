/* SPDX-License-Identifier: MIT */
/* SANITIZED: 1 when a sanitizer is compiled in, whose own memory and time are then in every number. */
#ifndef WR_SELFTESTS_SANITIZED_H
#define WR_SELFTESTS_SANITIZED_H

#include "base/sanitizer.h"

#define SANITIZED (WR_SANITIZE_ADDRESS || WR_SANITIZE_THREAD)

#endif /* WR_SELFTESTS_SANITIZED_H */
