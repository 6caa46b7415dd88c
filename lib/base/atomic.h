/* SPDX-License-Identifier: MIT */
/*
 * C11 atomics with the memory order in the name, so that a reader sees at each place which one was
 * meant. They take pointers to _Atomic objects. Each release names its acquire in a comment beside
 * it, and the other way round. Fences are left out on purpose: ThreadSanitizer does not see them.
 */
#ifndef WR_BASE_ATOMIC_H
#define WR_BASE_ATOMIC_H

#include <stdatomic.h>

#define wr_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define wr_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define wr_load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)

#define wr_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define wr_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define wr_store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

#define wr_exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define wr_exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define wr_exchange_seq_cst(p, v) atomic_exchange_explicit((p), (v), memory_order_seq_cst)

/* These give the value before. */
#define wr_fetch_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define wr_fetch_add_acq_rel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define wr_fetch_add_seq_cst(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define wr_fetch_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define wr_fetch_sub_release(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_release)
#define wr_fetch_sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define wr_fetch_or_relaxed(p, v)  atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define wr_fetch_or_acq_rel(p, v)  atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)
#define wr_fetch_and_relaxed(p, v) atomic_fetch_and_explicit((p), (v), memory_order_relaxed)
#define wr_fetch_and_acq_rel(p, v) atomic_fetch_and_explicit((p), (v), memory_order_acq_rel)

/*
 * True when *p was *old and is now v; otherwise *old is what *p holds. On failure the load is an
 * acquire (relaxed for wr_cas_relaxed). Never fails without reason.
 */
#define wr_cas_relaxed(p, old, v)                                                      \
	atomic_compare_exchange_strong_explicit((p), (old), (v), memory_order_relaxed, \
						memory_order_relaxed)
#define wr_cas_acq_rel(p, old, v)                                                      \
	atomic_compare_exchange_strong_explicit((p), (old), (v), memory_order_acq_rel, \
						memory_order_acquire)
#define wr_cas_seq_cst(p, old, v)                                                      \
	atomic_compare_exchange_strong_explicit((p), (old), (v), memory_order_seq_cst, \
						memory_order_seq_cst)

/*
 * Add to a counter that only the calling thread writes: others may read it at any time and see
 * either value, and no locked instruction is needed.
 */
#define wr_add_own(p, v) wr_store_relaxed((p), wr_load_relaxed(p) + (v))

/* In the body of a spin loop. */
static inline void wr_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif /* WR_BASE_ATOMIC_H */
