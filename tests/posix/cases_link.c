/* SPDX-License-Identifier: BSD-2-Clause */
/* Hard and symbolic links. */
#include "posix.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void link_counts(void)
{
	struct stat a;
	struct stat b;
	int fd;

	posix_put("a", "x", 0644);
	fd = (int)OK(open("a", O_RDWR));
	OK(link("a", "b"));
	OK(link("b", "c"));
	OK(stat("a", &a));
	OK(stat("c", &b));
	EQ(a.st_ino, b.st_ino);
	EQ(a.st_nlink, 3);
	EQ(b.st_nlink, 3);
	OK(unlink("a"));
	EQ(posix_nlink("b"), 2);
	OK(fstat(fd, &a));
	EQ(a.st_nlink, 2);
	OK(unlink("b"));
	EQ(posix_nlink("c"), 1);
	EQ(pwrite(fd, "yz", 2, 0), 2);
	TRUE(posix_holds("c", "yz"));
	OK(rename("c", "d"));
	EQ(posix_nlink("d"), 1);
	OK(unlink("d"));
	OK(fstat(fd, &a));
	EQ(a.st_nlink, 0);
	OK(close(fd));
}

static void link_errors(void)
{
	posix_put("f", NULL, 0644);
	posix_put("g", NULL, 0644);
	posix_mkdir("d", 0755);
	ERR(EEXIST, link("f", "g"));
	ERR(EEXIST, link("f", "f"));
	ERR(EEXIST, link("f", "d"));
	ERR(ENOENT, link("missing", "h"));
	ERR(ENOENT, link("f", "no/h"));
	ERR(ENOTDIR, link("f", "g/h"));
	ERR(EPERM, link("d", "h"));
	ERR(ENOENT, link("", "h"));
	/* the symbolic link itself, unless told to follow */
	OK(symlink("f", "l"));
	OK(link("l", "l2"));
	EQ(posix_mode("l2") & S_IFMT, S_IFLNK);
	OK(linkat(AT_FDCWD, "l", AT_FDCWD, "f2", AT_SYMLINK_FOLLOW));
	EQ(posix_mode("f2") & S_IFMT, S_IFREG);
	EQ(posix_nlink("f"), 2);
	ERR(EINVAL, linkat(AT_FDCWD, "f", AT_FDCWD, "x", 0x10));
}

static void link_special(void)
{
	OK(mkfifo("p", 0600));
	OK(link("p", "q"));
	EQ(posix_nlink("p"), 2);
	EQ(posix_mode("q"), S_IFIFO | 0600);
	OK(unlink("p"));
	EQ(posix_nlink("q"), 1);
}

static void symlink_basics(void)
{
	char buf[PATH_MAX + 1];
	char target[1001];
	struct stat st;

	OK(symlink("target/of it", "l"));
	EQ(readlink("l", buf, sizeof(buf)), 12);
	EQ(memcmp(buf, "target/of it", 12), 0);
	/* cut, not an error */
	EQ(readlink("l", buf, 3), 3);
	ERR(EINVAL, readlink("l", buf, 0));
	OK(lstat("l", &st));
	EQ(st.st_mode, S_IFLNK | 0777);
	EQ(st.st_size, 12);
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	OK(symlink(target, "long"));
	EQ(readlink("long", buf, sizeof(buf)), sizeof(target) - 1);
	EQ(memcmp(buf, target, sizeof(target) - 1), 0);
	ERR(EEXIST, symlink("x", "l"));
	ERR(ENOENT, symlink("", "e"));
	ERR(ENOENT, symlink("x", "no/l"));
	posix_put("f", NULL, 0644);
	ERR(EINVAL, readlink("f", buf, sizeof(buf)));
	ERR(EINVAL, readlink(".", buf, sizeof(buf)));
	ERR(ENOENT, readlink("missing", buf, sizeof(buf)));
	ERR(ENOTDIR, symlink("x", "f/l"));
}

static void symlink_walk(void)
{
	struct stat st;

	posix_mkdir("d", 0755);
	posix_put("d/f", "deep", 0644);
	OK(symlink("d", "ld"));
	OK(symlink("ld/f", "lf"));
	OK(symlink("../lf", "d/back"));
	TRUE(posix_holds("lf", "deep"));
	TRUE(posix_holds("d/back", "deep"));
	TRUE(posix_holds("ld/back", "deep"));
	OK(stat("lf", &st));
	EQ(st.st_size, 4);
	OK(unlink("d/f"));
	ERR(ENOENT, stat("lf", &st));
	OK(lstat("lf", &st));
	OK(mkdir("ld/new", 0755));
	TRUE(posix_is_there("d/new"));
	OK(rmdir("ld/new/"));
}

static void symlink_loops(void)
{
	struct stat st;

	OK(symlink("a", "b"));
	OK(symlink("b", "a"));
	OK(symlink("self", "self"));
	ERR(ELOOP, open("a", O_RDONLY));
	ERR(ELOOP, open("self", O_RDWR | O_CREAT, 0644));
	ERR(ELOOP, stat("a", &st));
	ERR(ELOOP, stat("a/x", &st));
	ERR(ELOOP, mkdir("self/x", 0755));
	ERR(ELOOP, chmod("a", 0600));
	ERR(ELOOP, truncate("self", 0));
	OK(lstat("a", &st));
	OK(unlink("a"));
	ERR(ENOENT, open("b", O_RDONLY));
}

static void symlink_forty(void)
{
	char from[16];
	char to[16];
	int i;

	posix_put("l0", "end", 0644);
	for (i = 1; i <= 41; i++) {
		snprintf(from, sizeof(from), "l%d", i);
		snprintf(to, sizeof(to), "l%d", i - 1);
		OK(symlink(to, from));
	}
	TRUE(posix_holds("l40", "end"));
	ERR(ELOOP, open("l41", O_RDONLY));
}

static void symlink_owner(void)
{
	struct stat st;

	posix_put("f", NULL, 0644);
	OK(symlink("f", "l"));
	OK(lchown("l", USER_A, GROUP_A));
	OK(lstat("l", &st));
	EQ(st.st_uid, USER_A);
	EQ(st.st_gid, GROUP_A);
	OK(stat("l", &st));
	EQ(st.st_uid, 0);
	OK(chown("l", USER_B, GROUP_B));
	OK(stat("f", &st));
	EQ(st.st_uid, USER_B);
	EQ(st.st_gid, GROUP_B);
}

static void symlink_times(void)
{
	const struct timespec ts[2] = { { 1000, 5 }, { 2000, 7 } };
	struct stat st;

	posix_put("f", NULL, 0644);
	OK(symlink("f", "l"));
	OK(utimensat(AT_FDCWD, "l", ts, AT_SYMLINK_NOFOLLOW));
	OK(lstat("l", &st));
	EQ(st.st_mtim.tv_sec, 2000);
	EQ(st.st_mtim.tv_nsec, 7);
	OK(stat("f", &st));
	TRUE(st.st_mtim.tv_sec > 100000);
}

const struct posix_case cases_link[] = {
	{ "link-counts", link_counts, 0 },
	{ "link-errors", link_errors, 0 },
	{ "link-special", link_special, 0 },
	{ "symlink-basics", symlink_basics, 0 },
	{ "symlink-walk", symlink_walk, 0 },
	{ "symlink-loops", symlink_loops, 0 },
	{ "symlink-forty", symlink_forty, 0 },
	{ "symlink-owner", symlink_owner, NEEDS_ROOT },
	{ "symlink-times", symlink_times, 0 },
	{ NULL, NULL, 0 },
};
