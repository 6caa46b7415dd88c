/* SPDX-License-Identifier: MIT */
/*
 * Wrong programs; see lock/corpus.h. Each is wrong in its own way: corpus_test checks that no two
 * have the same form. by_rank and by_graph differ on purpose: the list knows orders that no run
 * showed, and the graph, alone, knows only what it saw.
 */
#include "lock/corpus.h"

#define MUTEX(id, rank)                                    \
	{                                                  \
		id, CORPUS_MUTEX, WR_RANK_##rank, 0, false \
	}
#define MANY(id, rank, nr)                                  \
	{                                                   \
		id, CORPUS_MUTEX, WR_RANK_##rank, nr, false \
	}
#define RWLOCK(id, rank)                                    \
	{                                                   \
		id, CORPUS_RWLOCK, WR_RANK_##rank, 0, false \
	}
#define SPIN(id, rank)                                    \
	{                                                 \
		id, CORPUS_SPIN, WR_RANK_##rank, 0, false \
	}
#define CLASSES(id, rank, nr)                              \
	{                                                  \
		id, CORPUS_MUTEX, WR_RANK_##rank, nr, true \
	}
#define FAULT(kind) WR_LOCK_FAULT_##kind
#define SILENT	    CORPUS_SILENT

/* clang-format off */
#define AB    {MUTEX('a', WEIR), MUTEX('b', STREAM)}
#define ABC   {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD)}
#define ABCD  {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD), MUTEX('d', POOL)}
#define ABCDE {MUTEX('a', WEIR), MUTEX('b', STREAM), MUTEX('c', LOAD), MUTEX('d', POOL), \
	       MUTEX('e', IO)}

const struct corpus_program corpus_wrong[] = {
	/* Cycles. */
	{"two locks, two threads", AB, {"+a +b -b -a", "+b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"two locks, one thread", AB, {"+a +b -b -a +b +a -a -b"}, FAULT(ORDER), FAULT(CYCLE), 2},
	{"three locks, three threads", ABC, {"+a +b -b -a", "+b +c -c -b", "+c +a -a -c"},
	 FAULT(ORDER), FAULT(CYCLE), 3},
	{"three locks, one thread", ABC, {"+a +b -b -a +b +c -c -b +c +a -a -c"},
	 FAULT(ORDER), FAULT(CYCLE), 3},
	{"four locks", ABCD, {"+a +b -b -a", "+b +c -c -b", "+c +d -d -c", "+d +a -a -d"},
	 FAULT(ORDER), FAULT(CYCLE), 4},
	{"five locks", ABCDE, {"+a +b -b -a", "+b +c -c -b", "+c +d -d -c", "+d +e -e -d", "+e +a -a -e"},
	 FAULT(ORDER), FAULT(CYCLE), 5},
	{"five locks, taken two at a time by two threads", ABCDE,
	 {"+a +b -b -a +c +d -d -c", "+b +c -c -b +d +e -e -d +e +a -a -e"},
	 FAULT(ORDER), FAULT(CYCLE), 5},
	{"the last of four asks for the second", ABCD, {"+a +b +c +d -d -c -b -a", "+d +b -b -d"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"two cycles that share a lock", ABC, {"+a +b -b -a", "+a +c -c -a", "+c +b -b -c", "+b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"hand over hand, and back to the first", ABC, {"+a +b -a +c -b +a -a -c"},
	 FAULT(ORDER), FAULT(CYCLE), 3},
	{"released in the order of taking", AB, {"+a +b -a -b", "+b +a -b -a"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"three held, and then out of order below them", ABCD, {"+b +c +d -d -c -b", "+a +b +d +c -c -d -b -a"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"the outer let go and taken again", AB, {"+a +b -a +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"a cycle under a lock that both hold", ABC, {"+a +b +c -c -b -a", "+a +c +b -b -c -a"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"against the list, but never the other way", AB, {"+b +a -a -b"}, FAULT(ORDER), SILENT, 0},

	/* Other kinds of locks. */
	{"two rwlocks, written", {RWLOCK('a', WEIR), RWLOCK('b', IO)}, {"+a +b -b -a", "+b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"two rwlocks, only read: a writer between makes it hang",
	 {RWLOCK('a', WEIR), RWLOCK('b', IO)}, {"<a <b >b >a", "<b <a >a >b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"two rwlocks, one read and one written", {RWLOCK('a', WEIR), RWLOCK('b', IO)},
	 {"<a +b -b >a", "<b +a -a >b"}, FAULT(ORDER), FAULT(CYCLE), 2},
	{"a mutex and a reader", {MUTEX('a', WEIR), RWLOCK('b', IO)}, {"+a <b >b -a", "<b +a -a >b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"a mutex and a writer", {MUTEX('a', WEIR), RWLOCK('b', IO)}, {"+a +b -b -a", "+b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"two spin locks", {SPIN('a', IO_QUEUE), SPIN('b', METRICS)}, {"+a +b -b -a", "+b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"a spin lock and a mutex that forbids blocking", {MUTEX('a', IO_QUEUE), SPIN('b', METRICS)},
	 {"+a +b -b -a", "+b +a -a -b"}, FAULT(ORDER), FAULT(CYCLE), 2},
	{"three kinds in one cycle", {RWLOCK('a', CACHE), MUTEX('b', IO_QUEUE), SPIN('c', LOG)},
	 {"<a +b -b >a", "+b +c -c -b", "+c +a -a -c"}, FAULT(ORDER), FAULT(CYCLE), 3},

	/* Trying. */
	{"what was got by trying is held while waiting", AB, {"+a +b -b -a", "?b +a -a -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"trying in a cycle of three", ABC, {"+a +b -b -a", "+b +c -c -b", "?c +a -a -c"},
	 FAULT(ORDER), FAULT(CYCLE), 3},
	{"an innocent try between", ABC, {"+a ?c +b -b -c -a", "+b +c -c -b"},
	 FAULT(ORDER), FAULT(CYCLE), 2},
	{"trying a spin lock and waiting for another", {SPIN('a', IO_QUEUE), SPIN('b', LOG)},
	 {"?b +a -a -b", "+a +b -b -a"}, FAULT(ORDER), FAULT(CYCLE), 2},
	{"tried one way, taken the other against the list", AB, {"+a ?b -b -a", "+b +a -a -b"},
	 FAULT(ORDER), SILENT, 0},
	{"tried, and then taken by the same thread", {MUTEX('a', WEIR)}, {"?a +a -a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},

	/* Recursion. */
	{"a mutex twice", {MUTEX('a', WEIR)}, {"+a +a -a"}, FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a mutex twice with another between", AB, {"+a +b +a -b -a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a spin lock twice", {SPIN('a', LOG)}, {"+a +a -a"}, FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a reader twice", {RWLOCK('a', IO)}, {"<a <a >a"}, FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a reader twice with a mutex between", {RWLOCK('a', WEIR), MUTEX('b', IO)}, {"<a +b <a -b >a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a writer twice", {RWLOCK('a', IO)}, {"+a +a -a"}, FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a reader that becomes a writer", {RWLOCK('a', IO)}, {"<a +a >a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a writer that becomes a reader", {RWLOCK('a', IO)}, {"+a <a -a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},
	{"a reader twice, right once before", {RWLOCK('a', IO)}, {"<a >a <a <a >a"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},

	/* Conditions. */
	{"a wait with an outer lock", AB, {"+a +b cb -b -a"}, FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait with an inner lock", AB, {"+a +b ca -b -a"}, FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait between two others", ABC, {"+a +b +c cb -c -b -a"},
	 FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait by a reader", {RWLOCK('a', WEIR), MUTEX('b', IO)}, {"<a +b cb -b >a"},
	 FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait with an outer lock that was tried", AB, {"?a +b cb -b -a"},
	 FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait with a spin lock held", {MUTEX('a', WEIR), SPIN('b', LOG)}, {"+a +b ca -b -a"},
	 FAULT(COND_OUTER), FAULT(COND_OUTER), 0},
	{"a wait without the mutex", {MUTEX('a', WEIR)}, {"ca"}, FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},
	{"a second wait, after the release", {MUTEX('a', WEIR)}, {"+a ca -a ca"},
	 FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},

	/* Pairs of one class or rank. */
	{"a pair against its addresses", {MANY('z', CACHE, 2)}, {"+z1 +z0 -z0 -z1"},
	 FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"three, the last two against their addresses", {MANY('z', CACHE, 3)},
	 {"+z0 +z2 +z1 -z1 -z2 -z0"}, FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"the lower of a pair let go and taken again", {MANY('z', POOL_ZONE, 2)},
	 {"+z0 +z1 -z0 +z0 -z0 -z1"}, FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"a pair of a class that allows one", {MANY('z', IO, 2)}, {"+z0 +z1 -z1 -z0"},
	 FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"a pair of a class that allows one, read", {{'z', CORPUS_RWLOCK, WR_RANK_IO, 2, false}},
	 {"<z0 <z1 >z1 >z0"}, FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"two classes of a rank by address, against it", {CLASSES('z', CACHE, 2)},
	 {"+z1 +z0 -z0 -z1"}, FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"two classes of a rank, both ways", {CLASSES('z', IO, 2)}, {"+z0 +z1 -z1 -z0 +z1 +z0 -z0 -z1"},
	 FAULT(SAME_RANK), FAULT(CYCLE), 2},
	{"a pair with a lock between", {MANY('z', CACHE, 2), MUTEX('q', IO_QUEUE)},
	 {"+z1 +q +z0 -z0 -q -z1"}, FAULT(ORDER), FAULT(SAME_RANK), 0},
	{"a tried one above, and then the lower", {MANY('z', CACHE, 3)}, {"?z2 +z1 -z1 -z2"},
	 FAULT(SAME_RANK), FAULT(SAME_RANK), 0},

	/* Many. */
	{"under eighty, one that stands above", {MUTEX('a', CACHE), MANY('m', POOL_ZONE, 80)},
	 {"+a *m /m -a", "*m +a -a /m"}, FAULT(ORDER), FAULT(CYCLE), 2},
	{"the first of eighty once more", {MANY('m', POOL_ZONE, 80)}, {"*m +m0 /m"},
	 FAULT(RECURSION), FAULT(RECURSION), 0},
	{"eighty from the last on", {MANY('m', POOL_ZONE, 80)}, {"!m /m"},
	 FAULT(SAME_RANK), FAULT(SAME_RANK), 0},
	{"a sleep under eighty", {MANY('m', POOL_ZONE, 80)}, {"*m b /m"},
	 FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a cycle of seventy classes", {CLASSES('m', LOAD, 70)}, {"&m +m69 +m0 -m0 -m69"},
	 FAULT(SAME_RANK), FAULT(CYCLE), 70},
	{"seventy classes held, the last two the other way", {CLASSES('m', LOAD, 70)},
	 {"*m /m", "+m69 +m68 -m68 -m69"}, FAULT(SAME_RANK), FAULT(CYCLE), 2},
	{"more than can be followed", {MANY('m', POOL_ZONE, 300)}, {"*m /m"},
	 FAULT(FULL), FAULT(FULL), 0},

	/* Owners. */
	{"a release without a take", {MUTEX('a', WEIR)}, {"-a"}, FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},
	{"a release too many", {MUTEX('a', WEIR)}, {"+a -a -a"}, FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},
	{"a release by another thread", {MUTEX('a', WEIR)}, {"+a", "-a"},
	 FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},
	{"a reader let go by another thread", {RWLOCK('a', IO)}, {"<a", ">a"},
	 FAULT(NOT_OWNER), FAULT(NOT_OWNER), 0},
	{"a writer let go as a reader", {RWLOCK('a', IO)}, {"+a >a"}, FAULT(MODE), FAULT(MODE), 0},
	{"a reader let go as a writer", {RWLOCK('a', IO)}, {"<a -a"}, FAULT(MODE), FAULT(MODE), 0},
	{"ended while held", {MUTEX('a', WEIR)}, {"+a ea"}, FAULT(ENDED), FAULT(ENDED), 0},
	{"ended while another thread reads", {RWLOCK('a', IO)}, {"<a", "ea"},
	 FAULT(ENDED), FAULT(ENDED), 0},
	{"a callee without the lock", {MUTEX('a', WEIR)}, {"+a -a ha"},
	 FAULT(NOT_HELD), FAULT(NOT_HELD), 0},

	/* Sleeping and calling out. */
	{"a sleep under a mutex that forbids it", {MUTEX('a', POOL_ZONE)}, {"+a b -a"},
	 FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a sleep under a spin lock", {SPIN('a', METRICS)}, {"+a b -a"}, FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a sleep under what was got by trying", {MUTEX('a', CACHE)}, {"?a b -a"},
	 FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a sleep under a reader that forbids it", {RWLOCK('a', CACHE)}, {"<a b >a"},
	 FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a sleep two locks below", {MUTEX('a', WEIR), MUTEX('b', CACHE), SPIN('c', LOG)},
	 {"+a +b +c -c b -b -a"}, FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a lock whose owner may sleep, under one that forbids it", {MUTEX('a', CACHE), MUTEX('b', POOL)},
	 {"+a +b -b -a"}, FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a reader whose writer may sleep, under a spin lock", {SPIN('a', CACHE), RWLOCK('b', IO)},
	 {"+a <b >b -a"}, FAULT(BLOCK), FAULT(BLOCK), 0},
	{"a call out under a lock", {MUTEX('a', LOAD)}, {"+a n -a"}, FAULT(HELD), FAULT(HELD), 0},
	{"a call out under a reader", {RWLOCK('a', LOAD)}, {"<a n >a"}, FAULT(HELD), FAULT(HELD), 0},
};
/* clang-format on */

const unsigned corpus_nr_wrong = wr_array_size(corpus_wrong);
