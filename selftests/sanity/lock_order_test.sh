#!/bin/sh
# SPDX-License-Identifier: MIT
# check-lock-order fires when the list of ranks, a lock's mark, its initialisation or the code disagree.
. "$(dirname "$0")/tap.sh"

order() {
	(cd "$copy" && tools/build/check-lock-order "$WR_TEST_BUILD")
}

# A module with two locks of the ranks LOAD and IO, and TEXT.
plant() {
	mkdir -p "$copy/lib/planted"
	cat >"$copy/lib/planted/planted.c" <<-END
		#include "lock/lock.h"
		struct outer { struct wr_mutex load_lock${2- WR_RANKED(LOAD)}; };
		struct inner { struct wr_mutex io_lock WR_RANKED(IO); };
		static void use(struct outer *o, struct inner *i)
		{
			wr_mutex_init(&o->load_lock, WR_RANK_LOAD, "load");
			wr_mutex_init(&i->io_lock, WR_RANK_IO, "io");
			$1
		}
		void wr_planted(struct outer *o, struct inner *i);
		void wr_planted(struct outer *o, struct inner *i) { use(o, i); }
	END
}

fresh
# One other module is enough beside the planted one.
find "$copy/lib" -mindepth 1 -maxdepth 1 -type d ! -name base ! -name lock ! -name knob -exec rm -rf {} +
passes 'the tree as it is' order
plant ''
passes 'marks that are right' order
plant 'wr_mutex_lock(&o->load_lock); wr_mutex_lock(&i->io_lock); wr_mutex_unlock(&i->io_lock); wr_mutex_unlock(&o->load_lock);'
passes 'two locks in order' order
if command -v clang >/dev/null; then
	plant 'wr_mutex_lock(&i->io_lock); wr_mutex_lock(&o->load_lock); wr_mutex_unlock(&o->load_lock); wr_mutex_unlock(&i->io_lock);'
	fires 'two locks against the list' "'load_lock' must be acquired before 'io_lock'" order
	sed -i '/^\tX(LOAD,/d; s/^\tX(IO, .*/&\n\tX(LOAD, WR_LOCK_MAY_BLOCK, "moved") \\/' "$copy/lib/lock/rank.h"
	passes 'the same when the list is turned round' order
	plant 'wr_mutex_lock(&o->load_lock); wr_mutex_lock(&i->io_lock); wr_mutex_unlock(&i->io_lock); wr_mutex_unlock(&o->load_lock);'
	fires 'what was right before, when the list is turned round' "'io_lock' must be acquired before 'load_lock'" order
else
	skip 'the order in the code' 'clang is not installed'
fi
plant '' ''
fires 'a lock without a mark' 'load_lock is not marked WR_RANKED' order
plant '' ' WR_RANKED(CACHE)'
fires 'a mark that is not what it is initialised with' 'load_lock is initialised with LOAD, and no declaration' order
plant '' ' WR_RANKED(NONE)'
fires 'a rank that is not in the list' 'there is no rank NONE' order
finish
