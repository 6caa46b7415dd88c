/* SPDX-License-Identifier: MIT */
/* Which sanitizers are compiled in: 0 or 1. gcc says so by macros, clang by features. */
#ifndef WR_BASE_SANITIZER_H
#define WR_BASE_SANITIZER_H

#if defined(__SANITIZE_THREAD__)
#define WR_SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WR_SANITIZE_THREAD 1
#endif
#endif
#ifndef WR_SANITIZE_THREAD
#define WR_SANITIZE_THREAD 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WR_SANITIZE_ADDRESS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WR_SANITIZE_ADDRESS 1
#endif
#endif
#ifndef WR_SANITIZE_ADDRESS
#define WR_SANITIZE_ADDRESS 0
#endif

#endif /* WR_BASE_SANITIZER_H */
