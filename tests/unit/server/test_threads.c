/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several threads on one session: lookups and forgets of the same inodes, files
 * opened, read and released under each other, mappings in the same window.
 * Right if the sanitizer is silent and nothing is left.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 4
#define FILES 8
#define ROUNDS 2000

struct worker {
	struct rig *r;
	unsigned seed;
	unsigned bad; /* answers that should not be */
	pthread_t thread;
};

static void one_file(struct worker *w, unsigned i)
{
	struct fuse_entry_out e;
	char name[16];
	char buf[16];
	uint64_t fh;

	snprintf(name, sizeof(name), "f%u", i);
	if (rig_lookup(w->r, 1, name, &e)) {
		w->bad++;
		return;
	}
	if (rig_open(w->r, e.nodeid, O_RDWR, &fh) == 0) {
		w->bad += rig_read(w->r, fh, 0, buf, 4) != 4;
		w->bad += memcmp(buf, "text", 4) != 0;
		w->bad += rig_write(w->r, fh, 0, "text", 4, 0) != 4;
		w->bad += rig_release(w->r, fh) != 0;
	} else {
		w->bad++;
	}
	rig_forget(w->r, e.nodeid, 1);
}

static void window_calls(struct worker *w, unsigned i)
{
	struct fuse_entry_out e;
	char name[16];
	uint64_t at = (rand_r(&w->seed) % 16) * RIG_PAGE;

	snprintf(name, sizeof(name), "f%u", i);
	if (rig_lookup(w->r, 1, name, &e)) {
		w->bad++;
		return;
	}
	w->bad += rig_map(w->r, e.nodeid, 0, at, 4 * RIG_PAGE, i % 4) != 0;
	w->bad += rig_unmap(w->r, at + RIG_PAGE, 2 * RIG_PAGE) != 0;
	rig_forget(w->r, e.nodeid, 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		unsigned file = (unsigned)rand_r(&w->seed) % FILES;

		if (i % 4)
			one_file(w, file);
		else
			window_calls(w, file);
	}
	return NULL;
}

static void threads_on_one_session(void **state)
{
	const char *env = getenv("ORIEL_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) :
			      (unsigned)time(NULL);
	struct worker w[THREADS];
	char name[16];
	unsigned i;
	struct rig r;

	print_message("ORIEL_SEED=%u\n", seed);
	rig_start(&r, NULL);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		rig_file(&r, name, "text", 0644);
	}
	rig_init(&r);
	for (i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .r = &r, .seed = seed + i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work,
						&w[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].bad, 0);
	}
	assert_int_equal(rig_stats(&r).handles, 0);
	assert_int_equal(rig_stats(&r).mappings, r.w.n_maps);
	assert_int_equal(rig_unmap(&r, 0, RIG_WINDOW), 0);
	assert_int_equal(rig_stats(&r).inodes, 1);
	assert_int_equal(rig_stats(&r).fds, 1);
	rig_stop(&r);
}

/* INIT again and again while others work: they fail, nothing breaks. */
static void *restart(void *arg)
{
	struct worker *w = arg;
	int i;

	for (i = 0; i < 200; i++)
		rig_init(w->r);
	return NULL;
}

static void *stumble(void *arg)
{
	struct worker *w = arg;
	struct fuse_entry_out e;
	char buf[16];
	uint64_t fh;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (rig_lookup(w->r, 1, "f", &e))
			continue;
		if (rig_open(w->r, e.nodeid, O_RDWR, &fh))
			continue;
		if (rig_read(w->r, fh, 0, buf, 4) > 0)
			w->bad += memcmp(buf, "text", 4) != 0;
		(void)rig_map(w->r, e.nodeid, 0, 0, RIG_PAGE, 0);
	}
	return NULL;
}

static void init_under_load(void **state)
{
	struct worker w[3];
	unsigned i;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "text", 0644);
	rig_init(&r);
	for (i = 0; i < 3; i++) {
		w[i] = (struct worker){ .r = &r };
		assert_int_equal(pthread_create(&w[i].thread, NULL,
						i ? stumble : restart, &w[i]),
				 0);
	}
	for (i = 0; i < 3; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].bad, 0);
	}
	rig_init(&r);
	assert_int_equal(rig_stats(&r).inodes, 1);
	assert_int_equal(rig_stats(&r).fds, 1);
	assert_int_equal(r.w.n_maps, 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_on_one_session),
		cmocka_unit_test(init_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
