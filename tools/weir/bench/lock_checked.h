/* SPDX-License-Identifier: MIT */
/*
 * lock_checked.h - The locks with the validator, beside those without.
 *
 * Included first, it switches the validator on and gives all functions of lib/lock other names. The
 * build compiles lock.c, validate.c and graph.c once more with it, so that one program can measure
 * both. A function that is missing here is defined twice, and the program does not link.
 */
#ifndef WR_TOOLS_LOCK_CHECKED_H
#define WR_TOOLS_LOCK_CHECKED_H

#undef WR_LOCK_CHECK
#define WR_LOCK_CHECK 1

#define wr_cond_broadcast	   checked_wr_cond_broadcast
#define wr_cond_fini		   checked_wr_cond_fini
#define wr_cond_init		   checked_wr_cond_init
#define wr_cond_signal		   checked_wr_cond_signal
#define wr_cond_timedwait	   checked_wr_cond_timedwait
#define wr_cond_wait		   checked_wr_cond_wait
#define wr_graph_chains		   checked_wr_graph_chains
#define wr_graph_class		   checked_wr_graph_class
#define wr_graph_edge		   checked_wr_graph_edge
#define wr_graph_learn		   checked_wr_graph_learn
#define wr_graph_nr_edges	   checked_wr_graph_nr_edges
#define wr_graph_print_way	   checked_wr_graph_print_way
#define wr_graph_reset		   checked_wr_graph_reset
#define wr_lock_assert_none_held   checked_wr_lock_assert_none_held
#define wr_lock_checks		   checked_wr_lock_checks
#define wr_lock_conflicts	   checked_wr_lock_conflicts
#define wr_lock_nr_held		   checked_wr_lock_nr_held
#define wr_lock_rank_flags	   checked_wr_lock_rank_flags
#define wr_lock_rank_name	   checked_wr_lock_rank_name
#define wr_lock_rank_stats	   checked_wr_lock_rank_stats
#define wr_lock_self		   checked_wr_lock_self
#define wr_lock_set_checks	   checked_wr_lock_set_checks
#define wr_lock_set_fault_hook	   checked_wr_lock_set_fault_hook
#define wr_lock_set_hold_limit	   checked_wr_lock_set_hold_limit
#define wr_might_block		   checked_wr_might_block
#define wr_mutex_assert_held	   checked_wr_mutex_assert_held
#define wr_mutex_fini		   checked_wr_mutex_fini
#define wr_mutex_init		   checked_wr_mutex_init
#define wr_mutex_lock		   checked_wr_mutex_lock
#define wr_mutex_owner		   checked_wr_mutex_owner
#define wr_mutex_trylock	   checked_wr_mutex_trylock
#define wr_mutex_unlock		   checked_wr_mutex_unlock
#define wr_rwlock_assert_held	   checked_wr_rwlock_assert_held
#define wr_rwlock_fini		   checked_wr_rwlock_fini
#define wr_rwlock_init		   checked_wr_rwlock_init
#define wr_rwlock_owner		   checked_wr_rwlock_owner
#define wr_rwlock_rdlock	   checked_wr_rwlock_rdlock
#define wr_rwlock_rdunlock	   checked_wr_rwlock_rdunlock
#define wr_rwlock_wrlock	   checked_wr_rwlock_wrlock
#define wr_rwlock_wrunlock	   checked_wr_rwlock_wrunlock
#define wr_spin_assert_held	   checked_wr_spin_assert_held
#define wr_spin_fini		   checked_wr_spin_fini
#define wr_spin_init		   checked_wr_spin_init
#define wr_spin_lock		   checked_wr_spin_lock
#define wr_spin_trylock		   checked_wr_spin_trylock
#define wr_spin_unlock		   checked_wr_spin_unlock
#define wr_validate_ended	   checked_wr_validate_ended
#define wr_validate_full	   checked_wr_validate_full
#define wr_validate_read_begin	   checked_wr_validate_read_begin
#define wr_validate_read_end	   checked_wr_validate_read_end
#define wr_validate_reading	   checked_wr_validate_reading
#define wr_validate_release_slowly checked_wr_validate_release_slowly
#define wr_validate_site	   checked_wr_validate_site
#define wr_validate_take_slowly	   checked_wr_validate_take_slowly
#define wr_validate_try		   checked_wr_validate_try
#define wr_validate_wait	   checked_wr_validate_wait

#endif /* WR_TOOLS_LOCK_CHECKED_H */
