/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and percentiles of samples that are made up, and their picture in
 * terminals of all sizes. */
#include "unit.h"

#include "top.h"

/* The bucket that @ns is counted in. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned i;

	for (i = 1; i < ORIEL_LATENCY_BUCKETS; i++)
		if (ns < oriel_latency_ns(i))
			break;
	return i - 1;
}

static struct oriel_peer_stats before, after;

/* One session that published twice, a second apart. */
static struct top_row row_of_two(void)
{
	struct top_row r = {
		.peer = { .id = 1, .pid = 100, .requests = 1000,
			  .flags = ORIEL_PEER_READY | ORIEL_PEER_ORIEL |
				   ORIEL_PEER_GAUGE },
		.last_peer = { .id = 1 },
		.now = &after,
		.last = &before,
		.taken_ns = 3000000000u,
		.last_ns = 2000000000u,
		.active_ns = 3000000000u,
		.name = "program",
	};

	memset(&before, 0, sizeof(before));
	memset(&after, 0, sizeof(after));
	before.valid = after.valid = 1;
	before.when_ns = 1000000000u;
	after.when_ns = 2000000000u;
	after.ranges_per_cell = 1;
	return r;
}

static void add(uint64_t ns, uint32_t n)
{
	after.latencies[ORIEL_LATENCY_READ][bucket_of(ns)] += n;
}

/* Within the width of a bucket, an eighth. */
static void assert_near(double ns, double wanted)
{
	if (ns < wanted * 0.87 || ns > wanted * 1.13)
		fail_msg("%g, not %g", ns, wanted);
}

static void buckets(void **state)
{
	uint64_t ns;

	assert_int_equal(oriel_latency_ns(0), 0);
	for (unsigned i = 1; i < ORIEL_LATENCY_BUCKETS; i++)
		assert_true(oriel_latency_ns(i) > oriel_latency_ns(i - 1));
	/* none is wider than an eighth of what is in it */
	for (unsigned i = 8; i < ORIEL_LATENCY_BUCKETS; i++)
		assert_true((oriel_latency_ns(i + 1) - oriel_latency_ns(i)) *
				    8 <= oriel_latency_ns(i));
	for (ns = 16; ns < UINT64_C(60000000000); ns = ns * 9 / 8)
		assert_true(oriel_latency_ns(bucket_of(ns)) <= ns);
	assert_true(oriel_latency_ns(ORIEL_LATENCY_BUCKETS) > 60000000000u);
}

static void percentiles(void **state)
{
	struct top_row r = row_of_two();
	struct top_latency l;

	add(1000, 500);      /* up to the half: 1 us */
	add(20000, 400);     /* up to 90 %: 20 us */
	add(300000, 90);     /* up to 99 %: 300 us */
	add(4000000, 9);     /* up to 99.9 %: 4 ms */
	add(500000000, 1);
	l = top_latency_of(&r, ORIEL_LATENCY_READ);
	assert_int_equal(l.n, 1000);
	assert_near(l.p50, 1000);
	assert_near(l.p90, 20000);
	assert_near(l.p99, 300000);
	assert_near(l.p999, 4000000);
	assert_near(l.max, 500000000);
	assert_true(l.max >= 500000000);
	/* one more beyond each border moves it */
	add(500000000, 200);
	l = top_latency_of(&r, ORIEL_LATENCY_READ);
	assert_int_equal(l.n, 1200);
	assert_near(l.p50, 20000);
	assert_near(l.p90, 500000000);
	assert_int_equal(top_latency_of(&r, ORIEL_LATENCY_WRITE).n, 0);
}

static void few_and_none(void **state)
{
	struct top_row r = row_of_two();
	struct top_latency l = top_latency_of(&r, ORIEL_LATENCY_READ);

	assert_int_equal(l.n, 0);
	assert_true(l.p50 == 0 && l.p999 == 0 && l.max == 0);
	add(7000, 1);
	l = top_latency_of(&r, ORIEL_LATENCY_READ);
	assert_int_equal(l.n, 1);
	assert_near(l.p50, 7000);
	assert_near(l.p999, 7000);
	r.last = NULL;
	assert_int_equal(top_latency_of(&r, ORIEL_LATENCY_READ).n, 0);
	r = row_of_two();
	before.valid = 0;
	add(7000, 1);
	assert_int_equal(top_latency_of(&r, ORIEL_LATENCY_READ).n, 0);
}

/* What was there before does not count, and counters of 32 bits wrap. */
static void only_what_is_new(void **state)
{
	struct top_row r = row_of_two();
	struct top_latency l;

	before.latencies[ORIEL_LATENCY_READ][bucket_of(1000000)] = 5000;
	after.latencies[ORIEL_LATENCY_READ][bucket_of(1000000)] = 5000;
	before.latencies[ORIEL_LATENCY_READ][bucket_of(2000)] = UINT32_MAX - 3;
	after.latencies[ORIEL_LATENCY_READ][bucket_of(2000)] = 6;
	l = top_latency_of(&r, ORIEL_LATENCY_READ);
	assert_int_equal(l.n, 10);
	assert_near(l.p99, 2000);
	assert_near(l.max, 2000);
}

static void rates(void **state)
{
	struct top_row r = row_of_two();

	before.counters[ORIEL_PEER_HITS] = 100;
	after.counters[ORIEL_PEER_HITS] = 1000;
	after.counters[ORIEL_PEER_MISSES] = 300;
	before.misses[ORIEL_MISS_NOWAIT] = 7;
	after.misses[ORIEL_MISS_NOWAIT] = 9;
	assert_true(top_rate(&r, ORIEL_PEER_HITS) == 900);
	assert_true(top_hit_percent(&r) == 75);
	assert_true(top_miss_rate(&r, ORIEL_MISS_NOWAIT) == 2);
	assert_true(top_request_rate(&r) == 1000);
	/* one that lies: backwards, or in no time */
	before.counters[ORIEL_PEER_HITS] = 2000;
	assert_true(top_rate(&r, ORIEL_PEER_HITS) == 0);
	after.when_ns = before.when_ns;
	assert_true(top_rate(&r, ORIEL_PEER_MISSES) == 0);
	assert_true(top_hit_percent(&r) < 0);
}

/* Its page is as old as it says, unless it answers this question or a later
 * one. */
static void idle(void **state)
{
	static const struct {
		uint32_t asked;
		uint32_t answers;
		uint64_t idle;
	} cases[] = {
		{ 5, 5, 0 }, { 5, 6, 0 }, { 5, 4, 9 },
		{ UINT32_MAX, 3, 0 }, { 3, UINT32_MAX, 9 }, { 0, 0, 0 },
	};
	struct top_row r = row_of_two();

	after.age_ns = 9500000000u;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		r.asked = cases[i].asked;
		after.answers = cases[i].answers;
		assert_int_equal(top_idle_s(&r), cases[i].idle);
	}
	r.active_ns = 0;
	assert_int_equal(top_idle_s(&r), 3);
}

/* ---------------------------------------------------------------- pictures */

/* A full one: everything that can be long is. */
static struct top_row busy_row(void)
{
	struct top_row r = row_of_two();

	r.peer.uid = 4000000000u;
	r.peer.pid = INT64_MAX;
	r.peer.id = UINT64_MAX;
	r.peer.handles = r.peer.nodes = r.peer.fds = UINT64_MAX;
	memset(r.name, 'n', sizeof(r.name) - 1);
	for (unsigned i = 0; i < ORIEL_PEER_COUNTERS; i++)
		after.counters[i] = UINT64_MAX;
	for (unsigned i = 0; i < ORIEL_MISSES; i++)
		after.misses[i] = UINT64_MAX;
	for (unsigned i = 0; i < ORIEL_LATENCIES; i++)
		after.latencies[i][255 - i] = UINT32_MAX;
	for (unsigned i = 0; i < 64; i++)
		after.ops[i] = UINT64_MAX - i;
	after.n_cells = ORIEL_CELLS_MAX;
	for (unsigned i = 0; i < ORIEL_CELLS_MAX; i++)
		after.cells[i] = (uint8_t)i;
	return r;
}

static char *picture(const struct top *t, const struct top_view *v)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	top_text(f, t, v);
	fclose(f);
	return text;
}

static unsigned lines_in(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void fills_a_screen_exactly(void **state)
{
	struct top_row rows[30];
	struct top t = { .share = "/run/x.sock", .rows = rows };
	char *text;

	for (unsigned i = 0; i < 30; i++) {
		rows[i] = busy_row();
		rows[i].peer.id = i + 1;
	}
	for (unsigned n = 0; n <= 30; n += 10)
		for (unsigned y = 4; y < 70; y++) {
			struct top_view v = { .columns = 20 + 3 * y, .rows = y,
					      .is_live = true,
					      .has_keys = y & 1 };

			t.n = n;
			v.selected = n;
			text = picture(&t, &v);
			if (lines_in(text) != y)
				fail_msg("%u lines, not %u, of %u:\n%s",
					 lines_in(text), y, n, text);
			assert_non_null(strstr(text, "oriel top"));
			/* the one that is selected is in the table */
			assert_true(!n || y < 6 || strstr(text, "\n>"));
			assert_true(!n || y < 18 ||
				    strstr(text, "##"));
			free(text);
		}
}

static void orders(void **state)
{
	struct oriel_peer_stats a, b;
	struct top_row rows[2] = { row_of_two(), row_of_two() };
	struct top t = { .rows = rows, .n = 2 };
	struct top_view v = { .sort = TOP_BY_ID };
	const struct top_row **all;

	a = b = after;
	rows[0].now = &a;
	rows[1].now = &b;
	rows[1].peer.id = 2;
	rows[0].peer.requests = 5000;
	b.counters[ORIEL_PEER_HITS] = 10000;
	a.counters[ORIEL_PEER_WINDOW_READ_BYTES] = 10;
	b.counters[ORIEL_PEER_WINDOW_WRITE_BYTES] = 11;
	a.counters[ORIEL_PEER_MISSES] = 1;
	for (; v.sort < TOP_SORT_COUNT; v.sort++) {
		all = top_sorted(&t, &v);
		assert_ptr_equal(all[0], v.sort == TOP_BY_HITS ||
					 v.sort == TOP_BY_BYTES ?
					 &rows[1] : &rows[0]);
		assert_ptr_not_equal(all[0], all[1]);
		free(all);
	}
	assert_ptr_equal(top_selected(&t, &v), &rows[1]);
	v.selected = 1;
	assert_ptr_equal(top_selected(&t, &v), &rows[0]);
	v.selected = 3; /* has gone */
	assert_ptr_equal(top_selected(&t, &v), &rows[1]);
}

static void requests_of_a_guest(void **state)
{
	struct top_row r = row_of_two();
	struct top t = { .share = "x", .rows = &r, .n = 1 };
	struct top_view v = { .columns = 80 };
	char *text;

	r.peer.flags = ORIEL_PEER_READY | ORIEL_PEER_GUEST;
	before.valid = after.valid = 0;
	after.ops[1] = 7;
	after.ops[15] = 30;
	text = picture(&t, &v);
	assert_non_null(strstr(text, "requests/s: READ 30 LOOKUP 7\n"));
	assert_non_null(strstr(text, "guest"));
	assert_null(strstr(text, "misses/s"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets),
		cmocka_unit_test(percentiles),
		cmocka_unit_test(few_and_none),
		cmocka_unit_test(only_what_is_new),
		cmocka_unit_test(rates),
		cmocka_unit_test(idle),
		cmocka_unit_test(fills_a_screen_exactly),
		cmocka_unit_test(orders),
		cmocka_unit_test(requests_of_a_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
