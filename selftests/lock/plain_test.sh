#!/bin/sh
# SPDX-License-Identifier: MIT
# With everything compiled out (WR_LOCK_PLAIN) a lock is pthread's: the same source with our calls and with pthread's
# gives the same object code. And it does not without: the comparison can fail.
. "$(dirname "$0")/../sanity/tap.sh"

cat >"$tap_tmp/x.c" <<'END'
#include "lock/lock.h"
#if OURS
#define M(what, m) wr_mutex_##what(m)
#define TRY(m) wr_mutex_trylock(m)
#define RW(what, l) wr_rwlock_##what(l)
#define SPIN(what, s) wr_spin_##what(s)
#define HELD(m) wr_lock_assert_held(m)
#define BLOCKS(what) wr_might_block(what)
#else
#define M(what, m) pthread_mutex_##what(&(m)->mutex)
#define TRY(m) (pthread_mutex_trylock(&(m)->mutex) == 0)
#define pthread_rwlock_rdunlock pthread_rwlock_unlock
#define pthread_rwlock_wrunlock pthread_rwlock_unlock
#define RW(what, l) pthread_rwlock_##what(&(l)->rwlock)
#define SPIN(what, s) pthread_spin_##what(&(s)->spin)
#define HELD(m) ((void)0)
#define BLOCKS(what) ((void)0)
#endif
struct thing { struct wr_mutex lock; struct wr_rwlock map; struct wr_spin spin; int a, b; };
int nest(struct thing *t, struct thing *u);
int nest(struct thing *t, struct thing *u)
{
	int sum;
	BLOCKS("a nest");
	M(lock, &t->lock);
	M(lock, &u->lock);
	HELD(&u->lock);
	sum = t->a++ + u->b--;
	M(unlock, &u->lock);
	M(unlock, &t->lock);
	return sum;
}
int others(struct thing *t);
int others(struct thing *t)
{
	int sum = 0;
	RW(rdlock, &t->map);
	sum += t->a;
	RW(rdunlock, &t->map);
	RW(wrlock, &t->map);
	t->a = 0;
	RW(wrunlock, &t->map);
	SPIN(lock, &t->spin);
	t->b++;
	SPIN(unlock, &t->spin);
	if (TRY(&t->lock)) {
		sum += t->b;
		M(unlock, &t->lock);
	}
	return sum;
}
END

code() { # COMPILER OURS FLAGS...: the instructions, without the name of the file
	compiler=$1
	ours=$2
	shift 2
	"$compiler" -std=c11 -D_GNU_SOURCE -DOURS="$ours" -DWR_DEBUG=0 "$@" -I"$WR_TEST_SRCDIR/include" \
		-I"$WR_TEST_SRCDIR/lib" -c -o "$tap_tmp/x.o" "$tap_tmp/x.c" &&
		objdump -dr "$tap_tmp/x.o" | sed 1,3d
}

same() { # COMPILER FLAGS...
	compiler=$1
	shift
	code "$compiler" 1 "$@" >"$tap_tmp/ours" && code "$compiler" 0 "$@" >"$tap_tmp/theirs" &&
		diff "$tap_tmp/ours" "$tap_tmp/theirs" && [ "$(grep -c pthread_ "$tap_tmp/ours")" -ge 12 ]
}

for c in gcc clang; do
	if ! command -v $c >/dev/null; then
		skip "the code of $c" "$c is not installed"
		continue
	fi
	passes "compiled out, $c gives pthread's code" same $c -DWR_LOCK_PLAIN=1 -O2
	passes "compiled out, $c gives pthread's code for a library" same $c -DWR_LOCK_PLAIN=1 -O2 -fPIC
	fires "otherwise $c does not" 'wr_mutex_lock|pthread_' same $c -DWR_LOCK_PLAIN=0 -O2
	fires "nor with the validator, whatever is asked for" 'wr_mutex_lock|pthread_' \
		same $c -DWR_LOCK_PLAIN=1 -DWR_LOCK_CHECK=1 -O2
done
finish
