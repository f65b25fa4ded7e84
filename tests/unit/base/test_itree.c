/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interval tree against an array searched from end to end: random
 * insertions, removals and queries, and the shapes that random ones miss.
 * ORIEL_TEST_SEED chooses the random run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/itree.h"

#define MODEL_MAX 300u

struct elem {
	struct itree_node node;
	uint64_t serial; /* insertion order */
	bool in;
};

struct model {
	struct itree tree;
	struct elem elems[MODEL_MAX];
	uint64_t next_serial;
};

static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void seed_rng(void)
{
	const char *s = getenv("ORIEL_TEST_SEED");

	rng = s ? strtoull(s, NULL, 0) : UINT64_C(0x1234567);
	if (!rng)
		rng = 1;
	print_message("ORIEL_TEST_SEED=%llu\n", (unsigned long long)rng);
}

static bool model_hits(const struct elem *e, uint64_t start, uint64_t last)
{
	return e->in && e->node.start <= last && e->node.last >= start;
}

static bool comes_before(const struct elem *a, const struct elem *b)
{
	if (a->node.start != b->node.start)
		return a->node.start < b->node.start;
	return a->serial < b->serial;
}

/* The first hit after @after (NULL: at all), by looking at every element. */
static struct elem *model_next(struct model *m, const struct elem *after,
			       uint64_t start, uint64_t last)
{
	struct elem *best = NULL;

	for (unsigned i = 0; i < MODEL_MAX; i++) {
		struct elem *e = &m->elems[i];

		if (!model_hits(e, start, last))
			continue;
		if (after && !comes_before(after, e))
			continue;
		if (!best || comes_before(e, best))
			best = e;
	}
	return best;
}

static void check_query(struct model *m, uint64_t start, uint64_t last)
{
	struct elem *want = model_next(m, NULL, start, last);
	struct itree_node *got = itree_first(&m->tree, start, last);

	while (want) {
		assert_ptr_equal(got, &want->node);
		got = itree_next(got, start, last);
		want = model_next(m, want, start, last);
	}
	assert_null(got);
}

static void toggle(struct model *m, uint64_t space)
{
	struct elem *e = &m->elems[rnd() % MODEL_MAX];

	if (e->in) {
		itree_remove(&m->tree, &e->node);
		e->in = false;
		return;
	}
	e->node.start = rnd() % space;
	e->node.last = e->node.start + rnd() % (1 + space / (1 + rnd() % 40));
	e->serial = m->next_serial++;
	e->in = true;
	itree_insert(&m->tree, &e->node);
}

static void run_model(uint64_t space, unsigned steps)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	itree_init(&m->tree);
	for (unsigned i = 0; i < steps; i++) {
		uint64_t start = rnd() % space;

		toggle(m, space);
		assert_true(itree_is_valid(&m->tree));
		check_query(m, start, start + rnd() % (1 + space / 10));
	}
	check_query(m, 0, UINT64_MAX);
	for (unsigned i = 0; i < MODEL_MAX; i++) {
		if (m->elems[i].in)
			itree_remove(&m->tree, &m->elems[i].node);
		assert_true(itree_is_valid(&m->tree));
		m->elems[i].in = false;
	}
	assert_int_equal(m->tree.count, 0);
	assert_null(m->tree.root);
	free(m);
}

static void test_random(void **state)
{
	(void)state;
	run_model(16, 3000);          /* mostly equal starts */
	run_model(500, 3000);
	run_model(UINT64_C(1) << 40, 3000);
}

static void test_empty(void **state)
{
	struct itree t;

	(void)state;
	itree_init(&t);
	assert_null(itree_first(&t, 0, UINT64_MAX));
	assert_true(itree_is_valid(&t));
}

static void test_edges_of_the_numbers(void **state)
{
	struct itree t;
	struct itree_node all = { .start = 0, .last = UINT64_MAX };
	struct itree_node low = { .start = 0, .last = 0 };
	struct itree_node high = { .start = UINT64_MAX, .last = UINT64_MAX };

	(void)state;
	itree_init(&t);
	itree_insert(&t, &high);
	itree_insert(&t, &low);
	itree_insert(&t, &all);
	assert_ptr_equal(itree_first(&t, 0, 0), &low);
	assert_ptr_equal(itree_next(&low, 0, 0), &all);
	assert_null(itree_next(&all, 0, 0));
	assert_ptr_equal(itree_first(&t, UINT64_MAX, UINT64_MAX), &all);
	assert_ptr_equal(itree_next(&all, UINT64_MAX, UINT64_MAX), &high);
	assert_null(itree_next(&high, UINT64_MAX, UINT64_MAX));
	assert_ptr_equal(itree_first(&t, 1, UINT64_MAX - 1), &all);
	assert_null(itree_next(&all, 1, UINT64_MAX - 1));
}

static void test_touching_ends(void **state)
{
	struct itree t;
	struct itree_node a = { .start = 10, .last = 19 };
	struct itree_node b = { .start = 20, .last = 29 };

	(void)state;
	itree_init(&t);
	itree_insert(&t, &a);
	itree_insert(&t, &b);
	assert_null(itree_first(&t, 0, 9));
	assert_ptr_equal(itree_first(&t, 0, 10), &a);
	assert_ptr_equal(itree_first(&t, 19, 19), &a);
	assert_null(itree_next(&a, 19, 19));
	assert_ptr_equal(itree_first(&t, 20, 20), &b);
	assert_null(itree_first(&t, 30, 40));
}

/* Rising, falling and zigzag orders keep the tree as low as AVL promises. */
static void test_stays_low(void **state)
{
	enum { N = 1 << 15 };
	struct itree_node *n = calloc(N, sizeof(*n));

	(void)state;
	assert_non_null(n);
	for (int order = 0; order < 3; order++) {
		struct itree t;

		itree_init(&t);
		for (uint64_t i = 0; i < N; i++) {
			uint64_t k = order == 0 ? i : order == 1 ? N - i :
				     i & 1 ? i : 2 * N - i;
			n[i].start = n[i].last = k;
			itree_insert(&t, &n[i]);
		}
		assert_true(itree_is_valid(&t));
		/* 1.44 * log2(N) */
		assert_in_range(t.root->height, 15, 22);
		for (uint64_t i = 0; i < N; i += 2)
			itree_remove(&t, &n[i]);
		assert_true(itree_is_valid(&t));
		assert_int_equal(t.count, N / 2);
	}
	free(n);
}

/* One long interval at the front must not hide what lies behind it, and the
 * check itself must see damage. */
static void test_check_sees_damage(void **state)
{
	struct itree t;
	struct itree_node n[7];

	(void)state;
	itree_init(&t);
	memset(n, 0, sizeof(n));
	for (unsigned i = 0; i < ARRAY_LEN(n); i++) {
		n[i].start = i;
		n[i].last = i + 1;
		itree_insert(&t, &n[i]);
	}
	assert_true(itree_is_valid(&t));
	n[3].max_last++;
	assert_false(itree_is_valid(&t));
	n[3].max_last--;
	t.count++;
	assert_false(itree_is_valid(&t));
	t.count--;
	n[0].start = 5;
	n[0].last = 5;
	assert_false(itree_is_valid(&t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_edges_of_the_numbers),
		cmocka_unit_test(test_touching_ends),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_stays_low),
		cmocka_unit_test(test_check_sees_damage),
	};

	seed_rng();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
