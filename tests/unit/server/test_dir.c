/* SPDX-License-Identifier: BSD-2-Clause */
/* Directories: every name exactly once, whatever the size of the replies. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 500

static void fill(struct rig *r)
{
	char name[64];
	int i;

	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%04d%.*s", i, i % 40,
			 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		rig_file(r, name, "", 0600);
	}
}

static ssize_t do_readdir(struct rig *r, uint64_t fh, uint64_t off, bool plus,
			  void *buf, size_t size)
{
	struct fuse_read_in in = {
		.fh = fh, .offset = off, .size = (uint32_t)size,
	};

	return rig_call(r, plus ? FUSE_READDIRPLUS : FUSE_READDIR, 1, &in,
			sizeof(in), buf, size);
}

struct seen {
	unsigned char files[FILES];
	unsigned dots;
	unsigned others;
	unsigned without_node; /* plus: entries with nodeid 0 that are files */
	unsigned nodes;
	char nodeless[64]; /* the name of one without node */
};

static void take(struct seen *s, const struct fuse_dirent_view *d, bool plus)
{
	unsigned i;

	if (d->name[0] == '.' && d->namelen <= 2) {
		s->dots++;
		assert_int_equal(d->entry.nodeid, 0);
		return;
	}
	if (sscanf(d->name, "file-%04u", &i) != 1 || i >= FILES) {
		s->others++;
		return;
	}
	s->files[i]++;
	if (!plus)
		return;
	if (d->entry.nodeid) {
		s->nodes++;
		assert_true(d->entry.attr.ino == d->ino);
		assert_true(S_ISREG(d->entry.attr.mode));
	} else {
		s->without_node++;
		snprintf(s->nodeless, sizeof(s->nodeless), "%.*s",
			 (int)d->namelen, d->name);
	}
}

/* All of it, in replies of @size bytes. */
static void read_all(struct rig *r, uint64_t fh, bool plus, size_t size,
		     struct seen *s)
{
	char *buf = malloc(size);
	uint64_t off = 0;

	memset(s, 0, sizeof(*s));
	for (;;) {
		ssize_t n = do_readdir(r, fh, off, plus, buf, size);
		struct fuse_dirent_view d;
		size_t pos = 0;

		assert_true(n >= 0);
		if (!n)
			break;
		while (fuse_next_dirent(buf, (size_t)n, &pos, plus, &d) == 1) {
			take(s, &d, plus);
			off = d.off;
		}
		assert_int_equal(pos, n);
	}
	free(buf);
}

static void check_all_once(const struct seen *s)
{
	int i;

	for (i = 0; i < FILES; i++)
		assert_int_equal(s->files[i], 1);
	assert_int_equal(s->dots, 2);
	assert_int_equal(s->others, 0);
}

static void every_name_once(void **state)
{
	static const size_t sizes[] = { 280, 500, 4096, 65536, 1 << 20 };
	struct seen s;
	uint64_t fh;
	size_t i;
	struct rig r;

	rig_start(&r, NULL);
	fill(&r);
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	for (i = 0; i < ARRAY_LEN(sizes); i++) {
		read_all(&r, fh, false, sizes[i], &s);
		check_all_once(&s);
		if (sizes[i] < 500)
			continue;
		read_all(&r, fh, true, sizes[i], &s);
		check_all_once(&s);
		assert_int_equal(s.nodes, FILES);
	}
	rig_stop(&r);
}

/* An entry of READDIRPLUS counts as a lookup, one that did not fit does not. */
static void plus_counts_lookups(void **state)
{
	struct fuse_dirent_view d;
	char buf[3000];
	size_t pos = 0;
	unsigned n_nodes = 0;
	uint64_t fh;
	ssize_t n;
	struct rig r;

	rig_start(&r, NULL);
	fill(&r);
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	n = do_readdir(&r, fh, 0, true, buf, sizeof(buf));
	assert_true(n > 0);
	while (fuse_next_dirent(buf, (size_t)n, &pos, true, &d) == 1)
		n_nodes += d.entry.nodeid != 0;
	assert_true(n_nodes > 5);
	assert_int_equal(rig_stats(&r).inodes, 1 + n_nodes);
	pos = 0;
	while (fuse_next_dirent(buf, (size_t)n, &pos, true, &d) == 1)
		if (d.entry.nodeid)
			rig_forget(&r, d.entry.nodeid, 1);
	assert_int_equal(rig_stats(&r).inodes, 1);
	assert_int_equal(rig_stats(&r).fds, 2);
	rig_stop(&r);
}

/* Out of descriptors: names stay, attributes are left out, others get -EMFILE. */
static void no_descriptors_left(void **state)
{
	struct rlimit old;
	struct rlimit low;
	struct seen s;
	uint64_t fh;
	struct rig r;

	if (rig_has_handles())
		skip(); /* then they do not run out: test_handles.c */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = 128; /* 96 of them for the server */
	rig_start(&r, NULL);
	fill(&r);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	rig_restart(&r, NULL);
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	read_all(&r, fh, true, 65536, &s);
	check_all_once(&s);
	assert_true(s.nodes > 10 && s.nodes < 128);
	assert_int_equal(s.nodes + s.without_node, FILES);
	assert_int_equal(rig_lookup(&r, 1, s.nodeless, NULL), -EMFILE);
	assert_int_equal(rig_opendir(&r, 1, &fh), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	rig_stop(&r);
}

static void errors(void **state)
{
	char buf[256];
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0600);
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, rig_node(&r, "f"), &fh), -ENOTDIR);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	assert_int_equal(do_readdir(&r, fh + 1, 0, false, buf, sizeof(buf)),
			 -EBADF);
	/* an empty reply would mean the end */
	assert_int_equal(do_readdir(&r, fh, 0, false, buf, 24), -EINVAL);
	assert_int_equal(do_readdir(&r, fh, 0, true, buf, 100), -EINVAL);
	assert_int_equal(do_readdir(&r, fh, UINT64_MAX, false, buf,
				    sizeof(buf)), -EINVAL);
	assert_true(do_readdir(&r, fh, 0, false, buf, sizeof(buf)) > 0);
	assert_int_equal(rig_releasedir(&r, fh), 0);
	assert_int_equal(rig_releasedir(&r, fh), -EBADF);
	rig_stop(&r);
}

/* ".." of the root is the root: what is above is nobody's business. */
static void root_has_no_parent(void **state)
{
	struct fuse_dirent_view d;
	struct stat st;
	char buf[1024];
	size_t pos = 0;
	unsigned dots = 0;
	uint64_t fh;
	ssize_t n;
	struct rig r;

	rig_start(&r, NULL);
	assert_int_equal(stat(r.dir, &st), 0);
	rig_init(&r);
	assert_int_equal(rig_opendir(&r, 1, &fh), 0);
	n = do_readdir(&r, fh, 0, false, buf, sizeof(buf));
	while (n > 0 && fuse_next_dirent(buf, (size_t)n, &pos, false, &d) == 1) {
		assert_true(d.ino == st.st_ino);
		dots++;
	}
	assert_int_equal(dots, 2);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_once),
		cmocka_unit_test(plus_counts_lookups),
		cmocka_unit_test(no_descriptors_left),
		cmocka_unit_test(errors),
		cmocka_unit_test(root_has_no_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
