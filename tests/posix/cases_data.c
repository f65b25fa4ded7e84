/* SPDX-License-Identifier: BSD-2-Clause */
/* read, write and their kin; O_DIRECT, fsync, copy_file_range, sendfile. */
#include "posix.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define BIG (3u << 20)

/* Bytes that tell where they belong. */
static void fill(unsigned char *buf, size_t len, unsigned seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + seed);
}

static unsigned char *big_buffer(unsigned seed)
{
	void *p = NULL;

	if (posix_memalign(&p, 4096, BIG))
		posix_die(__FILE__, __LINE__, "memory");
	fill(p, BIG, seed);
	return p;
}

static void write_read_big(void)
{
	unsigned char *a = big_buffer(1);
	unsigned char *b = big_buffer(2);
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	EQ(write(fd, a, BIG), BIG);
	EQ(lseek(fd, 0, SEEK_CUR), BIG);
	EQ(posix_size("f"), BIG);
	EQ(pread(fd, b, BIG, 0), BIG);
	EQ(memcmp(a, b, BIG), 0);
	/* unaligned, across pages */
	EQ(pread(fd, b, 100000, 4093), 100000);
	EQ(memcmp(a + 4093, b, 100000), 0);
	EQ(pwrite(fd, a, 70000, 12345), 70000);
	EQ(pread(fd, b, 70000, 12345), 70000);
	EQ(memcmp(a, b, 70000), 0);
	/* at and past the end */
	EQ(pread(fd, b, 10, BIG - 3), 3);
	EQ(pread(fd, b, 10, BIG), 0);
	EQ(pread(fd, b, 10, (off_t)BIG << 8), 0);
	OK(close(fd));
	/* another open sees it as well */
	fd = (int)OK(open("f", O_RDONLY));
	EQ(read(fd, b, 12345), 12345);
	EQ(memcmp(b, (fill(a, BIG, 1), a), 12345), 0);
	OK(close(fd));
	free(a);
	free(b);
}

static void seek_offsets(void)
{
	int fd;

	posix_put("f", "abcdef", 0644);
	fd = (int)OK(open("f", O_RDWR));
	EQ(lseek(fd, 0, SEEK_END), 6);
	EQ(lseek(fd, -2, SEEK_END), 4);
	EQ(lseek(fd, -1, SEEK_CUR), 3);
	EQ(lseek(fd, 1000, SEEK_SET), 1000);
	ERR(EINVAL, lseek(fd, -1, SEEK_SET));
	ERR(EINVAL, lseek(fd, -7, SEEK_END));
	ERR(EINVAL, lseek(fd, 0, 77));
	EQ(lseek(fd, 0, SEEK_CUR), 1000);
	EQ(write(fd, "x", 1), 1);
	EQ(posix_size("f"), 1001);
	ERR(EINVAL, pread(fd, &fd, 1, -1));
	ERR(EINVAL, pwrite(fd, "x", 1, -1));
	OK(close(fd));
	/* the position belongs to the open file, not to the descriptor */
	fd = (int)OK(open("f", O_RDONLY));
	EQ(lseek((int)OK(dup(fd)), 5, SEEK_SET), 5);
	EQ(lseek(fd, 0, SEEK_CUR), 5);
	OK(close(fd));
}

static void far_offsets(void)
{
	const off_t far = (off_t)1 << 40;
	char c = 0;
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	struct stat st;

	EQ(pwrite(fd, "z", 1, far), 1);
	OK(fstat(fd, &st));
	EQ(st.st_size, far + 1);
	TRUE(st.st_blocks < 1000);
	EQ(pread(fd, &c, 1, far), 1);
	EQ(c, 'z');
	EQ(pread(fd, &c, 1, far / 2), 1);
	EQ(c, 0);
	ERR(EFBIG, pwrite(fd, "x", 1, INT64_MAX - 1));
	ERR(EFBIG, ftruncate(fd, INT64_MAX));
	OK(fstat(fd, &st));
	EQ(st.st_size, far + 1);
	OK(close(fd));
}

static void vectors(void)
{
	char a[3];
	char b[5];
	char c[10];
	struct iovec w[3] = { { (char[]){ "abc" }, 3 },
			      { NULL, 0 },
			      { (char[]){ "defgh" }, 5 } };
	struct iovec r[3] = { { a, 3 }, { b, 5 }, { c, 10 } };
	struct iovec bad[1] = { { c, SIZE_MAX } };
	/* out of the compiler's sight */
	volatile int many = -1;
	void *volatile nowhere = (void *)8;
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	EQ(writev(fd, w, 3), 8);
	EQ(pwritev(fd, w, 3, 4), 8);
	EQ(preadv(fd, r, 3, 0), 12);
	EQ(memcmp(a, "abc", 3), 0);
	EQ(memcmp(b, "dabcd", 5), 0);
	EQ(memcmp(c, "efgh", 4), 0);
	ERR(EINVAL, readv(fd, bad, 1));
	ERR(EINVAL, readv(fd, r, many));
	EQ(write(fd, NULL, 0), 0);
	ERR(EFAULT, pwrite(fd, nowhere, 4096, 0));
	OK(close(fd));
}

static void direct_io(void)
{
	unsigned char *a = big_buffer(3);
	unsigned char *b = big_buffer(4);
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644);
	int plain;

	if (fd < 0 && errno == EINVAL)
		posix_skip("no O_DIRECT");
	MUST(fd);
	plain = (int)OK(open("f", O_RDWR));
	EQ(write(fd, a, 1 << 20), 1 << 20);
	EQ(pread(plain, b, 1 << 20, 0), 1 << 20);
	EQ(memcmp(a, b, 1 << 20), 0);
	/* each sees what the other wrote */
	EQ(pwrite(plain, a + 4096, 8192, 65536), 8192);
	EQ(pread(fd, b, 8192, 65536), 8192);
	EQ(memcmp(a + 4096, b, 8192), 0);
	EQ(pwrite(fd, a + 8192, 4096, 65536), 4096);
	EQ(pread(plain, b, 4096, 65536), 4096);
	EQ(memcmp(a + 8192, b, 4096), 0);
	EQ(pread(fd, b, 8192, (1 << 20) - 4096), 4096);
	OK(close(fd));
	OK(close(plain));
	free(a);
	free(b);
}

static void sync_calls(void)
{
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT | O_SYNC, 0644));
	int dir;

	EQ(write(fd, "abc", 3), 3);
	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	OK(syncfs(fd));
	OK(close(fd));
	dir = (int)OK(open(".", O_RDONLY | O_DIRECTORY));
	OK(fsync(dir));
	OK(fdatasync(dir));
	OK(syncfs(dir));
	OK(close(dir));
	fd = (int)OK(open("f", O_RDONLY));
	OK(fsync(fd));
	OK(close(fd));
	ERR(EBADF, fsync(fd));
	fd = (int)OK(open("f", O_RDWR | O_DSYNC));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	TRUE(posix_holds("f", "xbc"));
}

static void copy_range(void)
{
	unsigned char *a = big_buffer(5);
	unsigned char *b = big_buffer(6);
	off_t in = 4096;
	off_t out = 0;
	int from = (int)MUST(open("a", O_RDWR | O_CREAT, 0644));
	int to = (int)MUST(open("b", O_RDWR | O_CREAT, 0644));

	EQ(write(from, a, BIG), BIG);
	EQ(copy_file_range(from, &in, to, &out, 100000, 0), 100000);
	EQ(in, 104096);
	EQ(out, 100000);
	EQ(pread(to, b, BIG, 0), 100000);
	EQ(memcmp(a + 4096, b, 100000), 0);
	EQ(posix_size("b"), 100000);
	/* by the files' own positions; short at the end */
	EQ(lseek(from, -1000, SEEK_END), BIG - 1000);
	EQ(lseek(to, 0, SEEK_SET), 0);
	EQ(copy_file_range(from, NULL, to, NULL, 5000, 0), 1000);
	EQ(lseek(to, 0, SEEK_CUR), 1000);
	EQ(copy_file_range(from, NULL, to, NULL, 5000, 0), 0);
	EQ(pread(to, b, 1000, 0), 1000);
	EQ(memcmp(a + BIG - 1000, b, 1000), 0);
	/* within one file, not overlapping */
	in = 0;
	out = 1 << 20;
	EQ(copy_file_range(from, &in, from, &out, 4096, 0), 4096);
	EQ(pread(from, b, 4096, 1 << 20), 4096);
	EQ(memcmp(a, b, 4096), 0);
	in = 0;
	out = 10;
	ERR(EINVAL, copy_file_range(from, &in, from, &out, 4096, 0));
	ERR(EINVAL, copy_file_range(from, &in, to, &out, 1, 1));
	OK(close(to));
	to = (int)OK(open("b", O_RDONLY));
	ERR(EBADF, copy_file_range(from, NULL, to, NULL, 1, 0));
	OK(close(to));
	to = (int)OK(open("b", O_WRONLY | O_APPEND));
	ERR(EBADF, copy_file_range(from, NULL, to, NULL, 1, 0));
	OK(close(to));
	OK(close(from));
	free(a);
	free(b);
}

static void send_splice(void)
{
	unsigned char *a = big_buffer(7);
	unsigned char *b = big_buffer(8);
	off_t off = 100;
	int from = (int)MUST(open("a", O_RDWR | O_CREAT, 0644));
	int to = (int)MUST(open("b", O_RDWR | O_CREAT, 0644));
	int p[2];

	EQ(write(from, a, BIG), BIG);
	EQ(sendfile(to, from, &off, 50000), 50000);
	EQ(off, 50100);
	EQ(pread(to, b, 60000, 0), 50000);
	EQ(memcmp(a + 100, b, 50000), 0);
	MUST(pipe(p));
	off = 8192;
	EQ(splice(from, &off, p[1], NULL, 16384, 0), 16384);
	off = 0;
	EQ(splice(p[0], NULL, to, &off, 16384, 0), 16384);
	EQ(pread(to, b, 16384, 0), 16384);
	EQ(memcmp(a + 8192, b, 16384), 0);
	OK(close(from));
	OK(close(to));
	free(a);
	free(b);
}

/* Written by one process, read by another, without any sync. */
static void other_process(void)
{
	char c = 0;
	int fd;

	fd = (int)OK(open("f", O_RDWR));
	EQ(pread(fd, &c, 1, 2), 1);
	EQ(c, 'c');
	EQ(pwrite(fd, "Z", 1, 0), 1);
	OK(ftruncate(fd, 5));
	OK(close(fd));
}

static void two_processes(void)
{
	char c = 0;
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	EQ(write(fd, "abc", 3), 3);
	posix_fork(other_process);
	EQ(pread(fd, &c, 1, 0), 1);
	EQ(c, 'Z');
	EQ(posix_size("f"), 5);
	EQ(lseek(fd, 0, SEEK_END), 5);
	OK(close(fd));
}

const struct posix_case cases_data[] = {
	{ "data-big", write_read_big, 0 },
	{ "data-seek", seek_offsets, 0 },
	{ "data-far", far_offsets, 0 },
	{ "data-vectors", vectors, 0 },
	{ "data-direct", direct_io, 0 },
	{ "data-sync", sync_calls, 0 },
	{ "data-copy-range", copy_range, 0 },
	{ "data-sendfile-splice", send_splice, 0 },
	{ "data-two-processes", two_processes, 0 },
	{ NULL, NULL, 0 },
};
