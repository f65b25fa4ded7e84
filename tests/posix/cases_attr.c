/* SPDX-License-Identifier: BSD-2-Clause */
/* chmod, chown, utimensat, truncate, stat, statfs, and what changes times. */
#include "posix.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>

static void chmod_bits(void)
{
	int fd;
	mode_t m;

	posix_put("f", NULL, 0600);
	posix_mkdir("d", 0700);
	for (m = 0; m <= 07777; m += 0111) {
		OK(chmod("f", m));
		EQ(posix_mode("f"), S_IFREG | m);
		OK(chmod("d", m | 0700));
		EQ(posix_mode("d"), S_IFDIR | m | 0700);
	}
	fd = (int)OK(open("f", O_RDONLY));
	OK(fchmod(fd, 0642));
	EQ(posix_mode("f"), S_IFREG | 0642);
	OK(close(fd));
	OK(symlink("f", "l"));
	OK(chmod("l", 0604));
	EQ(posix_mode("f"), S_IFREG | 0604);
	ERR(ENOENT, chmod("missing", 0600));
	ERR(ENOTDIR, chmod("f/x", 0600));
	OK(fchmodat(AT_FDCWD, "d", 0711, 0));
	EQ(posix_mode("d"), S_IFDIR | 0711);
}

static void chown_ids(void)
{
	struct stat st;
	int fd;

	posix_put("f", NULL, 0644);
	OK(chown("f", USER_A, GROUP_A));
	OK(stat("f", &st));
	EQ(st.st_uid, USER_A);
	EQ(st.st_gid, GROUP_A);
	OK(chown("f", (uid_t)-1, GROUP_B));
	OK(stat("f", &st));
	EQ(st.st_uid, USER_A);
	EQ(st.st_gid, GROUP_B);
	fd = (int)OK(open("f", O_RDONLY));
	OK(fchown(fd, USER_B, (gid_t)-1));
	OK(fstat(fd, &st));
	EQ(st.st_uid, USER_B);
	EQ(st.st_gid, GROUP_B);
	OK(fchown(fd, 70000, 2147483000));
	OK(stat("f", &st));
	EQ(st.st_uid, 70000);
	EQ(st.st_gid, 2147483000);
	OK(close(fd));
	ERR(ENOENT, chown("missing", 0, 0));
}

static void chown_clears_suid(void)
{
	posix_put("f", NULL, 06755);
	OK(chown("f", USER_A, GROUP_A));
	EQ(posix_mode("f"), S_IFREG | 0755);
	/* without group execution set-gid means nothing, and stays */
	OK(chmod("f", 02644));
	OK(chown("f", USER_B, GROUP_A));
	EQ(posix_mode("f") & 0777, 0644);
	/* directories keep theirs */
	posix_mkdir("d", 02755);
	OK(chown("d", USER_A, GROUP_A));
	EQ(posix_mode("d"), S_IFDIR | 02755);
}

static void utimens_exact(void)
{
	const struct timespec ts[2] = { { 123456789, 987654321 },
					{ 1234567890, 1 } };
	const struct timespec old[2] = { { -1000, 0 }, { -2, 999999999 } };
	struct stat before;
	struct stat st;

	posix_put("f", "x", 0644);
	OK(stat("f", &before));
	OK(utimensat(AT_FDCWD, "f", ts, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, 123456789);
	EQ(st.st_atim.tv_nsec, 987654321);
	EQ(st.st_mtim.tv_sec, 1234567890);
	EQ(st.st_mtim.tv_nsec, 1);
	TRUE(st.st_ctim.tv_sec >= before.st_ctim.tv_sec);
	OK(utimensat(AT_FDCWD, "f", old, 0));
	OK(stat("f", &st));
	EQ(st.st_atim.tv_sec, -1000);
	EQ(st.st_mtim.tv_sec, -2);
	EQ(st.st_mtim.tv_nsec, 999999999);
}

static void utimens_parts(void)
{
	struct timespec ts[2] = { { 1000, 1 }, { 2000, 2 } };
	struct stat st;
	int fd;

	posix_put("f", "x", 0644);
	fd = (int)OK(open("f", O_RDONLY));
	OK(futimens(fd, ts));
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_sec = 3000;
	OK(futimens(fd, ts));
	OK(fstat(fd, &st));
	EQ(st.st_atim.tv_sec, 1000);
	EQ(st.st_mtim.tv_sec, 3000);
	ts[0].tv_nsec = UTIME_NOW;
	ts[1].tv_nsec = UTIME_OMIT;
	OK(futimens(fd, ts));
	OK(fstat(fd, &st));
	TRUE(st.st_atim.tv_sec > 100000);
	EQ(st.st_mtim.tv_sec, 3000);
	OK(futimens(fd, NULL));
	OK(fstat(fd, &st));
	TRUE(st.st_mtim.tv_sec > 100000);
	ts[0].tv_nsec = 1000000000;
	ERR(EINVAL, futimens(fd, ts));
	ERR(ENOENT, utimensat(AT_FDCWD, "missing", NULL, 0));
	OK(close(fd));
}

static void truncate_sizes(void)
{
	char buf[8];
	int fd;

	posix_put("f", "abcdef", 0644);
	posix_mkdir("d", 0755);
	OK(truncate("f", 3));
	TRUE(posix_holds("f", "abc"));
	OK(truncate("f", 6));
	fd = (int)OK(open("f", O_RDWR));
	EQ(read(fd, buf, 8), 6);
	EQ(memcmp(buf, "abc\0\0\0", 6), 0);
	OK(ftruncate(fd, 100000));
	EQ(posix_size("f"), 100000);
	EQ(pread(fd, buf, 8, 99995), 5);
	EQ(memcmp(buf, "\0\0\0\0\0", 5), 0);
	OK(ftruncate(fd, 0));
	EQ(posix_size("f"), 0);
	EQ(pread(fd, buf, 8, 0), 0);
	ERR(EINVAL, ftruncate(fd, -1));
	OK(close(fd));
	ERR(EINVAL, truncate("f", -1));
	ERR(EISDIR, truncate("d", 0));
	ERR(ENOENT, truncate("missing", 0));
	ERR(ENOTDIR, truncate("f/x", 0));
	fd = (int)OK(open("d", O_RDONLY));
	ERR(EINVAL, ftruncate(fd, 0));
	OK(close(fd));
	OK(mkfifo("p", 0600));
	ERR(EINVAL, truncate("p", 0));
}

static void truncate_limit(void)
{
	const struct rlimit rl = { 4096, 4096 };
	int fd;

	posix_put("f", NULL, 0644);
	MUST(setrlimit(RLIMIT_FSIZE, &rl));
	ERR(EFBIG, truncate("f", 4097));
	OK(truncate("f", 4096));
	fd = (int)OK(open("f", O_RDWR));
	EQ(pwrite(fd, "ab", 2, 4095), 1);
	ERR(EFBIG, pwrite(fd, "ab", 2, 4096));
	EQ(posix_size("f"), 4096);
	OK(close(fd));
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec ||
	       (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* Until the file system's clock, which ticks, has moved on. */
static void tick(void)
{
	const struct timespec ts = { 0, 20000000 };

	nanosleep(&ts, NULL);
}

/* Times of @name before; run the statement; what must have moved. */
#define MOVES(name, m, c, statement)                                      \
	do {                                                              \
		struct stat b_, a_;                                       \
		MUST(lstat(name, &b_));                                   \
		tick();                                                   \
		statement;                                                \
		MUST(lstat(name, &a_));                                   \
		EQ(is_later(&a_.st_mtim, &b_.st_mtim), m);                \
		EQ(is_later(&a_.st_ctim, &b_.st_ctim), c);                \
	} while (0)

static void times_of_dir(void)
{
	posix_mkdir("d", 0755);
	posix_put("d/f", "x", 0644);
	MOVES("d", 1, 1, posix_put("d/new", NULL, 0644));
	MOVES("d", 1, 1, OK(mkdir("d/sub", 0755)));
	MOVES("d", 1, 1, OK(rmdir("d/sub")));
	MOVES("d", 1, 1, OK(unlink("d/new")));
	MOVES("d", 1, 1, OK(link("d/f", "d/l")));
	MOVES("d", 1, 1, OK(rename("d/l", "d/m")));
	MOVES("d", 1, 1, OK(symlink("x", "d/s")));
	MOVES("d", 1, 1, OK(mkfifo("d/p", 0600)));
	MOVES("d", 0, 1, OK(chmod("d", 0700)));
	MOVES("d", 0, 0, OK(chmod("d/f", 0600)));
	MOVES("d", 0, 0, posix_put("d/f", "y", 0644));
}

static void times_of_file(void)
{
	int fd;

	posix_put("f", "abc", 0644);
	fd = (int)OK(open("f", O_RDWR));
	MOVES("f", 1, 1, EQ(pwrite(fd, "x", 1, 0), 1));
	MOVES("f", 1, 1, OK(ftruncate(fd, 2)));
	MOVES("f", 1, 1, OK(truncate("f", 5)));
	MOVES("f", 0, 1, OK(fchmod(fd, 0600)));
	MOVES("f", 0, 1, OK(link("f", "g")));
	MOVES("f", 0, 1, OK(unlink("g")));
	MOVES("f", 0, 1, OK(rename("f", "h")); OK(rename("h", "f")));
	MOVES("f", 1, 1, OK(close((int)OK(open("f", O_WRONLY | O_TRUNC)))));
	MOVES("f", 0, 0, OK(access("f", R_OK)));
	/* nothing written, nothing moved */
	MOVES("f", 0, 0, EQ(write(fd, "", 0), 0));
	MOVES("f", 0, 0, OK(close((int)OK(open("f", O_RDWR)))));
	OK(close(fd));
}

static void times_across_close(void)
{
	struct stat a;
	struct stat b;
	int fd;

	posix_put("f", NULL, 0644);
	fd = (int)OK(open("f", O_RDWR));
	EQ(write(fd, "abc", 3), 3);
	OK(fstat(fd, &a));
	OK(fsync(fd));
	tick();
	OK(close(fd));
	OK(stat("f", &b));
	EQ(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
	EQ(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
}

static void stat_fields(void)
{
	struct statx stx;
	struct stat st;
	char buf[10000];
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));

	memset(buf, 'x', sizeof(buf));
	EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
	OK(fsync(fd));
	OK(fstat(fd, &st));
	EQ(st.st_size, sizeof(buf));
	TRUE(st.st_blocks >= 20);
	TRUE(st.st_blksize >= 512);
	TRUE(st.st_ino != 0);
	EQ(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx),
	   0);
	EQ(stx.stx_ino, st.st_ino);
	EQ(stx.stx_size, st.st_size);
	EQ(stx.stx_blocks, st.st_blocks);
	EQ(stx.stx_nlink, 1);
	EQ(makedev(stx.stx_dev_major, stx.stx_dev_minor), st.st_dev);
	ERR(ENOENT, stat("missing", &st));
	ERR(ENOTDIR, stat("f/x", &st));
	ERR(ENOTDIR, stat("f/", &st));
	OK(close(fd));
}

static void statfs_sane(void)
{
	struct statvfs a;
	struct statvfs b;

	OK(statvfs(".", &a));
	TRUE(a.f_blocks > 0 && a.f_bavail <= a.f_blocks);
	TRUE(a.f_bsize >= 512 && a.f_frsize >= 512);
	EQ(a.f_namemax, NAME_MAX);
	posix_put("f", NULL, 0644);
	OK(statvfs("f", &b));
	EQ(a.f_blocks, b.f_blocks);
	EQ(a.f_frsize, b.f_frsize);
	ERR(ENOENT, statvfs("missing", &b));
}

const struct posix_case cases_attr[] = {
	{ "chmod-bits", chmod_bits, NEEDS_ROOT },
	{ "chown-ids", chown_ids, NEEDS_ROOT },
	{ "chown-clears-suid", chown_clears_suid, NEEDS_ROOT },
	{ "utimens-exact", utimens_exact, 0 },
	{ "utimens-parts", utimens_parts, 0 },
	{ "truncate-sizes", truncate_sizes, 0 },
	{ "truncate-limit", truncate_limit, 0 },
	{ "times-of-dir", times_of_dir, 0 },
	{ "times-of-file", times_of_file, 0 },
	{ "times-across-close", times_across_close, 0 },
	{ "stat-fields", stat_fields, 0 },
	{ "statfs-sane", statfs_sane, 0 },
	{ NULL, NULL, 0 },
};
