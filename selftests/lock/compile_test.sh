#!/bin/sh
# SPDX-License-Identifier: MIT
# What the compiler does for the locks: clang's analysis catches what breaks a WR_ mark, and a plain
# build holds no validator.
. "$(dirname "$0")/../sanity/tap.sh"

program() { # BODY: functions over a struct with a guarded field
	cat >"$tap_tmp/x.c" <<-END
		#include "lock/lock.h"
		struct thing {
			struct wr_mutex lock;
			struct wr_rwlock map;
			int field WR_GUARDED_BY(lock);
		};
		static struct wr_mutex m;
		static struct wr_rwlock map;
		static int guarded WR_GLOBAL_GUARDED_BY(m);
		static int mapped WR_GLOBAL_GUARDED_BY(map);
		void needs(struct thing *t) WR_REQUIRES(t->lock);
		void needs(struct thing *t) { wr_lock_assert_held(&t->lock); t->field++; }
		int use(struct thing *t, struct wr_cond *c);
		int use(struct thing *t, struct wr_cond *c)
		{
			(void)t;
			(void)c;
			$1
			return 0;
		}
		int other(void);
		int other(void)
		{
			int sum;
			wr_mutex_lock(&m);
			sum = guarded;
			wr_mutex_unlock(&m);
			wr_rwlock_rdlock(&map);
			sum += mapped;
			wr_rwlock_rdunlock(&map);
			return sum;
		}
	END
}

analyse() {
	clang -std=c11 -D_GNU_SOURCE -DWR_DEBUG="${2:-0}" -Wall -Wextra -Wthread-safety -Werror \
		-I"$WR_TEST_SRCDIR/include" -I"$WR_TEST_SRCDIR/lib" -fsyntax-only "$tap_tmp/x.c"
}

caught() { # NAME PATTERN BODY
	program "$3"
	fires "$1" "$2" analyse
}

fine() { # NAME BODY
	program "$2"
	passes "$1" analyse
	passes "$1, checked build" analyse - 1
}

analysis() {
	fine 'right uses pass' ''
	fine 'a variable under its lock passes' \
		'wr_mutex_lock(&m); guarded++; wr_mutex_unlock(&m);'
	fine 'a callee with the lock passes' \
		'wr_mutex_lock(&t->lock); needs(t); wr_mutex_unlock(&t->lock);'
	fine 'a wait under the lock passes' \
		'wr_mutex_lock(&t->lock); wr_cond_wait(c, &t->lock); needs(t); wr_mutex_unlock(&t->lock);'
	fine 'a try that is looked at passes' \
		'if (wr_mutex_trylock(&t->lock)) { needs(t); wr_mutex_unlock(&t->lock); }'
	caught 'a variable without its lock is caught' "writing variable 'guarded' requires" 'guarded++;'
	caught 'a variable after the unlock is caught' "writing variable 'guarded' requires" \
		'wr_mutex_lock(&m); wr_mutex_unlock(&m); guarded++;'
	caught 'a write under the lock for reading is caught' "writing variable 'mapped' requires" \
		'wr_rwlock_rdlock(&map); mapped++; wr_rwlock_rdunlock(&map);'
	caught 'a callee without the lock is caught' "calling function 'needs' requires" 'needs(t);'
	caught 'a lock that is kept is caught' 'still held at the end' 'wr_mutex_lock(&t->lock);'
	caught 'a lock that one branch keeps is caught' 'not held on every path' \
		'wr_mutex_lock(&t->lock); if (t != 0) wr_mutex_unlock(&t->lock);'
	caught 'a lock taken twice is caught' 'already held' \
		'wr_mutex_lock(&t->lock); wr_mutex_lock(&t->lock); wr_mutex_unlock(&t->lock);'
	caught 'a wait without the lock is caught' "calling function 'wr_cond_wait' requires" \
		'wr_cond_wait(c, &t->lock);'
}

if command -v clang >/dev/null; then
	analysis
else
	skip "clang's analysis" 'clang is not installed'
fi

no_validator() {
	[ -f "$WR_TEST_BUILD/libweir.a" ] && ! nm "$WR_TEST_BUILD/libweir.a" 2>/dev/null | grep -E 'wr_validate_|wr_graph_|wr_lock_set_fault_hook|wr_might_block'
}

passes 'a plain build holds no validator' no_validator

# What `make instrument` measures against.
uninstrumented() {
	for c in "$WR_TEST_SRCDIR"/lib/*/*.c; do
		case $c in *_avx2.c | *_avx512.c) continue ;; esac
		"$WR_TEST_CC" -std=c11 -D_GNU_SOURCE -DWR_DEBUG=0 -DWR_INSTRUMENT=0 -include "$WR_TEST_BUILD/config.h" \
			-I"$WR_TEST_BUILD" -I"$WR_TEST_SRCDIR/include" -I"$WR_TEST_SRCDIR/lib" -Wall -Wextra -Wundef \
			-Werror -fsyntax-only "$c" || return 1
	done
}
passes 'the library compiles with nothing counted, timed or probed' uninstrumented
finish
