/* SPDX-License-Identifier: MIT */
/*
 * pool/maintain.h - What the table of handles needs to know of the maintenance thread.
 */
#ifndef WR_POOL_MAINTAIN_H
#define WR_POOL_MAINTAIN_H

struct wr_maintain;

/* The thread does not run, or is one of the process that this one was forked from. */
void wr_maintain_free(struct wr_maintain *m);

#endif /* WR_POOL_MAINTAIN_H */
