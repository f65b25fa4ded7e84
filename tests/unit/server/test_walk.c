/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WALK (docs/design/compound.md): what it finds, opens and reads, that it stops
 * where it has to, and that every lookup and handle it says is one that can be
 * given back. And requests that no client of ours sends.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX FUSE_WIRE_WALK_NAMES
#define OPEN FUSE_WIRE_WALK_OPEN
#define READ FUSE_WIRE_WALK_READ
#define CLOSE FUSE_WIRE_WALK_CLOSE

struct request {
	struct fuse_ioctl_in ioctl;
	struct fuse_wire_walk_in in;
	unsigned char rest[16384];
};

struct answer {
	struct fuse_ioctl_out ioctl;
	struct fuse_wire_walk_out out;
	struct fuse_entry_out e[MAX];
	unsigned char data[70000];
};

static struct request q;
static struct answer a;

static void init(struct rig *r, bool is_oriel)
{
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_WIRE_MINOR,
		.unused[0] = is_oriel ? FUSE_WIRE_INIT_MAGIC : 0,
	};
	struct fuse_init_out out;

	assert_int_equal(rig_call(r, FUSE_INIT, 0, &in, sizeof(in), &out,
				  sizeof(out)), sizeof(out));
	assert_int_equal(out.unused[FUSE_WIRE_INIT_OUT_MAGIC],
			 is_oriel ? FUSE_WIRE_INIT_MAGIC : 0);
	assert_int_equal(out.unused[FUSE_WIRE_INIT_OUT_CAN],
			 is_oriel ? FUSE_WIRE_CAN_WALK : 0);
}

static void in_rig(struct rig *r, const char *name, char *path, size_t len)
{
	snprintf(path, len, "%s/%s", r->dir, name);
}

static void make_dir(struct rig *r, const char *name)
{
	char path[512];

	in_rig(r, name, path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
}

/* a/b/c/file "contents", a/link -> b, a/fifo */
static void start(struct rig *r, const struct rig_config *cfg)
{
	char path[512];

	rig_start(r, cfg);
	make_dir(r, "a");
	make_dir(r, "a/b");
	make_dir(r, "a/b/c");
	rig_file(r, "a/b/c/file", "contents", 0644);
	in_rig(r, "a/link", path, sizeof(path));
	assert_int_equal(symlink("b", path), 0);
	in_rig(r, "a/fifo", path, sizeof(path));
	assert_int_equal(mkfifo(path, 0644), 0);
	init(r, true);
}

static unsigned count_names(const char *path)
{
	unsigned n = *path != '\0';

	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* Fill q; returns its length. */
static size_t ask(const char *path, uint32_t flags, uint32_t open_flags)
{
	memset(&q, 0, sizeof(q));
	q.ioctl.cmd = FUSE_WIRE_IOC_WALK;
	q.in.flags = flags;
	q.in.open_flags = open_flags;
	q.in.n_names = count_names(path);
	q.in.path_len = (uint32_t)strlen(path);
	memcpy(q.rest, path, q.in.path_len);
	q.ioctl.in_size = (uint32_t)sizeof(q.in) + q.in.path_len;
	return sizeof(q.ioctl) + q.ioctl.in_size;
}

static size_t head(void)
{
	return sizeof(a.ioctl) + sizeof(a.out) +
	       q.in.n_names * sizeof(a.e[0]);
}

/* Send q: the error, or how many bytes of data came. */
static ssize_t send_as(struct rig *r, uint64_t node, size_t len, size_t room)
{
	static unsigned char buf[sizeof(a)];
	ssize_t n;

	memset(buf, 0xee, sizeof(buf));
	memset(&a, 0, sizeof(a));
	n = rig_call(r, FUSE_IOCTL, node, &q, len, buf, room);
	if (n < 0)
		return n;
	assert_true((size_t)n >= head());
	memcpy(&a, buf, head());
	memcpy(a.data, buf + head(), (size_t)n - head());
	return n - (ssize_t)head();
}

static ssize_t walk(struct rig *r, const char *path, uint32_t flags,
		    uint32_t size)
{
	size_t len = ask(path, flags, O_RDONLY);

	q.in.size = size;
	return send_as(r, 1, len, head() + size);
}

/* Every lookup the answer speaks of, and no more: then nobody knows it. */
static void give_back(struct rig *r)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;

	for (uint32_t i = 0; i < a.out.n; i++) {
		rig_forget(r, a.e[i].nodeid, 1);
		assert_int_equal(rig_call(r, FUSE_GETATTR, a.e[i].nodeid, &in,
					  sizeof(in), &out, sizeof(out)),
				 -ESTALE);
	}
}

static void test_finds(void **state)
{
	struct fuse_entry_out e;
	struct rig r;

	start(&r, NULL);
	assert_int_equal(walk(&r, "a/b/c/file", 0, 0), 0);
	assert_int_equal(a.out.n, 4);
	assert_int_equal(a.out.error, 0);
	assert_int_equal(a.out.flags, 0);
	assert_true(S_ISREG(a.e[3].attr.mode));
	assert_int_equal(a.e[3].attr.size, 8);
	/* the same as LOOKUP says */
	assert_int_equal(rig_lookup(&r, a.e[2].nodeid, "file", &e), 0);
	assert_memory_equal(&e.attr, &a.e[3].attr, sizeof(e.attr));
	assert_int_equal(e.nodeid, a.e[3].nodeid);
	rig_forget(&r, e.nodeid, 1);
	give_back(&r);
	/* from anywhere, one name too */
	assert_int_equal(walk(&r, "a", 0, 0), 0);
	assert_int_equal(send_as(&r, a.e[0].nodeid, ask("b", 0, 0), head()), 0);
	assert_int_equal(a.out.n, 1);
	assert_true(S_ISDIR(a.e[0].attr.mode));
	rig_stop(&r);
}

static void test_stops(void **state)
{
	struct rig r;

	start(&r, NULL);
	assert_int_equal(walk(&r, "a/nothing/c", OPEN, 0), 0);
	assert_int_equal(a.out.n, 1);
	assert_int_equal(a.out.error, -ENOENT);
	give_back(&r);
	/* a link is told of, and not followed; what is behind it is the client's */
	assert_int_equal(walk(&r, "a/link/c/file", OPEN | READ, 100), 0);
	assert_int_equal(a.out.n, 2);
	assert_int_equal(a.out.error, 0);
	assert_int_equal(a.out.flags, 0);
	assert_true(S_ISLNK(a.e[1].attr.mode));
	give_back(&r);
	assert_int_equal(walk(&r, "a/link", OPEN | READ, 100), 0);
	assert_int_equal(a.out.n, 2);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	/* neither does a file lead on */
	assert_int_equal(walk(&r, "a/b/c/file/x/y", OPEN | READ, 100), 0);
	assert_int_equal(a.out.n, 4);
	assert_int_equal(a.out.error, 0);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	/* never opened: it would wait, or do things */
	assert_int_equal(walk(&r, "a/fifo", OPEN | READ, 100), 0);
	assert_int_equal(a.out.n, 2);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	assert_int_equal(walk(&r, "a/b", OPEN | READ, 100), 0);
	assert_int_equal(a.out.n, 2);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	rig_stop(&r);
}

static void test_opens(void **state)
{
	unsigned char buf[100];
	struct rig r;
	size_t len;

	start(&r, NULL);
	assert_int_equal(walk(&r, "a/b/c/file", OPEN, 0), 0);
	assert_int_equal(a.out.n, 4);
	assert_int_equal(a.out.flags, OPEN);
	assert_int_equal(rig_read(&r, a.out.fh, 0, buf, 100), 8);
	assert_memory_equal(buf, "contents", 8);
	assert_int_equal(rig_write(&r, a.out.fh, 0, "x", 1, 0), -EBADF);
	assert_int_equal(rig_release(&r, a.out.fh), 0);
	give_back(&r);
	len = ask("a/b/c/file", OPEN, O_RDWR);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(rig_write(&r, a.out.fh, 0, "C", 1, 0), 1);
	assert_int_equal(rig_release(&r, a.out.fh), 0);
	give_back(&r);
	assert_int_equal(rig_stats(&r).handles, 0);
	rig_stop(&r);
}

static void refused(struct rig *r, const char *path, uint32_t flags,
		    uint32_t open_flags)
{
	size_t len = ask(path, flags, open_flags);

	assert_int_equal(send_as(r, 1, len, sizeof(a)), -EINVAL);
}

static void test_opens_directories(void **state)
{
	struct fuse_read_in in = { .size = 4000 };
	unsigned char buf[4000];
	struct rig r;
	size_t len;

	start(&r, NULL);
	len = ask("a/b", OPEN, O_DIRECTORY);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.n, 2);
	assert_int_equal(a.out.flags, OPEN);
	in.fh = a.out.fh;
	assert_true(rig_call(&r, FUSE_READDIR, 1, &in, sizeof(in), buf,
			     sizeof(buf)) > 0);
	give_back(&r);
	/* closed along with something else, as files are */
	len = ask("", 0, 0);
	q.in.n_close = 1;
	memcpy(q.rest, &in.fh, 8);
	q.ioctl.in_size += 8;
	assert_int_equal(send_as(&r, 1, len + 8, head()), 0);
	assert_int_equal(rig_stats(&r).handles, 0);
	/* only directories, if that is what is asked for */
	len = ask("a/b/c/file", OPEN, O_DIRECTORY);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.n, 4);
	assert_int_equal(a.out.flags, 0);
	assert_int_equal(a.out.error, 0);
	give_back(&r);
	len = ask("a/link", OPEN, O_DIRECTORY);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	refused(&r, "a", OPEN | READ, O_DIRECTORY);
	rig_stop(&r);
}

static void test_reads(void **state)
{
	unsigned char buf[100];
	struct rig r;

	start(&r, NULL);
	/* all there is: closed again */
	assert_int_equal(walk(&r, "a/b/c/file", OPEN | READ | CLOSE, 100), 8);
	assert_int_equal(a.out.flags, OPEN | READ | CLOSE);
	assert_memory_equal(a.data, "contents", 8);
	assert_int_equal(rig_stats(&r).handles, 0);
	give_back(&r);
	/* all that is asked for */
	assert_int_equal(walk(&r, "a/b/c/file", OPEN | READ | CLOSE, 3), 3);
	assert_int_equal(a.out.flags, OPEN | READ | CLOSE);
	assert_int_equal(rig_stats(&r).handles, 0);
	give_back(&r);
	/* not to be closed */
	assert_int_equal(walk(&r, "a/b/c/file", OPEN | READ, 100), 8);
	assert_int_equal(a.out.flags, OPEN | READ);
	assert_int_equal(rig_read(&r, a.out.fh, 3, buf, 100), 5);
	assert_int_equal(rig_release(&r, a.out.fh), 0);
	give_back(&r);
	/* room for a part: there is more, so it stays open */
	ask("a/b/c/file", OPEN | READ | CLOSE, O_RDONLY);
	q.in.size = 100;
	assert_int_equal(send_as(&r, 1, sizeof(q.ioctl) + q.ioctl.in_size,
				 head() + 5), 5);
	assert_int_equal(a.out.flags, OPEN | READ);
	assert_memory_equal(a.data, "conte", 5);
	assert_int_equal(rig_release(&r, a.out.fh), 0);
	give_back(&r);
	/* an empty one */
	rig_file(&r, "a/b/c/file", "", 0644);
	assert_int_equal(walk(&r, "a/b/c/file", OPEN | READ | CLOSE, 100), 0);
	assert_int_equal(a.out.flags, OPEN | READ | CLOSE);
	give_back(&r);
	rig_stop(&r);
}

/* More than a page, more than the thread's own buffer for answers. */
static void test_reads_much(void **state)
{
	static char text[69001];
	struct rig r;

	start(&r, NULL);
	for (size_t i = 0; i + 1 < sizeof(text); i++)
		text[i] = (char)('a' + i % 23);
	rig_file(&r, "a/much", text, 0644);
	assert_int_equal(walk(&r, "a/much", OPEN | READ | CLOSE, 69500), 69000);
	assert_memory_equal(a.data, text, 69000);
	assert_int_equal(a.out.flags, OPEN | READ | CLOSE);
	give_back(&r);
	rig_stop(&r);
}

static void test_cannot_open(void **state)
{
	static const struct rig_config readonly = { .readonly = true };
	struct rig r;
	size_t len;

	start(&r, NULL);
	rig_restart(&r, &readonly);
	init(&r, true);
	len = ask("a/b/c/file", OPEN, O_RDWR);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.n, 4);
	assert_int_equal(a.out.error, -EROFS);
	assert_int_equal(a.out.flags, 0);
	give_back(&r);
	rig_stop(&r);
}

static void test_closes(void **state)
{
	uint64_t fh[2], none = 999;
	struct rig r;
	size_t len;

	start(&r, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(walk(&r, "a/b/c/file", OPEN, 0), 0);
		fh[i] = a.out.fh;
	}
	/* handles, one that is none, and a name */
	len = ask("", 0, 0);
	q.in.n_close = 3;
	memcpy(q.rest, &fh[0], 8);
	memcpy(q.rest + 8, &none, 8);
	memcpy(q.rest + 16, &fh[1], 8);
	memcpy(q.rest + 24, "a", 1);
	q.in.n_names = 1;
	q.in.path_len = 1;
	len += 25;
	q.ioctl.in_size += 25;
	/* not a byte of it is done if there is something wrong with it */
	q.in.path_len = 2;
	assert_int_equal(send_as(&r, 1, len, head()), -EINVAL);
	assert_int_equal(rig_stats(&r).handles, 2);
	q.in.path_len = 1;
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.n, 1);
	assert_int_equal(rig_stats(&r).handles, 0);
	/* nothing but handles */
	len = ask("", 0, 0);
	assert_int_equal(send_as(&r, 1, len, head()), 0);
	assert_int_equal(a.out.n, 0);
	rig_stop(&r);
}

static void test_nonsense(void **state)
{
	static char longer[4096];
	struct rig r;
	size_t len;

	start(&r, NULL);
	refused(&r, "/a", 0, 0);
	refused(&r, "a/", 0, 0);
	refused(&r, "a//b", 0, 0);
	refused(&r, "/", 0, 0);
	refused(&r, "a/./b", 0, 0);
	refused(&r, "..", 0, 0);
	refused(&r, "a/../..", 0, 0);
	refused(&r, "", OPEN, 0);
	refused(&r, "a", 8, 0);
	refused(&r, "a", READ, 0);
	refused(&r, "a", CLOSE, 0);
	refused(&r, "a", OPEN | CLOSE, 0);
	refused(&r, "a", OPEN, O_CREAT);
	refused(&r, "a", OPEN, O_TRUNC);
	refused(&r, "a", OPEN, O_EXCL);
	refused(&r, "a", OPEN | READ, O_WRONLY);
	refused(&r, "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", 0, 0);
	memset(longer, 'x', 256);
	refused(&r, longer, 0, 0);
	for (size_t i = 0; i < 2049; i++)
		longer[i] = i % 200 == 199 ? '/' : 'x';
	refused(&r, longer, 0, 0);
	/* counts and lengths that do not fit each other */
	for (uint32_t n = 0; n < 4; n++) {
		len = ask("a/b", 0, 0);
		q.in.n_names = n;
		assert_int_equal(send_as(&r, 1, len, sizeof(a)),
				 n == 2 ? 0 : -EINVAL);
		if (n == 2)
			give_back(&r);
	}
	len = ask("a/b", 0, 0);
	q.in.n_names = UINT32_MAX;
	assert_int_equal(send_as(&r, 1, len, sizeof(a)), -EINVAL);
	len = ask("a/b", 0, 0);
	q.in.path_len = UINT32_MAX;
	assert_int_equal(send_as(&r, 1, len, sizeof(a)), -EINVAL);
	len = ask("a/b", 0, 0);
	q.in.n_close = UINT32_MAX / 8 + 1;
	assert_int_equal(send_as(&r, 1, len, sizeof(a)), -EINVAL);
	len = ask("a/b", 0, 0);
	q.ioctl.in_size++;
	assert_int_equal(send_as(&r, 1, len, sizeof(a)), -EINVAL);
	len = ask("a\0b", 0, 0);
	q.in.path_len = 3;
	q.ioctl.in_size += 2;
	assert_int_equal(send_as(&r, 1, len + 2, sizeof(a)), -EINVAL);
	for (size_t cut = 1; cut < sizeof(q.in) + 3; cut++) {
		len = ask("a/b", 0, 0);
		assert_int_equal(send_as(&r, 1, len - cut, sizeof(a)), -EINVAL);
	}
	/* less room than the answer needs */
	for (size_t cut = 1; cut < 2 * sizeof(a.e[0]); cut += 7) {
		len = ask("a/b", 0, 0);
		assert_int_equal(send_as(&r, 1, len, head() - cut), -EINVAL);
	}
	assert_int_equal(send_as(&r, 99, ask("a", 0, 0), head()), -ESTALE);
	/* nothing of all that was counted */
	assert_int_equal(rig_stats(&r).handles, 0);
	assert_int_equal(walk(&r, "a/b/c/file", 0, 0), 0);
	give_back(&r);
	rig_stop(&r);
}

/* Not at a file, and for nobody but liboriel. */
static void test_others(void **state)
{
	uint64_t file;
	struct rig r;

	start(&r, NULL);
	assert_int_equal(walk(&r, "a/b/c/file", 0, 0), 0);
	file = a.e[3].nodeid;
	assert_int_equal(send_as(&r, file, ask("x", 0, 0), head()), 0);
	assert_int_equal(a.out.n, 0);
	assert_int_equal(a.out.error, -ENOTDIR);
	init(&r, false);
	assert_int_equal(send_as(&r, 1, ask("a", 0, 0), head()), -ENOSYS);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_opens),
		cmocka_unit_test(test_opens_directories),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_reads_much),
		cmocka_unit_test(test_cannot_open),
		cmocka_unit_test(test_closes),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
