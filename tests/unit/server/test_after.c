/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done after an answer: closing, and reading on in a directory. That it is
 * done, that it is not done before, and that a client cannot tell, whatever it asks
 * for next.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/support.h"

static const struct rig_config with_after = { .calls_after = true };

/* ---------------------------------------------------------------- closing */

/* A WALK that opens (and, with @flags, reads and closes) @name and closes @n
 * handles. Its answer's flags. */
static uint32_t walk(struct rig *r, const char *name, uint32_t flags,
		     const uint64_t *close_fhs, uint32_t n, uint64_t *ret_fh)
{
	struct {
		struct fuse_ioctl_in ioctl;
		struct fuse_wire_walk_in in;
		unsigned char rest[512];
	} q = { .ioctl.cmd = FUSE_WIRE_IOC_WALK };
	struct {
		struct fuse_ioctl_out ioctl;
		struct fuse_wire_walk_out out;
		struct fuse_entry_out e;
		unsigned char data[4096];
	} a;
	size_t fhs = n * sizeof(close_fhs[0]);
	size_t len = strlen(name);

	q.in.flags = FUSE_WIRE_WALK_OPEN | flags;
	q.in.n_names = 1;
	q.in.n_close = n;
	q.in.path_len = (uint32_t)len;
	q.in.size = flags ? sizeof(a.data) : 0;
	if (n)
		memcpy(q.rest, close_fhs, fhs);
	memcpy(q.rest + fhs, name, len);
	q.ioctl.in_size = (uint32_t)(sizeof(q.in) + fhs + len);
	assert_true(rig_call(r, FUSE_IOCTL, 1, &q,
			     sizeof(q.ioctl) + q.ioctl.in_size, &a,
			     sizeof(a)) > 0);
	assert_int_equal(a.out.error, 0);
	*ret_fh = a.out.fh;
	return a.out.flags;
}

static void handles_are_closed_after(void **state)
{
	uint64_t fh[3], next;
	struct rig r;

	rig_start(&r, &with_after);
	rig_file(&r, "file", "contents", 0644);
	rig_init(&r);
	for (unsigned i = 0; i < ARRAY_LEN(fh); i++)
		walk(&r, "file", 0, NULL, 0, &fh[i]);
	server_after(true);
	assert_int_equal(rig_stats(&r).handles, 3);

	walk(&r, "file", 0, fh, 2, &next);
	assert_int_equal(rig_stats(&r).handles, 4);
	server_after(true);
	assert_int_equal(rig_stats(&r).handles, 2);
	server_after(true); /* nothing is left to be done */
	assert_int_equal(rig_stats(&r).handles, 2);
	assert_int_equal(rig_release(&r, fh[0]), -EBADF);
	assert_int_equal(rig_release(&r, fh[2]), 0);

	/* a handle twice, and one that never was, harm nobody */
	fh[0] = fh[1] = next;
	fh[2] = 12345;
	walk(&r, "file", 0, fh, 3, &next);
	server_after(true);
	assert_int_equal(rig_stats(&r).handles, 1);
	assert_int_equal(rig_release(&r, next), 0);
	rig_stop(&r);
}

static void whole_file_is_closed_after(void **state)
{
	const uint32_t all = FUSE_WIRE_WALK_READ | FUSE_WIRE_WALK_CLOSE;
	uint64_t open;
	uint64_t fh;
	struct rig r;

	rig_start(&r, &with_after);
	rig_file(&r, "file", "contents", 0644);
	rig_init(&r);
	assert_int_equal(walk(&r, "file", all, NULL, 0, &fh),
			 FUSE_WIRE_WALK_OPEN | all);
	open = rig_stats(&r).fds;
	server_after(true);
	assert_int_equal(rig_stats(&r).fds, open - 1);
	assert_int_equal(rig_stats(&r).handles, 0);
	rig_stop(&r);
}

/* What waits to be closed never keeps something from being opened. */
static void scarce_descriptors_are_closed_at_once(void **state)
{
	struct rlimit was, few;
	uint64_t fh[40], next;
	struct rig r;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = rig_count_fds() + 80;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	rig_start(&r, &with_after);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	rig_file(&r, "file", "contents", 0644);
	rig_init(&r);
	for (unsigned i = 0; i < ARRAY_LEN(fh); i++)
		walk(&r, "file", 0, NULL, 0, &fh[i]);
	walk(&r, "file", 0, fh, 2, &next);
	assert_int_equal(rig_stats(&r).handles, ARRAY_LEN(fh) - 1);
	server_after(true);
	assert_int_equal(rig_stats(&r).handles, ARRAY_LEN(fh) - 1);
	rig_stop(&r);
}

/* ------------------------------------------------------------ directories */

#define FILES 700
#define DIRS 3

/* The directory as one handle tells it: entry i is had by asking at off[i]. */
struct listing {
	unsigned n;
	uint64_t off[FILES + 3];
	char name[FILES + 3][64];
};

static ssize_t read_dir(struct rig *r, uint64_t fh, uint64_t off, bool plus,
			void *buf, size_t size)
{
	struct fuse_read_in in = {
		.fh = fh, .offset = off, .size = (uint32_t)size,
	};

	return rig_call(r, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, &in,
			sizeof(in), buf, size);
}

static void list(struct rig *r, uint64_t node, struct listing *l)
{
	static unsigned char buf[65536];
	struct fuse_dirent_view v;
	uint64_t fh;
	ssize_t n;

	l->n = 0;
	l->off[0] = 0;
	assert_int_equal(rig_opendir(r, node, &fh), 0);
	while ((n = read_dir(r, fh, l->off[l->n], false, buf, 1000)) > 0) {
		size_t pos = 0;

		server_after(true);
		while (fuse_next_dirent(buf, (size_t)n, &pos, false, &v) == 1) {
			assert_true(l->n < FILES + 2);
			snprintf(l->name[l->n], sizeof(l->name[0]), "%.*s",
				 (int)v.namelen, v.name);
			l->off[++l->n] = v.off;
		}
	}
	assert_int_equal(n, 0);
	server_after(true);
	assert_int_equal(rig_releasedir(r, fh), 0);
}

/* The answer to what is asked at entry @i: how many of them it has. */
static unsigned check_answer(struct rig *r, const struct listing *l,
			     unsigned i, bool plus, const void *buf, size_t n)
{
	struct fuse_dirent_view v;
	unsigned had = 0;
	size_t pos = 0;

	while (fuse_next_dirent(buf, n, &pos, plus, &v) == 1) {
		assert_true(i + had < l->n);
		assert_int_equal(v.namelen, strlen(l->name[i + had]));
		assert_memory_equal(v.name, l->name[i + had], v.namelen);
		assert_true(v.off == l->off[i + had + 1]);
		if (plus && v.entry.nodeid)
			rig_forget(r, v.entry.nodeid, 1);
		had++;
	}
	assert_int_equal(pos, n);
	assert_int_equal(had > 0, i < l->n);
	return had;
}

/* Every second name is in all of the directories: file systems that make offsets
 * of names give these the same one in each. */
static void make_dir(struct rig *r, struct rng *rng, unsigned d)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/%u", r->dir, d);
	assert_int_equal(mkdir(name, 0700), 0);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%u/%.*s%u", d,
			 i % 2 ? (int)rng_below(rng, 40) : 3,
			 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", i);
		rig_file(r, name, "", 0600);
	}
}

/*
 * Handles that read on, jump and take turns, with answers of any size: what comes
 * is always what follows where it was asked for.
 */
static void directories_read_on(void **state)
{
	static unsigned char buf[65536];
	static struct listing l[DIRS];
	const char *given = getenv("ORIEL_TEST_SEED");
	struct rng rng = { given ? strtoull(given, NULL, 0) :
				   (uint64_t)time(NULL) };
	unsigned at[DIRS] = { 0 };
	uint64_t node[DIRS], fh[DIRS];
	char name[8];
	unsigned d = 0;
	struct rig r;

	print_message("ORIEL_TEST_SEED=%llu\n", (unsigned long long)rng.state);
	rig_start(&r, &with_after);
	rig_init(&r);
	for (unsigned i = 0; i < DIRS; i++) {
		make_dir(&r, &rng, i);
		snprintf(name, sizeof(name), "%u", i);
		node[i] = rig_node(&r, name);
		list(&r, node[i], &l[i]);
		assert_int_equal(l[i].n, FILES + 2);
		assert_int_equal(rig_opendir(&r, node[i], &fh[i]), 0);
	}
	for (unsigned k = 0; k < 20000; k++) {
		bool plus = rng_below(&rng, 8) == 0;
		size_t size = rng_below(&rng, 4) ?
				      400 + rng_below(&rng, 3000) :
				      400 + rng_below(&rng, sizeof(buf) - 400);
		ssize_t n;

		if (rng_below(&rng, 6) == 0)
			d = (unsigned)rng_below(&rng, DIRS);
		if (rng_below(&rng, 30) == 0)
			at[d] = (unsigned)rng_below(&rng, l[d].n + 1);
		n = read_dir(&r, fh[d], l[d].off[at[d]], plus, buf, size);
		assert_true(n >= 0);
		if (rng_below(&rng, 10))
			server_after(rng_below(&rng, 8)); /* else later */
		at[d] += check_answer(&r, &l[d], at[d], plus, buf, (size_t)n);
		if (!n)
			at[d] = 0;
		if (rng_below(&rng, 50) == 0) {
			assert_int_equal(rig_releasedir(&r, fh[d]), 0);
			assert_int_equal(rig_opendir(&r, node[d], &fh[d]), 0);
			at[d] = 0;
		}
	}
	server_after(true);
	rig_stop(&r);
}

/* All names of the directory, from the start or from *@off on. */
static unsigned count_names(struct rig *r, uint64_t fh, uint64_t *off)
{
	unsigned char buf[2000];
	struct fuse_dirent_view v;
	unsigned had = 0;
	ssize_t n;

	while ((n = read_dir(r, fh, *off, false, buf, sizeof(buf))) > 0) {
		size_t pos = 0;

		server_after(true);
		while (fuse_next_dirent(buf, (size_t)n, &pos, false, &v) == 1) {
			*off = v.off;
			had++;
		}
	}
	assert_int_equal(n, 0);
	return had;
}

/* Read ahead is what is there when the client has begun; from the start, and after
 * the end was told, it is read anew. */
static void changes_are_seen(void **state)
{
	uint64_t off = 0, end;
	char path[200];
	uint64_t fh;
	struct rig r;

	rig_start(&r, &with_after);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "file-%u", i);
		rig_file(&r, path, "", 0600);
	}
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	assert_int_equal(count_names(&r, fh, &off), 302);
	end = off;
	rig_file(&r, "one-more", "", 0600);
	off = 0;
	assert_int_equal(count_names(&r, fh, &off), 303);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "%s/file-%u", r.dir, i);
		assert_int_equal(unlink(path), 0);
	}
	off = 0;
	assert_int_equal(count_names(&r, fh, &off), 3);
	/* the end was said and is asked for again */
	assert_int_equal(count_names(&r, fh, &end), 0);
	assert_int_equal(rig_releasedir(&r, fh), 0);
	rig_stop(&r);
}

/* A handle closed, or a session gone, between the answer and what follows it. */
static void closed_meanwhile(void **state)
{
	unsigned char buf[1000];
	struct fuse_dirent_view v;
	uint64_t off = 0;
	uint64_t fh;
	struct rig r;

	rig_start(&r, &with_after);
	for (unsigned i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%u", i);
		rig_file(&r, name, "", 0600);
	}
	rig_init(&r);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(rig_opendir(&r, 1, &fh), 0);
		off = 0;
		for (unsigned i = 0; i < 3; i++) {
			ssize_t n = read_dir(&r, fh, off, false, buf,
					     sizeof(buf));
			size_t pos = 0;

			assert_true(n > 0);
			while (fuse_next_dirent(buf, (size_t)n, &pos, false,
						&v) == 1)
				off = v.off;
			if (i < 2)
				server_after(true);
		}
		if (round)
			server_session_reset(r.s);
		else
			assert_int_equal(rig_releasedir(&r, fh), 0);
		server_after(true);
		assert_int_equal(rig_stats(&r).handles, 0);
	}
	rig_stop(&r);
}

/* One answer (or, with @all, all that are left) from off on; what had: how many. */
struct reading {
	struct rig *r;
	uint64_t fh;
	uint64_t off;
	bool all;
	unsigned had;
};

static void *read_on(void *arg)
{
	struct reading *g = arg;
	unsigned char buf[2048];
	struct fuse_dirent_view v;
	ssize_t n;

	g->had = 0;
	do {
		size_t pos = 0;

		n = read_dir(g->r, g->fh, g->off, true, buf, sizeof(buf));
		if (n < 0)
			abort(); /* cmocka's jump is for its own thread */
		while (fuse_next_dirent(buf, (size_t)n, &pos, true, &v) == 1) {
			if (v.entry.nodeid)
				rig_forget(g->r, v.entry.nodeid, 1);
			g->off = v.off;
			g->had++;
		}
		server_after(false);
	} while (n && g->all);
	return NULL;
}

static unsigned in_a_thread(struct reading g)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, read_on, &g), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	return g.had;
}

/* Threads that serve one handle in turns: when it begins anew, none of them tells
 * what was left over with it from before. */
static void leftovers_end_with_rewinding(void **state)
{
	struct reading here = { .all = false };
	char name[64];
	uint64_t at;
	struct rig r;

	rig_start(&r, &with_after);
	for (unsigned i = 0; i < 700; i++) {
		snprintf(name, sizeof(name), "f%s%u", i & 1 ? "abcdefghijklm" : "",
			 i);
		rig_file(&r, name, "", 0600);
	}
	rig_init(&r);
	here.r = &r;
	assert_int_equal(rig_opendir(&r, 1, &here.fh), 0);
	read_on(&here); /* and something is left over, with this thread */
	at = here.off;
	for (unsigned i = 0; i < 700; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		rig_file(&r, name, "", 0600);
	}
	assert_true(in_a_thread((struct reading){ &r, here.fh, 0, false, 0 }));
	here.all = true;
	read_on(&here);
	assert_int_equal(here.had, in_a_thread((struct reading){
					   &r, here.fh, at, true, 0 }));
	assert_int_equal(rig_releasedir(&r, here.fh), 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handles_are_closed_after),
		cmocka_unit_test(whole_file_is_closed_after),
		cmocka_unit_test(scarce_descriptors_are_closed_at_once),
		cmocka_unit_test(directories_read_on),
		cmocka_unit_test(changes_are_seen),
		cmocka_unit_test(closed_meanwhile),
		cmocka_unit_test(leftovers_end_with_rewinding),
	};

	return cmocka_run_group_tests_name("server_after", tests, NULL, NULL);
}
