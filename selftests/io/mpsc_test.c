/* SPDX-License-Identifier: MIT */
/* The submission queue: nothing lost, nothing twice, each producer's order kept, no wake-up missed. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

#include "kselftest_harness.h"

#include "io/mpsc.h"

struct item {
	struct wr_mpsc_node node;
	int producer;
	int number;
};

static struct item *item_of(struct wr_mpsc_node *n)
{
	return wr_container_of(n, struct item, node);
}

TEST(nodes_come_out_oldest_first)
{
	struct item items[5];
	struct wr_mpsc q;
	struct wr_mpsc_node *n;

	wr_mpsc_init(&q);
	EXPECT_TRUE(wr_mpsc_is_empty(&q));
	EXPECT_EQ(wr_mpsc_take(&q), NULL);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++) {
			items[i].number = i;
			wr_mpsc_push(&q, &items[i].node);
			EXPECT_FALSE(wr_mpsc_is_empty(&q));
		}
		n = wr_mpsc_take(&q);
		EXPECT_TRUE(wr_mpsc_is_empty(&q));
		for (int i = 0; i < 5; i++, n = n->next) {
			ASSERT_NE(n, NULL);
			EXPECT_EQ(item_of(n)->number, i);
		}
		EXPECT_EQ(n, NULL);
	}
}

#define NR_PRODUCERS 4
#define NR_EACH	     20000

struct shared {
	struct wr_mpsc q;
	_Atomic uint32_t sleeping;
	sem_t bell;
	struct item *items[NR_PRODUCERS];
};

struct producer {
	struct shared *shared;
	int index;
	pthread_t thread;
};

/* As the engine's submitters do. */
static void *produce(void *arg)
{
	struct producer *p = arg;
	struct shared *s = p->shared;

	for (int i = 0; i < NR_EACH; i++) {
		struct item *item = &s->items[p->index][i];

		item->producer = p->index;
		item->number = i;
		wr_mpsc_push(&s->q, &item->node);
		if (wr_load_seq_cst(&s->sleeping) != 0 &&
		    wr_exchange_seq_cst(&s->sleeping, 0u) != 0)
			sem_post(&s->bell);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

TEST(four_producers_and_a_consumer_that_sleeps)
{
	struct shared s = {.sleeping = 0};
	struct producer producers[NR_PRODUCERS];
	int next[NR_PRODUCERS] = {0};
	int nr = 0, wrong = 0;

	wr_mpsc_init(&s.q);
	sem_init(&s.bell, 0, 0);
	for (int i = 0; i < NR_PRODUCERS; i++) {
		s.items[i] = calloc(NR_EACH, sizeof(struct item));
		producers[i].shared = &s;
		producers[i].index = i;
		ASSERT_EQ(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
	}
	/* A wake-up that is missed hangs here, and the harness says so. */
	while (nr < NR_PRODUCERS * NR_EACH) {
		struct wr_mpsc_node *n = wr_mpsc_take(&s.q);

		for (; n != NULL; n = n->next, nr++) {
			if (item_of(n)->number != next[item_of(n)->producer]++)
				wrong++;
		}
		wr_exchange_seq_cst(&s.sleeping, 1u);
		if (wr_mpsc_is_empty(&s.q) && nr < NR_PRODUCERS * NR_EACH) {
			sem_wait(&s.bell);
		} else if (wr_exchange_seq_cst(&s.sleeping, 0u) == 0) {
			/* A producer took it: its post is on the way. */
			sem_wait(&s.bell);
		}
	}
	EXPECT_EQ(wrong, 0);
	EXPECT_TRUE(wr_mpsc_is_empty(&s.q));
	for (int i = 0; i < NR_PRODUCERS; i++) {
		pthread_join(producers[i].thread, NULL);
		EXPECT_EQ(next[i], NR_EACH);
		free(s.items[i]);
	}
}

TEST_HARNESS_MAIN
