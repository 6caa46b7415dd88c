/* SPDX-License-Identifier: MIT */
/* Right programs; see lock/corpus.h. All threads run at once, and nothing may be reported. */
#include "lock/corpus.h"

/* clang-format off */
#define MUTEX(id, rank)	   {id, CORPUS_MUTEX, WR_RANK_##rank, 0, false}
#define MANY(id, rank, nr) {id, CORPUS_MUTEX, WR_RANK_##rank, nr, false}
#define RWLOCK(id, rank)   {id, CORPUS_RWLOCK, WR_RANK_##rank, 0, false}
#define SPIN(id, rank)	   {id, CORPUS_SPIN, WR_RANK_##rank, 0, false}
#define CLASSES(id, rank, nr) {id, CORPUS_MUTEX, WR_RANK_##rank, nr, true}
#define NOTHING		   CORPUS_SILENT, CORPUS_SILENT, 0

#define AB  {MUTEX('a', WEIR), MUTEX('b', STREAM)}
#define ABC {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD)}

const struct corpus_program corpus_right[] = {
	{"a nest", AB, {"+a +b -b -a", "+a +b -b -a"}, NOTHING},
	{"a deep nest", {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD), MUTEX('d', POOL), MUTEX('e', IO)},
	 {"+a +b +c +d +e -e -d -c -b -a", "+b +d -d -b", "+a +e -e -a"}, NOTHING},
	{"hand over hand", ABC, {"+a +b -a +c -b -c", "+a +b -a +c -b -c"}, NOTHING},
	{"three released in the order of taking", ABC, {"+a +b +c -a -b -c", "+a +c -a -c"}, NOTHING},
	{"a diamond", {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD), MUTEX('d', POOL)},
	 {"+a +b -b -a", "+a +c -c -a", "+b +d -d -b", "+c +d -d -c"}, NOTHING},
	{"one after the other, in any order", AB, {"+b -b +a -a", "+a -a +b -b"}, NOTHING},
	{"tried against the order", AB, {"+b ?a -a -b", "+a +b -b -a"}, NOTHING},
	{"tried both ways", AB, {"+b ?a -a -b", "+a ?b -b -a"}, NOTHING},
	{"tried while held", {MUTEX('a', WEIR)}, {"+a ?a -a -a"}, NOTHING},
	{"a pair by address", {MANY('z', CACHE, 2)}, {"+z0 +z1 -z1 -z0", "+z0 +z1 -z0 -z1"}, NOTHING},
	{"pairs by address that overlap", {MANY('z', CACHE, 4)}, {"+z0 +z2 -z2 -z0", "+z1 +z3 -z3 -z1", "+z2 +z3 -z3 -z2"},
	 NOTHING},
	{"a pair, the lower one tried", {MANY('z', POOL_ZONE, 2)}, {"+z1 ?z0 -z0 -z1", "+z0 +z1 -z1 -z0"}, NOTHING},
	{"two classes of one rank by address", {CLASSES('z', CACHE, 2)}, {"+z0 +z1 -z1 -z0", "+z0 +z1 -z1 -z0"}, NOTHING},
	{"two of a rank that allows one, one after the other", {MANY('z', IO, 2)}, {"+z0 -z0 +z1 -z1", "+z1 -z1 +z0 -z0"},
	 NOTHING},
	{"eighty by address", {MUTEX('a', CACHE), MANY('m', POOL_ZONE, 80)}, {"+a *m /m -a", "*m /m"}, NOTHING},
	{"hand over hand through eighty", {MANY('m', POOL_ZONE, 80)}, {"&m", "&m", "&m"}, NOTHING},
	{"readers of two, in order", {RWLOCK('a', WEIR), RWLOCK('b', IO)}, {"<a <b >b >a", "<a >a +b -b", "+a <b >b -a"},
	 NOTHING},
	{"read, and later written", {RWLOCK('a', IO)}, {"<a >a +a -a", "+a -a <a >a"}, NOTHING},
	{"a wait", {MUTEX('a', WEIR)}, {"+a ca -a", "+a ca ca -a"}, NOTHING},
	{"a wait, and then further in", AB, {"+a ca +b -b -a", "+a +b -b ca -a"}, NOTHING},
	{"a spin lock at the end", {MUTEX('a', WEIR), RWLOCK('b', IO), SPIN('c', LOG)}, {"+a <b +c -c >b -a", "+b +c -c -b"},
	 NOTHING},
	{"sleeping where it is allowed", {MUTEX('a', POOL), RWLOCK('b', IO)}, {"+a b <b b >b -a b"}, NOTHING},
	{"calling out with nothing held", AB, {"+a -a n +b -b n"}, NOTHING},
	{"callees that hold what they need", AB, {"+a ha +b ha hb -b -a", "+b hb -b"}, NOTHING},
	{"the outer let go, and the same inner again", AB, {"+a +b -a -b +b -b", "+a +b -b -a"}, NOTHING},
};
/* clang-format on */

const unsigned corpus_nr_right = wr_array_size(corpus_right);
