/* SPDX-License-Identifier: MIT */
/*
 * The graph: see lock/graph.h. One plain pthread mutex guards it; it is taken only for a class or
 * an edge that may be new, and nothing else is taken under it. Stacks are walked before it is
 * taken, because the first walk of a process loads a library.
 *
 * Two questions, two matrices: edges[a] has a bit for each class taken directly under a, reach[a]
 * for each class that can be come to from a. Edges are never removed, so reach only grows and needs
 * no search; the search for the shortest way is made for a report only.
 */
#include "lock/graph.h"

#if WR_LOCK_CHECK

#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lock/validate.h"

#define NR_WORDS  (WR_GRAPH_CLASSES / 64)
#define NR_FRAMES 16

/* A class that cannot be followed, so that it is asked for only once. */
#define NO_CLASS UINT32_MAX

struct class
{
	const char *name;
	enum wr_lock_rank rank;
};

struct edge {
	uint16_t from, to;
	int nr_frames;
	void *frames[NR_FRAMES]; /* the first stack by which it was made */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* All [mutex]. Class 0 stands for none. */
static struct class classes[WR_GRAPH_CLASSES];
static uint32_t nr_classes = 1;
static struct edge all_edges[WR_GRAPH_EDGES];
static unsigned nr_edges;
static uint64_t edges[WR_GRAPH_CLASSES][NR_WORDS];
static uint64_t reach[WR_GRAPH_CLASSES][NR_WORDS];

_Atomic uint64_t wr_graph_chains[1u << WR_GRAPH_CHAIN_BITS];

static bool bit(uint64_t (*matrix)[NR_WORDS], uint32_t row, uint32_t column)
{
	return (matrix[row][column / 64] >> (column % 64) & 1) != 0;
}

static void set_bit(uint64_t (*matrix)[NR_WORDS], uint32_t row, uint32_t column)
{
	matrix[row][column / 64] |= UINT64_C(1) << (column % 64);
}

static uint32_t intern(enum wr_lock_rank rank, const char *name)
{
	for (uint32_t i = 1; i < nr_classes; i++) {
		if (classes[i].rank == rank && strcmp(classes[i].name, name) == 0)
			return i;
	}
	if (nr_classes == WR_GRAPH_CLASSES)
		return NO_CLASS;
	classes[nr_classes] = (struct class){.name = name, .rank = rank};
	return nr_classes++;
}

uint32_t wr_graph_class(struct wr_lock *lock)
{
	uint32_t id = wr_load_relaxed(&lock->class_id);

	if (id == 0) {
		pthread_mutex_lock(&mutex);
		id = intern(lock->rank, lock->name != NULL ? lock->name : "");
		pthread_mutex_unlock(&mutex);
		wr_store_relaxed(&lock->class_id, id);
	}
	return id == NO_CLASS ? 0 : id;
}

/* Everything that comes before @from now comes before @to and what follows it. */
static void extend(uint32_t from, uint32_t to)
{
	for (uint32_t i = 1; i < nr_classes; i++) {
		if (i != from && !bit(reach, i, from))
			continue;
		set_bit(reach, i, to);
		for (unsigned w = 0; w < NR_WORDS; w++)
			reach[i][w] |= reach[to][w];
	}
}

/*
 * Breadth first from @from to @to: the class before each on the shortest way. Returns how many
 * classes are on it, both ends included; 0 when there is none.
 */
static unsigned find_way(uint32_t from, uint32_t to, uint16_t before[static WR_GRAPH_CLASSES])
{
	uint16_t queue[WR_GRAPH_CLASSES];
	unsigned head = 0, tail = 0, nr = 1;

	memset(before, 0, WR_GRAPH_CLASSES * sizeof(before[0]));
	queue[tail++] = (uint16_t)from;
	while (head < tail && queue[head] != to) {
		uint32_t at = queue[head++];

		for (uint32_t next = 1; next < nr_classes; next++) {
			if (next == from || before[next] != 0 || !bit(edges, at, next))
				continue;
			before[next] = (uint16_t)at;
			queue[tail++] = (uint16_t)next;
		}
	}
	if (head == tail)
		return 0;
	for (uint32_t at = to; at != from; at = before[at])
		nr++;
	return nr;
}

/* With @frames the edge is made where it is new; without them only looked up. */
static enum wr_graph_verdict judge(uint32_t from, uint32_t to, void **frames, int nr_frames)
{
	struct edge *edge = &all_edges[nr_edges];

	if (bit(reach, to, from))
		return WR_GRAPH_CYCLE;
	if (bit(edges, from, to) || nr_edges == WR_GRAPH_EDGES)
		return WR_GRAPH_KNOWN;
	if (frames == NULL)
		return WR_GRAPH_NEW;
	edge->from = (uint16_t)from;
	edge->to = (uint16_t)to;
	edge->nr_frames = nr_frames;
	memcpy(edge->frames, frames, sizeof(edge->frames));
	nr_edges++;
	set_bit(edges, from, to);
	extend(from, to);
	return WR_GRAPH_NEW;
}

enum wr_graph_verdict wr_graph_learn(uint32_t from, uint32_t to, unsigned *ret_nr)
{
	uint16_t before[WR_GRAPH_CLASSES];
	enum wr_graph_verdict verdict;
	void *frames[NR_FRAMES];
	int nr_frames;

	if (from == 0 || to == 0)
		return WR_GRAPH_KNOWN;
	pthread_mutex_lock(&mutex);
	verdict = judge(from, to, NULL, 0);
	pthread_mutex_unlock(&mutex);
	if (verdict == WR_GRAPH_KNOWN)
		return verdict;
	nr_frames = backtrace(frames, NR_FRAMES);
	pthread_mutex_lock(&mutex);
	verdict = judge(from, to, frames, nr_frames);
	if (verdict == WR_GRAPH_CYCLE)
		*ret_nr = find_way(to, from, before);
	pthread_mutex_unlock(&mutex);
	return verdict;
}

static const struct edge *find_edge(uint32_t from, uint32_t to)
{
	for (unsigned i = 0; i < nr_edges; i++) {
		if (all_edges[i].from == from && all_edges[i].to == to)
			return &all_edges[i];
	}
	return NULL;
}

void wr_graph_print_way(uint32_t from, uint32_t to)
{
	uint16_t before[WR_GRAPH_CLASSES], way[WR_GRAPH_CLASSES];
	unsigned nr;

	pthread_mutex_lock(&mutex);
	nr = find_way(from, to, before);
	for (unsigned i = nr; i-- > 0; to = before[to])
		way[i] = (uint16_t)to;
	for (unsigned i = 0; i + 1 < nr; i++) {
		const struct edge *edge = find_edge(way[i], way[i + 1]);

		fprintf(stderr, "  %s \"%s\" was held when %s \"%s\" was taken, first at:\n",
			wr_lock_rank_name(classes[way[i]].rank), classes[way[i]].name,
			wr_lock_rank_name(classes[way[i + 1]].rank), classes[way[i + 1]].name);
		if (edge != NULL)
			backtrace_symbols_fd(edge->frames, edge->nr_frames, STDERR_FILENO);
	}
	pthread_mutex_unlock(&mutex);
}

unsigned wr_graph_nr_edges(void)
{
	unsigned nr;

	pthread_mutex_lock(&mutex);
	nr = nr_edges;
	pthread_mutex_unlock(&mutex);
	return nr;
}

struct wr_graph_edge wr_graph_edge(unsigned i)
{
	struct wr_graph_edge ret;

	pthread_mutex_lock(&mutex);
	wr_assert(i < nr_edges);
	ret.from = classes[all_edges[i].from].name;
	ret.to = classes[all_edges[i].to].name;
	ret.from_rank = classes[all_edges[i].from].rank;
	ret.to_rank = classes[all_edges[i].to].rank;
	pthread_mutex_unlock(&mutex);
	return ret;
}

void wr_graph_reset(void)
{
	pthread_mutex_lock(&mutex);
	nr_edges = 0;
	memset(edges, 0, sizeof(edges));
	memset(reach, 0, sizeof(reach));
	for (size_t i = 0; i < wr_array_size(wr_graph_chains); i++)
		wr_store_relaxed(&wr_graph_chains[i], 0);
	pthread_mutex_unlock(&mutex);
}

#else
/* An empty translation unit is not ISO C. */
extern int wr_graph_absent;
#endif /* WR_LOCK_CHECK */
