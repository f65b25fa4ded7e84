/* SPDX-License-Identifier: BSD-2-Clause */
/* fallocate(2) by mode, holes, SEEK_HOLE and SEEK_DATA. */
#include "posix.h"

#include <linux/falloc.h>
#include <string.h>

#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

/* A file of @blocks times 64 KiB of 'x', or the case is skipped. */
static int make(const char *name, unsigned blocks)
{
	static char buf[65536];
	int fd = (int)MUST(open(name, O_RDWR | O_CREAT, 0644));
	unsigned i;

	if (fallocate(fd, 0, 0, 4096) && errno == EOPNOTSUPP)
		posix_skip("no fallocate");
	OK(ftruncate(fd, 0));
	memset(buf, 'x', sizeof(buf));
	for (i = 0; i < blocks; i++)
		EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	return fd;
}

static bool is_all(int fd, off_t off, size_t len, char want)
{
	static char buf[1 << 20];
	size_t i;

	if (pread(fd, buf, len, off) != (ssize_t)len)
		return false;
	for (i = 0; i < len; i++) {
		if (buf[i] != want)
			return false;
	}
	return true;
}

static void allocate(void)
{
	struct stat st;
	int fd = make("f", 1);

	OK(fallocate(fd, 0, 0, 200000));
	OK(fstat(fd, &st));
	EQ(st.st_size, 200000);
	TRUE(st.st_blocks * 512 >= 200000);
	TRUE(is_all(fd, 0, 65536, 'x'));
	TRUE(is_all(fd, 65536, 200000 - 65536, 0));
	OK(fallocate(fd, KEEP, 200000, 200000));
	OK(fstat(fd, &st));
	EQ(st.st_size, 200000);
	OK(posix_fallocate(fd, 0, 300000) ? -1 : 0);
	EQ(posix_size("f"), 300000);
	OK(close(fd));
}

static void allocate_errors(void)
{
	int fd = make("f", 1);
	int ro;

	ERR(EINVAL, fallocate(fd, 0, 0, 0));
	ERR(EINVAL, fallocate(fd, 0, -1, 1));
	ERR(EINVAL, fallocate(fd, 0, 0, -1));
	ERR(EFBIG, fallocate(fd, 0, INT64_MAX - 10, 4096));
	ERR(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	ERR(EOPNOTSUPP, fallocate(fd, 0x4000, 0, 4096));
	ro = (int)OK(open("f", O_RDONLY));
	ERR(EBADF, fallocate(ro, 0, 0, 4096));
	OK(close(ro));
	ro = (int)OK(open(".", O_RDONLY));
	ERR(EBADF, fallocate(ro, 0, 0, 4096));
	OK(close(ro));
	EQ(posix_size("f"), 65536);
	OK(close(fd));
}

static void punch(void)
{
	struct stat a;
	struct stat b;
	int fd = make("f", 8);

	OK(fsync(fd));
	OK(fstat(fd, &a));
	if (fallocate(fd, PUNCH, 65536, 131072) && errno == EOPNOTSUPP)
		posix_skip("no holes");
	OK(fstat(fd, &b));
	EQ(b.st_size, a.st_size);
	TRUE(b.st_blocks <= a.st_blocks - 131072 / 512);
	TRUE(is_all(fd, 0, 65536, 'x'));
	TRUE(is_all(fd, 65536, 131072, 0));
	TRUE(is_all(fd, 196608, 327680, 'x'));
	/* not on boundaries: zeros all the same */
	OK(fallocate(fd, PUNCH, 300001, 5000));
	TRUE(is_all(fd, 300001, 5000, 0));
	TRUE(is_all(fd, 299000, 1001, 'x'));
	TRUE(is_all(fd, 305001, 1000, 'x'));
	/* beyond the end: nothing */
	OK(fallocate(fd, PUNCH, 1 << 20, 4096));
	EQ(posix_size("f"), 524288);
	OK(close(fd));
}

static void zero_range(void)
{
	int fd = make("f", 4);

	if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 1000, 100000) &&
	    errno == EOPNOTSUPP)
		posix_skip("no FALLOC_FL_ZERO_RANGE");
	TRUE(is_all(fd, 0, 1000, 'x'));
	TRUE(is_all(fd, 1000, 100000, 0));
	TRUE(is_all(fd, 101000, 1000, 'x'));
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | KEEP, 262144, 4096));
	EQ(posix_size("f"), 262144);
	OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 262144, 4096));
	EQ(posix_size("f"), 266240);
	OK(close(fd));
}

static void collapse_insert(void)
{
	int fd = make("f", 4);

	if (posix_without("collapse"))
		posix_skip("not here");
	OK(pwrite(fd, "y", 1, 131072));
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 65536, 65536) &&
	    (errno == EOPNOTSUPP || errno == EINVAL))
		posix_skip("no FALLOC_FL_COLLAPSE_RANGE");
	EQ(posix_size("f"), 196608);
	TRUE(is_all(fd, 65536, 1, 'y'));
	OK(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 65536));
	EQ(posix_size("f"), 262144);
	TRUE(is_all(fd, 0, 65536, 0));
	TRUE(is_all(fd, 131072, 1, 'y'));
	OK(close(fd));
}

static void seek_hole_data(void)
{
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	OK(ftruncate(fd, 1 << 20));
	EQ(pwrite(fd, "data", 4, 524288), 4);
	OK(fsync(fd));
	if (lseek(fd, 0, SEEK_DATA) == 0)
		posix_skip("no SEEK_DATA");
	TRUE(lseek(fd, 0, SEEK_DATA) <= 524288);
	TRUE(lseek(fd, 0, SEEK_DATA) > 524288 - (1 << 17));
	EQ(lseek(fd, 524289, SEEK_DATA), 524289);
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	TRUE(lseek(fd, 524288, SEEK_HOLE) > 524288);
	ERR(ENXIO, lseek(fd, (1 << 20) - 1, SEEK_DATA));
	EQ(lseek(fd, (1 << 20) - 1, SEEK_HOLE), (1 << 20) - 1);
	ERR(ENXIO, lseek(fd, 1 << 20, SEEK_DATA));
	ERR(ENXIO, lseek(fd, 1 << 20, SEEK_HOLE));
	ERR(ENXIO, lseek(fd, -1, SEEK_DATA));
	OK(close(fd));
	/* without a hole the end is one */
	fd = make("g", 1);
	EQ(lseek(fd, 0, SEEK_HOLE), 65536);
	EQ(lseek(fd, 100, SEEK_DATA), 100);
	EQ(lseek(fd, 0, SEEK_CUR), 100);
	OK(close(fd));
}

/* What truncation cut off must not come back. */
static void truncate_zeroes(void)
{
	int fd = make("f", 2);
	unsigned i;

	for (i = 1; i < 5000; i += 997) {
		OK(ftruncate(fd, 65536 + i));
		OK(ftruncate(fd, 131072));
		TRUE(is_all(fd, 65536 + i, 65536 - i, 0));
		TRUE(is_all(fd, 0, 65536, 'x'));
		EQ(pwrite(fd, "xxxxxxxx", 8, 70000), 8);
	}
	OK(close(fd));
}

static void sparse_write(void)
{
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	int i;

	for (i = 0; i < 64; i++)
		EQ(pwrite(fd, "q", 1, (off_t)i * 100003), 1);
	for (i = 0; i < 64; i++) {
		TRUE(is_all(fd, (off_t)i * 100003, 1, 'q'));
		if (i)
			TRUE(is_all(fd, (off_t)i * 100003 - 50000, 50000, 0));
	}
	EQ(posix_size("f"), 63LL * 100003 + 1);
	OK(close(fd));
}

const struct posix_case cases_space[] = {
	{ "space-allocate", allocate, 0 },
	{ "space-errors", allocate_errors, 0 },
	{ "space-punch", punch, 0 },
	{ "space-zero", zero_range, 0 },
	{ "space-collapse-insert", collapse_insert, 0 },
	{ "space-seek-hole", seek_hole_data, 0 },
	{ "space-truncate-zeroes", truncate_zeroes, 0 },
	{ "space-sparse", sparse_write, 0 },
	{ NULL, NULL, 0 },
};
