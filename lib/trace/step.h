/* SPDX-License-Identifier: MIT */
/*
 * Where in a function a breakpoint is cheap: the kernel executes some instructions itself and must
 * step all others singly, which costs ten times as much and more in virtual machines.
 */
#ifndef WR_TRACE_STEP_H
#define WR_TRACE_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a function that are looked at. */
#define WR_STEP_BYTES 64u

/*
 * The offset of the first instruction that the kernel need not step, reached from the beginning of
 * the function without a branch, with the first argument (and the second, if @second) and the stack
 * as they were. 0, or -EOPNOTSUPP: there is none, or an instruction on the way is not known here.
 */
int wr_step_place(const uint8_t *code, size_t bytes, bool second, uint32_t *ret);

#endif /* WR_TRACE_STEP_H */
