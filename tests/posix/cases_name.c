/* SPDX-License-Identifier: BSD-2-Clause */
/* mkdir, rmdir, unlink, rename, mknod: names that come, go and move. */
#include "posix.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

static int rename2(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to,
			    flags);
}

static void mkdir_errors(void)
{
	posix_put("f", NULL, 0644);
	OK(symlink("nowhere", "l"));
	OK(mkdir("d", 0751));
	EQ(posix_mode("d"), S_IFDIR | 0751);
	EQ(posix_nlink("d"), 2);
	ERR(EEXIST, mkdir("d", 0755));
	ERR(EEXIST, mkdir("f", 0755));
	ERR(EEXIST, mkdir("l", 0755));
	ERR(EEXIST, mkdir(".", 0755));
	ERR(EEXIST, mkdir("..", 0755));
	ERR(ENOENT, mkdir("a/b", 0755));
	ERR(ENOTDIR, mkdir("f/b", 0755));
	ERR(ENOENT, mkdir("", 0755));
	OK(mkdir("slash/", 0755));
	OK(mkdir("d/sub", 01777));
	EQ(posix_mode("d/sub"), S_IFDIR | 01777);
	EQ(posix_nlink("d"), 3);
}

static void rmdir_errors(void)
{
	posix_mkdir("d", 0755);
	posix_mkdir("d/sub", 0755);
	posix_put("f", NULL, 0644);
	OK(symlink("d", "l"));
	ERR(ENOTEMPTY, rmdir("d"));
	ERR(ENOTDIR, rmdir("f"));
	ERR(ENOTDIR, rmdir("l"));
	ERR(EINVAL, rmdir("d/."));
	ERR(ENOTEMPTY, rmdir("d/.."));
	ERR(ENOENT, rmdir("missing"));
	ERR(ENOTDIR, rmdir("f/x"));
	OK(rmdir("d/sub"));
	EQ(posix_nlink("d"), 2);
	posix_put("d/.hidden", NULL, 0644);
	ERR(ENOTEMPTY, rmdir("d"));
	OK(unlink("d/.hidden"));
	OK(rmdir("d"));
	ERR(ENOENT, rmdir("d"));
	ERR(ENOENT, open("l", O_RDONLY));
}

static void rmdir_cwd(void)
{
	char buf[PATH_MAX];
	struct stat st;

	posix_mkdir("d", 0755);
	MUST(chdir("d"));
	OK(rmdir("../d"));
	TRUE(!getcwd(buf, sizeof(buf)) && errno == ENOENT);
	ERR(ENOENT, open("f", O_RDWR | O_CREAT, 0644));
	ERR(ENOENT, mkdir("s", 0755));
	ERR(ENOENT, open("f", O_RDONLY));
	OK(stat(".", &st));
	EQ(st.st_mode & S_IFMT, S_IFDIR);
	OK(close((int)OK(open(".", O_RDONLY | O_DIRECTORY))));
	OK(chdir(".."));
	ERR(ENOENT, chdir("d"));
}

static void unlink_errors(void)
{
	posix_put("f", NULL, 0644);
	posix_mkdir("d", 0755);
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0644));
	ERR(EISDIR, unlink("d"));
	ERR(ENOENT, unlink("missing"));
	ERR(ENOENT, unlink(""));
	ERR(ENOTDIR, unlink("f/x"));
	ERR(ENOTDIR, unlink("f/"));
	OK(unlink("l"));
	TRUE(posix_is_there("f"));
	OK(unlink("p"));
	OK(unlink("f"));
	ERR(ENOENT, unlink("f"));
	ERR(EINVAL, unlinkat(AT_FDCWD, "d", 0x4000));
	OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
}

static void rename_files(void)
{
	struct stat a;
	struct stat b;

	posix_put("a", "A", 0644);
	posix_put("b", "B", 0600);
	OK(stat("a", &a));
	OK(rename("a", "b"));
	OK(stat("b", &b));
	EQ(a.st_ino, b.st_ino);
	TRUE(posix_holds("b", "A"));
	TRUE(!posix_is_there("a"));
	ERR(ENOENT, rename("a", "b"));
	ERR(ENOENT, rename("b", "no/x"));
	ERR(ENOTDIR, rename("b", "b/x"));
	ERR(ENOENT, rename("", "x"));
	ERR(ENOENT, rename("b", ""));
	/* two names of one file: nothing happens */
	OK(link("b", "c"));
	OK(rename("b", "c"));
	TRUE(posix_is_there("b") && posix_is_there("c"));
	OK(rename("b", "b"));
	/* the link, not what it names */
	OK(symlink("c", "l"));
	OK(rename("l", "m"));
	EQ(posix_mode("m") & S_IFMT, S_IFLNK);
	TRUE(posix_is_there("c"));
}

static void rename_dirs(void)
{
	posix_mkdir("d", 0755);
	posix_mkdir("d/e", 0755);
	posix_mkdir("empty", 0755);
	posix_mkdir("full", 0755);
	posix_put("full/x", NULL, 0644);
	posix_put("f", NULL, 0644);
	ERR(EISDIR, rename("f", "d"));
	ERR(ENOTDIR, rename("d", "f"));
	ERR(ENOTEMPTY, rename("d", "full"));
	ERR(EINVAL, rename("d", "d/e/x"));
	ERR(EINVAL, rename("d", "d/x"));
	ERR(EBUSY, rename("d/.", "x"));
	ERR(EBUSY, rename("d", "full/.."));
	ERR(ENOTDIR, rename("f", "g/"));
	OK(rename("d", "empty"));
	TRUE(posix_is_there("empty/e") && !posix_is_there("d"));
	/* to another directory: link counts of both, and ".." */
	EQ(posix_nlink("full"), 2);
	EQ(posix_nlink("."), 4);
	OK(rename("empty", "full/moved"));
	EQ(posix_nlink("full"), 3);
	EQ(posix_nlink("."), 3);
	TRUE(posix_is_there("full/moved/../x"));
}

static void rename_open(void)
{
	char c = 0;
	struct stat st;
	int fd;

	posix_put("a", "A", 0644);
	posix_put("b", "B", 0644);
	fd = (int)OK(open("b", O_RDWR));
	OK(rename("a", "b"));
	EQ(pread(fd, &c, 1, 0), 1);
	EQ(c, 'B');
	OK(fstat(fd, &st));
	EQ(st.st_nlink, 0);
	EQ(pwrite(fd, "Z", 1, 0), 1);
	TRUE(posix_holds("b", "A"));
	OK(close(fd));
	fd = (int)OK(open("b", O_RDWR));
	OK(rename("b", "c"));
	EQ(pwrite(fd, "Y", 1, 0), 1);
	TRUE(posix_holds("c", "Y"));
	OK(close(fd));
}

static void rename_noreplace(void)
{
	posix_put("a", "A", 0644);
	posix_put("b", "B", 0644);
	if (rename2("a", "n", NOREPLACE) && errno == EINVAL)
		posix_skip("no RENAME_NOREPLACE");
	OK(rename2("n", "a", NOREPLACE));
	ERR(EEXIST, rename2("a", "b", NOREPLACE));
	ERR(EEXIST, rename2("a", "a", NOREPLACE));
	ERR(ENOENT, rename2("x", "y", NOREPLACE));
	TRUE(posix_holds("a", "A") && posix_holds("b", "B"));
	ERR(EINVAL, rename2("a", "b", NOREPLACE | EXCHANGE));
	ERR(EINVAL, rename2("a", "b", 1u << 20));
}

static void rename_exchange(void)
{
	posix_put("a", "A", 0644);
	posix_mkdir("d", 0755);
	posix_mkdir("d/x", 0755);
	if (rename2("a", "d", EXCHANGE) && errno == EINVAL)
		posix_skip("no RENAME_EXCHANGE");
	TRUE(posix_holds("d", "A"));
	TRUE(posix_is_there("a/x"));
	ERR(ENOENT, rename2("a", "none", EXCHANGE));
	ERR(ENOENT, rename2("none", "a", EXCHANGE));
	ERR(EINVAL, rename2("a", "a/x", EXCHANGE));
	posix_put("b", "B", 0600);
	OK(rename2("d", "b", EXCHANGE));
	TRUE(posix_holds("b", "A") && posix_holds("d", "B"));
	EQ(posix_mode("d"), S_IFREG | 0600);
}

static void rename_whiteout(void)
{
	struct stat st;

	posix_put("a", "A", 0644);
	if (rename2("a", "b", WHITEOUT) && (errno == EINVAL || errno == EPERM))
		posix_skip("no RENAME_WHITEOUT");
	TRUE(posix_holds("b", "A"));
	OK(lstat("a", &st));
	EQ(st.st_mode & S_IFMT, S_IFCHR);
	EQ(st.st_rdev, makedev(0, 0));
	ERR(EINVAL, rename2("a", "b", WHITEOUT | EXCHANGE));
}

static void rename_while_open_dir(void)
{
	int dir;

	posix_mkdir("d", 0755);
	dir = (int)OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(rename("d", "e"));
	OK(close((int)OK(openat(dir, "f", O_RDWR | O_CREAT, 0644))));
	TRUE(posix_is_there("e/f"));
	TRUE(!posix_is_there("d"));
	OK(unlinkat(dir, "f", 0));
	OK(rmdir("e"));
	ERR(ENOENT, openat(dir, "g", O_RDWR | O_CREAT, 0644));
	OK(close(dir));
}

static void mknod_kinds(void)
{
	struct stat st;

	OK(mknod("r", S_IFREG | 0640, 0));
	EQ(posix_mode("r"), S_IFREG | 0640);
	OK(mknod("p", S_IFIFO | 0600, 0));
	EQ(posix_mode("p"), S_IFIFO | 0600);
	OK(mknod("s", S_IFSOCK | 0600, 0));
	EQ(posix_mode("s"), S_IFSOCK | 0600);
	ERR(EEXIST, mknod("r", S_IFREG | 0644, 0));
	ERR(ENOENT, mknod("no/r", S_IFREG | 0644, 0));
	ERR(EPERM, mknod("d", S_IFDIR | 0755, 0));
	if (geteuid())
		return;
	/* numbers beyond eight bits as well */
	OK(mknod("c", S_IFCHR | 0600, makedev(10, 70000)));
	OK(stat("c", &st));
	EQ(st.st_mode, S_IFCHR | 0600);
	EQ(st.st_rdev, makedev(10, 70000));
	OK(mknod("b", S_IFBLK | 0600, makedev(300, 1)));
	OK(stat("b", &st));
	EQ(st.st_rdev, makedev(300, 1));
}

static void mknod_user(void)
{
	ERR(EPERM, mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	OK(mknod("p", S_IFIFO | 0600, 0));
	OK(mknod("r", S_IFREG | 0600, 0));
}

static void mknod_as_user(void)
{
	struct stat st;

	posix_as(USER_A, GROUP_A, mknod_user);
	OK(stat("p", &st));
	EQ(st.st_uid, USER_A);
	EQ(st.st_gid, GROUP_A);
}

static void deep_tree(void)
{
	enum { DEPTH = 120 };
	int i;

	for (i = 0; i < DEPTH; i++) {
		OK(mkdir("d", 0755));
		MUST(chdir("d"));
	}
	posix_put("bottom", "x", 0644);
	TRUE(posix_holds("../d/bottom", "x"));
	OK(unlink("bottom"));
	for (i = 0; i < DEPTH; i++) {
		MUST(chdir(".."));
		OK(rmdir("d"));
	}
}

/* Names that are looked up before they are there. */
static void negative_names(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		ERR(ENOENT, access("n", F_OK));
		posix_put("n", "1", 0644);
		OK(access("n", F_OK));
		OK(unlink("n"));
		ERR(ENOENT, access("n", F_OK));
		OK(mkdir("n", 0755));
		OK(access("n/.", F_OK));
		OK(rmdir("n"));
		ERR(ENOENT, access("n", F_OK));
		OK(symlink("x", "n"));
		OK(rename("n", "m"));
		ERR(ENOENT, readlink("n", (char[1]){ 0 }, 1));
		OK(unlink("m"));
	}
}

const struct posix_case cases_name[] = {
	{ "mkdir-errors", mkdir_errors, 0 },
	{ "rmdir-errors", rmdir_errors, 0 },
	{ "rmdir-cwd", rmdir_cwd, 0 },
	{ "unlink-errors", unlink_errors, 0 },
	{ "rename-files", rename_files, 0 },
	{ "rename-dirs", rename_dirs, 0 },
	{ "rename-open", rename_open, 0 },
	{ "rename-noreplace", rename_noreplace, 0 },
	{ "rename-exchange", rename_exchange, 0 },
	{ "rename-whiteout", rename_whiteout, NEEDS_ROOT },
	{ "rename-open-dir", rename_while_open_dir, 0 },
	{ "mknod-kinds", mknod_kinds, 0 },
	{ "mknod-user", mknod_as_user, NEEDS_ROOT },
	{ "name-deep-tree", deep_tree, 0 },
	{ "name-negative", negative_names, 0 },
	{ NULL, NULL, 0 },
};
