/* SPDX-License-Identifier: MIT */
/* SANITIZED: 1 when a sanitizer is compiled in, whose own memory and time are then in every number. */
#ifndef WR_SELFTESTS_SANITIZED_H
#define WR_SELFTESTS_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif /* WR_SELFTESTS_SANITIZED_H */
