/* SPDX-License-Identifier: MIT */
/* What each fuzzer has: the function that libFuzzer calls, and a check that ends the program. */
#ifndef WR_SELFTESTS_FUZZ_H
#define WR_SELFTESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define must(cond) ((cond) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* WR_SELFTESTS_FUZZ_H */
