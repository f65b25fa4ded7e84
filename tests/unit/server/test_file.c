/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files: bytes, sizes, positions, and the bits that writing clears. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct created {
	struct fuse_entry_out e;
	struct fuse_open_out o;
};

static ssize_t do_create(struct rig *r, uint32_t op, const char *name,
			 uint32_t flags, uint32_t mode, struct created *ret)
{
	struct fuse_create_in in = { .flags = flags, .mode = mode };

	return rig_call_name(r, op, 1, &in, sizeof(in), name, NULL, ret,
			     sizeof(*ret));
}

static void check_content(struct rig *r, const char *name, const char *want)
{
	char buf[256];
	int fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), strlen(want));
	assert_memory_equal(buf, want, strlen(want));
	close(fd);
}

static void reads_and_writes(void **state)
{
	uint64_t node;
	uint64_t fh;
	char buf[64];
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "hello, world", 0644);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	assert_int_equal(rig_read(&r, fh, 0, buf, sizeof(buf)), 12);
	assert_memory_equal(buf, "hello, world", 12);
	assert_int_equal(rig_read(&r, fh, 7, buf, 3), 3);
	assert_memory_equal(buf, "wor", 3);
	assert_int_equal(rig_read(&r, fh, 12, buf, 9), 0);
	assert_int_equal(rig_read(&r, fh, 1 << 30, buf, 9), 0);
	assert_int_equal(rig_write(&r, fh, 7, "there!", 6, 0), 6);
	check_content(&r, "f", "hello, there!");
	assert_int_equal(rig_read(&r, fh + 1, 0, buf, 1), -EBADF);
	assert_int_equal(rig_release(&r, fh), 0);
	assert_int_equal(rig_release(&r, fh), -EBADF);
	assert_int_equal(rig_read(&r, fh, 0, buf, 1), -EBADF);
	assert_int_equal(rig_open(&r, node, O_RDONLY, &fh), 0);
	assert_int_equal(rig_write(&r, fh, 0, "x", 1, 0), -EBADF);
	rig_stop(&r);
}

/* One MiB in pieces of odd sizes, more of them than one system call takes. */
static void scattered_data(void **state)
{
	enum { LEN = 1 << 20, PIECE = 1021 };
	struct fuse_in_header h = { .opcode = FUSE_WRITE, .unique = 5 };
	struct fuse_write_in w = { .size = LEN };
	struct fuse_read_in rd = { .size = LEN };
	struct { struct fuse_out_header h; struct fuse_write_out w; } wo;
	static struct iovec iov[LEN / PIECE + 4];
	char *data = malloc(LEN);
	char *back = calloc(1, LEN);
	char head[sizeof(h) + sizeof(w)];
	char oh[16];
	struct iovec in = { &wo, sizeof(wo) };
	uint64_t fh;
	unsigned n = 0;
	size_t i;
	struct rig r;

	for (i = 0; i < LEN; i++)
		data[i] = (char)(i * 7 + i / 251);
	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0644);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "f"), O_RDWR, &fh), 0);
	w.fh = fh;
	rd.fh = fh;
	h.len = sizeof(head) + LEN;
	memcpy(head, &h, sizeof(h));
	memcpy(head + sizeof(h), &w, sizeof(w));
	/* the headers themselves in three pieces */
	iov[n++] = (struct iovec){ head, 13 };
	iov[n++] = (struct iovec){ head + 13, 50 };
	iov[n++] = (struct iovec){ head + 63, sizeof(head) - 63 };
	for (i = 0; i < LEN; i += PIECE)
		iov[n++] = (struct iovec){ data + i, min_u64(PIECE, LEN - i) };
	assert_true(n > 1024);
	assert_int_equal(server_session_handle(r.s, 1, iov, n, &in, 1),
			 sizeof(wo));
	assert_int_equal(wo.h.error, 0);
	assert_int_equal(wo.w.size, LEN);

	h.opcode = FUSE_READ;
	h.len = sizeof(h) + sizeof(rd);
	memcpy(head, &h, sizeof(h));
	memcpy(head + sizeof(h), &rd, sizeof(rd));
	in = (struct iovec){ head, h.len };
	n = 0;
	iov[n++] = (struct iovec){ oh, 3 };
	iov[n++] = (struct iovec){ oh + 3, 13 };
	for (i = 0; i < LEN; i += PIECE)
		iov[n++] = (struct iovec){ back + i, min_u64(PIECE, LEN - i) };
	assert_int_equal(server_session_handle(r.s, 1, &in, 1, iov, n),
			 16 + LEN);
	assert_memory_equal(data, back, LEN);
	free(data);
	free(back);
	rig_stop(&r);
}

/* A write at 0 of a client whose file has O_APPEND by now. */
static ssize_t append(struct rig *r, uint64_t fh, const char *text)
{
	struct {
		struct fuse_write_in in;
		char data[16];
	} msg = { .in = { .fh = fh, .flags = O_WRONLY | O_APPEND } };
	struct fuse_write_out out;
	ssize_t n;

	msg.in.size = (uint32_t)strlen(text);
	memcpy(msg.data, text, msg.in.size);
	n = rig_call(r, FUSE_WRITE, 1, &msg, sizeof(msg.in) + msg.in.size,
		     &out, sizeof(out));
	return n < 0 ? n : (ssize_t)out.size;
}

/* Who asks where the file ends after an append is told, if there is room. */
static void append_says_end(void **state)
{
	struct {
		struct fuse_write_in in;
		char data[4];
	} msg = { .in = { .flags = O_WRONLY | O_APPEND, .size = 4 },
		  .data = "abc" };
	struct fuse_wire_write_out out;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "old", 0644);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "f"), O_WRONLY | O_APPEND,
				  &msg.in.fh), 0);
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, &msg, sizeof(msg), &out,
				  sizeof(out)), sizeof(struct fuse_write_out));
	msg.in.padding = FUSE_WIRE_WRITE_ASK_END;
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, &msg, sizeof(msg), &out,
				  sizeof(out)), sizeof(out));
	assert_int_equal(out.size, 4);
	assert_int_equal(out.end, 11);
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, &msg, sizeof(msg), &out,
				  sizeof(struct fuse_write_out)),
			 sizeof(struct fuse_write_out));
	/* it writes where it says, and so knows */
	msg.in.flags = O_WRONLY;
	assert_int_equal(rig_call(&r, FUSE_WRITE, 1, &msg, sizeof(msg), &out,
				  sizeof(out)), sizeof(struct fuse_write_out));
	rig_stop(&r);
}

static void open_flags(void **state)
{
	uint64_t node;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "old", 0644);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0700), 0);
	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_open(&r, node, O_WRONLY | O_APPEND, &fh), 0);
	assert_int_equal(append(&r, fh, "er"), 2);
	check_content(&r, "f", "older");
	/* the flag went since: fcntl(2) can do that */
	assert_int_equal(rig_write(&r, fh, 0, "O", 1, 0), 1);
	check_content(&r, "f", "Older");
	/* not ours to create, whatever the flags say */
	assert_int_equal(rig_open(&r, node, O_RDWR | O_CREAT | O_EXCL, &fh),
			 0);
	assert_int_equal(rig_open(&r, node, O_RDWR | O_TRUNC, &fh), 0);
	check_content(&r, "f", "");
	assert_int_equal(rig_open(&r, rig_node(&r, "d"), O_RDONLY, &fh),
			 -EISDIR);
	assert_int_equal(rig_open(&r, 987, O_RDONLY, &fh), -ESTALE);
	rig_stop(&r);
}

static void creates(void **state)
{
	struct created c;
	struct created c2;
	struct rig r;

	rig_start(&r, NULL);
	rig_init(&r);
	assert_int_equal(do_create(&r, FUSE_CREATE, "f",
				   O_RDWR | O_CREAT | O_EXCL, 0640, &c),
			 sizeof(c));
	assert_int_equal(c.e.attr.mode, S_IFREG | 0640);
	assert_int_equal(rig_write(&r, c.o.fh, 0, "abc", 3, 0), 3);
	assert_int_equal(do_create(&r, FUSE_CREATE, "f",
				   O_RDWR | O_CREAT | O_EXCL, 0640, &c2),
			 -EEXIST);
	assert_int_equal(do_create(&r, FUSE_CREATE, "f", O_RDWR | O_CREAT, 0,
				   &c2), sizeof(c2));
	assert_true(c2.e.nodeid == c.e.nodeid);
	assert_int_equal(c2.e.attr.size, 3);
	assert_int_equal(do_create(&r, FUSE_CREATE, "f",
				   O_RDWR | O_CREAT | O_TRUNC, 0, &c2),
			 sizeof(c2));
	assert_int_equal(c2.e.attr.size, 0);
	/* three lookups, no more: the one inside was given back */
	rig_forget(&r, c.e.nodeid, 3);
	assert_int_equal(rig_release(&r, c.o.fh), 0);
	assert_int_equal(rig_stats(&r).handles, 2);
	rig_release(&r, c2.o.fh);
	rig_release(&r, c2.o.fh - 1);
	assert_int_equal(rig_stats(&r).inodes, 1);
	assert_int_equal(mkdirat(r.dir_fd, "d", 0700), 0);
	assert_int_equal(do_create(&r, FUSE_CREATE, "d", O_RDWR | O_CREAT, 0,
				   &c), -EISDIR);
	assert_int_equal(do_create(&r, FUSE_CREATE, "", O_RDWR, 0, &c),
			 -EINVAL);
	rig_stop(&r);
}

static void temporary_files(void **state)
{
	struct fuse_link_in in;
	struct fuse_entry_out e;
	struct created c;
	ssize_t n;
	struct rig r;

	rig_start(&r, NULL);
	rig_init(&r);
	n = do_create(&r, FUSE_TMPFILE, "", O_RDWR, 0600, &c);
	if (n == -EOPNOTSUPP) {
		print_message("no O_TMPFILE here\n");
		rig_stop(&r);
		skip();
	}
	assert_int_equal(n, sizeof(c));
	assert_int_equal(c.e.attr.nlink, 0);
	assert_int_equal(rig_write(&r, c.o.fh, 0, "tmp", 3, 0), 3);
	in.oldnodeid = c.e.nodeid;
	assert_int_equal(rig_call_name(&r, FUSE_LINK, 1, &in, sizeof(in), "t",
				       NULL, &e, sizeof(e)), sizeof(e));
	check_content(&r, "t", "tmp");
	assert_int_equal(do_create(&r, FUSE_TMPFILE, "", O_RDONLY, 0600, &c),
			 -EINVAL);
	rig_stop(&r);
}

static void space_and_holes(void **state)
{
	struct fuse_fallocate_in fa = { .length = 1 << 20 };
	struct fuse_lseek_in ls = { .whence = SEEK_DATA };
	struct fuse_lseek_out lo;
	struct stat st;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "", 0644);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "f"), O_RDWR, &fh), 0);
	fa.fh = fh;
	ls.fh = fh;
	assert_int_equal(rig_call(&r, FUSE_FALLOCATE, 1, &fa, sizeof(fa), NULL,
				  0), 0);
	assert_int_equal(fstatat(r.dir_fd, "f", &st, 0), 0);
	assert_int_equal(st.st_size, 1 << 20);
	fa.mode = 0x8000;
	assert_int_equal(rig_call(&r, FUSE_FALLOCATE, 1, &fa, sizeof(fa), NULL,
				  0), -EOPNOTSUPP);
	fa.mode = 0;
	fa.offset = UINT64_MAX - 10;
	assert_int_equal(rig_call(&r, FUSE_FALLOCATE, 1, &fa, sizeof(fa), NULL,
				  0), -EFBIG);
	fa.offset = INT64_MAX;
	fa.length = INT64_MAX;
	assert_int_equal(rig_call(&r, FUSE_FALLOCATE, 1, &fa, sizeof(fa), NULL,
				  0), -EFBIG);
	rig_file(&r, "f", "", 0644); /* empty again */
	assert_int_equal(rig_write(&r, fh, 1 << 20, "x", 1, 0), 1);
	assert_int_equal(rig_call(&r, FUSE_LSEEK, 1, &ls, sizeof(ls), &lo,
				  sizeof(lo)), sizeof(lo));
	assert_int_equal(lo.offset, 1 << 20);
	ls.offset = 2 << 20;
	assert_int_equal(rig_call(&r, FUSE_LSEEK, 1, &ls, sizeof(ls), &lo,
				  sizeof(lo)), -ENXIO);
	/* lseek(2) of a negative offset: no data there, but EINVAL to move */
	ls.offset = UINT64_MAX;
	assert_int_equal(rig_call(&r, FUSE_LSEEK, 1, &ls, sizeof(ls), &lo,
				  sizeof(lo)), -ENXIO);
	ls.whence = SEEK_END;
	assert_int_equal(rig_call(&r, FUSE_LSEEK, 1, &ls, sizeof(ls), &lo,
				  sizeof(lo)), -EINVAL);
	ls.whence = SEEK_CUR;
	assert_int_equal(rig_call(&r, FUSE_LSEEK, 1, &ls, sizeof(ls), &lo,
				  sizeof(lo)), -EINVAL);
	rig_stop(&r);
}

static void copies_ranges(void **state)
{
	struct fuse_copy_file_range_in in = { .len = UINT64_MAX };
	struct fuse_wire_copy_file_range_out co;
	struct fuse_write_out wo;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "a", "0123456789", 0644);
	rig_file(&r, "b", "", 0644);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "a"), O_RDONLY, &in.fh_in),
			 0);
	assert_int_equal(rig_open(&r, rig_node(&r, "b"), O_RDWR, &in.fh_out),
			 0);
	in.off_in = 4;
	in.len = 4;
	assert_int_equal(rig_call(&r, FUSE_COPY_FILE_RANGE, 1, &in, sizeof(in),
				  &wo, sizeof(wo)), sizeof(wo));
	assert_int_equal(wo.size, 4);
	check_content(&r, "b", "4567");
	/* the same by the request with room for long copies */
	in.off_in = 8;
	in.off_out = 4;
	in.len = UINT64_MAX;
	assert_int_equal(rig_call(&r, FUSE_WIRE_COPY_FILE_RANGE_64, 1, &in,
				  sizeof(in), &co, sizeof(co)), sizeof(co));
	assert_int_equal(co.bytes_copied, 2);
	check_content(&r, "b", "456789");
	in.off_out = UINT64_MAX;
	assert_int_equal(rig_call(&r, FUSE_WIRE_COPY_FILE_RANGE_64, 1, &in,
				  sizeof(in), &co, sizeof(co)), -EINVAL);
	in.off_out = 0;
	in.len = 4;
	in.off_in = UINT64_MAX;
	assert_int_equal(rig_call(&r, FUSE_COPY_FILE_RANGE, 1, &in, sizeof(in),
				  &wo, sizeof(wo)), -EINVAL);
	in.off_in = 0;
	in.flags = 1;
	assert_int_equal(rig_call(&r, FUSE_COPY_FILE_RANGE, 1, &in, sizeof(in),
				  &wo, sizeof(wo)), -EINVAL);
	in.flags = 0;
	in.fh_out = 999;
	assert_int_equal(rig_call(&r, FUSE_COPY_FILE_RANGE, 1, &in, sizeof(in),
				  &wo, sizeof(wo)), -EBADF);
	rig_stop(&r);
}

static void syncs(void **state)
{
	struct fuse_flush_in fl = { 0 };
	struct fuse_fsync_in fs = { 0 };
	uint64_t pad = 0;
	uint64_t fh;
	uint64_t dh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "x", 0644);
	rig_init(&r);
	assert_int_equal(rig_open(&r, rig_node(&r, "f"), O_RDWR, &fh), 0);
	assert_int_equal(rig_opendir(&r, 1, &dh), 0);
	fl.fh = fh;
	fs.fh = fh;
	assert_int_equal(rig_call(&r, FUSE_FLUSH, 1, &fl, sizeof(fl), NULL, 0),
			 0);
	assert_int_equal(rig_call(&r, FUSE_FSYNC, 1, &fs, sizeof(fs), NULL, 0),
			 0);
	fs.fsync_flags = FUSE_FSYNC_FDATASYNC;
	assert_int_equal(rig_call(&r, FUSE_FSYNC, 1, &fs, sizeof(fs), NULL, 0),
			 0);
	/* a file's handle is no directory's, and the other way round */
	assert_int_equal(rig_call(&r, FUSE_FSYNCDIR, 1, &fs, sizeof(fs), NULL,
				  0), -EBADF);
	fs.fh = dh;
	assert_int_equal(rig_call(&r, FUSE_FSYNC, 1, &fs, sizeof(fs), NULL, 0),
			 -EBADF);
	assert_int_equal(rig_call(&r, FUSE_FSYNCDIR, 1, &fs, sizeof(fs), NULL,
				  0), 0);
	assert_int_equal(rig_call(&r, FUSE_SYNCFS, 1, &pad, sizeof(pad), NULL,
				  0), 0);
	fl.fh = 99;
	assert_int_equal(rig_call(&r, FUSE_FLUSH, 1, &fl, sizeof(fl), NULL, 0),
			 -EBADF);
	assert_int_equal(rig_release(&r, dh), -EBADF);
	assert_int_equal(rig_releasedir(&r, fh), -EBADF);
	rig_stop(&r);
}

static mode_t mode_of(struct rig *r, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(r->dir_fd, name, &st, 0), 0);
	return st.st_mode & 07777;
}

static void set_mode(struct rig *r, const char *name, mode_t mode)
{
	assert_int_equal(fchmodat(r->dir_fd, name, mode, 0), 0);
}

/* Writing takes set-uid and set-gid away; a client that may keep them says so
 * by leaving the flag out, if it has agreed to say it at all. */
static void writing_clears_bits(void **state)
{
	struct fuse_setattr_in sa = { .valid = FATTR_SIZE, .size = 1 };
	struct fuse_attr_out ao;
	struct fuse_open_in oi = { .flags = O_RDWR | O_TRUNC,
				   .open_flags = FUSE_OPEN_KILL_SUIDGID };
	struct fuse_open_out oo;
	uint64_t node;
	uint64_t fh;
	struct rig r;

	rig_start(&r, NULL);
	rig_file(&r, "f", "x", 0755);
	rig_init_flags(&r, 0); /* has not agreed: always */
	node = rig_node(&r, "f");
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	set_mode(&r, "f", 06755);
	assert_int_equal(rig_write(&r, fh, 0, "y", 1, 0), 1);
	assert_int_equal(mode_of(&r, "f"), 0755);
	set_mode(&r, "f", 06755);
	assert_int_equal(rig_call(&r, FUSE_SETATTR, node, &sa, sizeof(sa), &ao,
				  sizeof(ao)), sizeof(ao));
	assert_int_equal(mode_of(&r, "f"), 0755);

	rig_init(&r);
	node = rig_node(&r, "f");
	assert_int_equal(rig_open(&r, node, O_RDWR, &fh), 0);
	set_mode(&r, "f", 06755);
	assert_int_equal(rig_write(&r, fh, 0, "y", 1, FUSE_WRITE_KILL_SUIDGID),
			 1);
	assert_int_equal(mode_of(&r, "f"), 0755);
	set_mode(&r, "f", 06755);
	assert_int_equal(rig_call(&r, FUSE_OPEN, node, &oi, sizeof(oi), &oo,
				  sizeof(oo)), sizeof(oo));
	assert_int_equal(mode_of(&r, "f"), 0755);
	if (!geteuid()) {
		set_mode(&r, "f", 06755);
		assert_int_equal(rig_write(&r, fh, 0, "y", 1, 0), 1);
		assert_int_equal(mode_of(&r, "f"), 06755);
		assert_int_equal(rig_call(&r, FUSE_SETATTR, node, &sa,
					  sizeof(sa), &ao, sizeof(ao)),
				 sizeof(ao));
		assert_int_equal(mode_of(&r, "f"), 06755);
		/* and next time the flag counts again */
		assert_int_equal(rig_write(&r, fh, 0, "y", 1,
					   FUSE_WRITE_KILL_SUIDGID), 1);
		assert_int_equal(mode_of(&r, "f"), 0755);
	}
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(scattered_data),
		cmocka_unit_test(append_says_end),
		cmocka_unit_test(open_flags),
		cmocka_unit_test(creates),
		cmocka_unit_test(temporary_files),
		cmocka_unit_test(space_and_holes),
		cmocka_unit_test(copies_ranges),
		cmocka_unit_test(syncs),
		cmocka_unit_test(writing_clears_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
