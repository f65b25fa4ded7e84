/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may do what: modes, owners, groups, sticky bit, set-uid and set-gid. */
#include "posix.h"

#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <grp.h>

static void a_files(void)
{
	/* f600 is the other user's, f644 too, f666 too */
	ERR(EACCES, open("f600", O_RDONLY));
	ERR(EACCES, open("f600", O_WRONLY));
	ERR(EACCES, open("f644", O_WRONLY));
	ERR(EACCES, open("f644", O_RDWR));
	ERR(EACCES, open("f644", O_RDONLY | O_TRUNC));
	OK(close((int)OK(open("f644", O_RDONLY))));
	OK(close((int)OK(open("f666", O_RDWR))));
	ERR(EACCES, truncate("f644", 0));
	OK(truncate("f666", 0));
	ERR(EPERM, chmod("f666", 0600));
	ERR(EPERM, chown("f666", USER_A, (gid_t)-1));
	ERR(EPERM, chown("f666", (uid_t)-1, GROUP_A));
	OK(utimensat(AT_FDCWD, "f666", NULL, 0));
	ERR(EACCES, utimensat(AT_FDCWD, "f644", NULL, 0));
	ERR(EPERM, utimensat(AT_FDCWD, "f666",
			     (const struct timespec[2]){ { 1, 1 }, { 1, 1 } },
			     0));
	ERR(EACCES, access("f600", R_OK));
	ERR(EACCES, access("f644", W_OK));
	OK(access("f644", R_OK));
	ERR(EACCES, access("f666", X_OK));
	OK(access("f600", F_OK));
}

static void perm_files(void)
{
	static const mode_t modes[] = { 0600, 0644, 0666 };
	char name[8];
	size_t i;

	for (i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "f%o", modes[i]);
		posix_put(name, "text", modes[i]);
		MUST(chown(name, USER_B, GROUP_B));
	}
	posix_as(USER_A, GROUP_A, a_files);
	EQ(posix_size("f644"), 4);
	EQ(posix_size("f600"), 4);
}

static void a_dirs(void)
{
	struct stat st;

	/* may look, not change */
	OK(stat("d755/f", &st));
	ERR(EACCES, unlink("d755/f"));
	ERR(EACCES, open("d755/new", O_RDWR | O_CREAT, 0644));
	ERR(EACCES, mkdir("d755/new", 0755));
	ERR(EACCES, rename("d755/f", "d755/g"));
	ERR(EACCES, rename("d755/f", "d777/g"));
	ERR(EACCES, link("d777/own", "d755/g"));
	ERR(EACCES, symlink("x", "d755/s"));
	/* there already: not a creation */
	OK(close((int)OK(open("d755/f", O_RDONLY | O_CREAT, 0644))));
	/* may list, not enter */
	OK(close((int)OK(open("d744", O_RDONLY | O_DIRECTORY))));
	ERR(EACCES, stat("d744/f", &st));
	ERR(EACCES, open("d744/f", O_RDONLY));
	ERR(EACCES, chdir("d744"));
	/* may enter, not list */
	ERR(EACCES, open("d711", O_RDONLY | O_DIRECTORY));
	OK(stat("d711/f", &st));
	OK(chdir("d711"));
	OK(chdir(".."));
	ERR(EACCES, stat("d700/f", &st));
	ERR(EACCES, open("d700/none", O_RDONLY));
	/* everything, also of others */
	OK(unlink("d777/f"));
	OK(mkdir("d777/mine", 0755));
	OK(rmdir("d777/mine"));
}

static void perm_dirs(void)
{
	static const mode_t modes[] = { 0755, 0744, 0711, 0700, 0777 };
	char name[16];
	size_t i;

	for (i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "d%o", modes[i]);
		posix_mkdir(name, modes[i]);
		MUST(chown(name, USER_B, GROUP_B));
		snprintf(name, sizeof(name), "d%o/f", modes[i]);
		posix_put(name, "x", 0644);
	}
	posix_put("d777/own", NULL, 0644);
	MUST(chown("d777/own", USER_A, GROUP_A));
	posix_as(USER_A, GROUP_A, a_dirs);
	TRUE(!posix_is_there("d777/f"));
	TRUE(posix_is_there("d755/f"));
}

static void a_group(void)
{
	/* the group's bits count for its members, though others have more */
	ERR(EACCES, open("g604", O_RDONLY));
	OK(close((int)OK(open("g640", O_RDONLY))));
	ERR(EACCES, open("g640", O_WRONLY));
	/* and the owner's for the owner, though the group has more */
	ERR(EACCES, open("o070", O_RDONLY));
	OK(chmod("o070", 0400));
	OK(close((int)OK(open("o070", O_RDONLY))));
}

static void perm_classes(void)
{
	posix_put("g604", "x", 0604);
	MUST(chown("g604", USER_B, GROUP_A));
	posix_put("g640", "x", 0640);
	MUST(chown("g640", USER_B, GROUP_A));
	posix_put("o070", "x", 0070);
	MUST(chown("o070", USER_A, GROUP_A));
	posix_as(USER_A, GROUP_A, a_group);
}

/* A supplementary group is a group too. */
static void perm_groups(void)
{
	const gid_t groups[] = { GROUP_B };
	int fd;

	posix_put("f", "x", 0060);
	MUST(chown("f", 0, GROUP_B));
	posix_mkdir("d", 0070);
	MUST(chown("d", 0, GROUP_B));
	MUST(setgroups(1, groups));
	MUST(setgid(GROUP_A));
	MUST(setuid(USER_A));
	OK(close((int)OK(open("f", O_RDWR))));
	fd = (int)OK(open("d/new", O_RDWR | O_CREAT, 0640));
	OK(close(fd));
	OK(chmod("d/new", 0600));
	/* one's own file to a group one is in, not to another */
	OK(chown("d/new", (uid_t)-1, GROUP_B));
	ERR(EPERM, chown("d/new", (uid_t)-1, GROUP_B + 1));
	ERR(EPERM, chown("d/new", USER_B, (gid_t)-1));
	OK(unlink("d/new"));
}

static void a_creates(void)
{
	OK(close((int)OK(open("f", O_RDWR | O_CREAT, 0644))));
	OK(mkdir("d", 0755));
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0644));
	OK(link("f", "f2"));
}

static void perm_owner_of_new(void)
{
	static const char *const names[] = { "f", "d", "l", "p", "f2" };
	struct stat st;
	size_t i;

	posix_as(USER_A, GROUP_A, a_creates);
	for (i = 0; i < 5; i++) {
		OK(lstat(names[i], &st));
		EQ(st.st_uid, USER_A);
		EQ(st.st_gid, GROUP_A);
	}
}

static void a_sticky(void)
{
	ERR(EPERM, unlink("t/theirs"));
	ERR(EPERM, rename("t/theirs", "t/x"));
	ERR(EPERM, rename("mine", "t/theirs"));
	ERR(EPERM, rmdir("t/dir"));
	ERR(EPERM, rename("t/own", "t/theirs"));
	OK(rename("t/own", "t/own2"));
	OK(unlink("t/own2"));
	OK(unlink("u/theirs"));
}

static void perm_sticky(void)
{
	posix_mkdir("t", 01777);
	MUST(chown("t", USER_B, GROUP_B));
	posix_mkdir("u", 01777);
	MUST(chown("u", USER_A, GROUP_A));
	posix_put("t/theirs", NULL, 0666);
	MUST(chown("t/theirs", USER_B, GROUP_B));
	posix_put("u/theirs", NULL, 0666);
	posix_put("t/own", NULL, 0600);
	MUST(chown("t/own", USER_A, GROUP_A));
	posix_put("mine", NULL, 0600);
	MUST(chown("mine", USER_A, GROUP_A));
	posix_mkdir("t/dir", 0755);
	posix_as(USER_A, GROUP_A, a_sticky);
	TRUE(posix_is_there("t/theirs"));
}

static void a_setgid(void)
{
	OK(close((int)OK(open("d/f", O_RDWR | O_CREAT, 0644))));
	OK(mkdir("d/sub", 0755));
	OK(close((int)OK(open("d/sub/f", O_RDWR | O_CREAT, 0644))));
	OK(mkfifo("d/p", 0600));
	OK(symlink("x", "d/l"));
	/* not a member: the bit would give the group away */
	OK(close((int)OK(open("d/x", O_RDWR | O_CREAT, 02775))));
}

static void perm_setgid_dir(void)
{
	static const char *const names[] = {
		"d/f", "d/sub", "d/sub/f", "d/p", "d/l", "d/x",
	};
	struct stat st;
	size_t i;

	posix_mkdir("d", 02777);
	MUST(chown("d", USER_B, GROUP_B));
	MUST(chmod("d", 02777));
	posix_as(USER_A, GROUP_A, a_setgid);
	for (i = 0; i < 6; i++) {
		OK(lstat(names[i], &st));
		EQ(st.st_gid, GROUP_B);
		EQ(st.st_uid, USER_A);
	}
	EQ(posix_mode("d/sub") & 02000, 02000);
	EQ(posix_mode("d/x"), S_IFREG | 0775);
}

static void a_chmod_gid(void)
{
	/* of a group one is not in: taken without a word */
	OK(chmod("f", 02755));
	EQ(posix_mode("f"), S_IFREG | 0755);
	OK(chmod("f", 04755));
	EQ(posix_mode("f"), S_IFREG | 04755);
	/* the owner's own chown, even to what it is, clears */
	OK(chown("g", (uid_t)-1, GROUP_A));
	EQ(posix_mode("g"), S_IFREG | 0755);
}

static void perm_chmod_setgid(void)
{
	posix_put("f", NULL, 0755);
	MUST(chown("f", USER_A, GROUP_B));
	posix_put("g", NULL, 0755);
	MUST(chown("g", USER_A, GROUP_A));
	MUST(chmod("g", 06755));
	posix_as(USER_A, GROUP_A, a_chmod_gid);
}

static void a_writes_suid(void)
{
	int fd = (int)OK(open("w", O_WRONLY));

	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	EQ(posix_mode("w"), S_IFREG | 0777);
	OK(truncate("t", 1));
	EQ(posix_mode("t"), S_IFREG | 0777);
	OK(close((int)OK(open("o", O_WRONLY | O_TRUNC))));
	EQ(posix_mode("o"), S_IFREG | 0777);
	fd = (int)OK(open("a", O_WRONLY | O_APPEND));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	EQ(posix_mode("a"), S_IFREG | 0777);
	/* reading changes nothing */
	fd = (int)OK(open("r", O_RDWR));
	EQ(read(fd, &fd, 1), 1);
	EQ(posix_mode("r"), S_IFREG | 06777);
}

static void perm_write_clears_suid(void)
{
	static const char *const names[] = { "w", "t", "o", "a", "r" };
	size_t i;

	for (i = 0; i < 5; i++)
		posix_put(names[i], "text", 06777);
	posix_as(USER_A, GROUP_A, a_writes_suid);
}

static void a_allocates_suid(void)
{
	int fd = (int)OK(open("f", O_RDWR));

	if (fallocate(fd, 0, 0, 8192) && errno == EOPNOTSUPP)
		posix_skip("no fallocate");
	EQ(posix_mode("f"), S_IFREG | 0777);
	OK(close(fd));
}

static void perm_fallocate_clears_suid(void)
{
	posix_put("f", "text", 06777);
	posix_as(USER_A, GROUP_A, a_allocates_suid);
}

static void perm_root_keeps_suid(void)
{
	int fd;

	if (posix_without("root-keeps-suid"))
		posix_skip("not here");
	posix_put("f", "text", 06777);
	fd = (int)OK(open("f", O_WRONLY));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	EQ(posix_mode("f"), S_IFREG | 06777);
	OK(truncate("f", 1));
	EQ(posix_mode("f"), S_IFREG | 06777);
}

/* What was allowed when it was opened stays allowed. */
static void perm_open_outlives(void)
{
	char c;
	int fd;

	posix_put("f", "abc", 0666);
	MUST(setegid(GROUP_A));
	MUST(seteuid(USER_A));
	fd = (int)OK(open("f", O_RDWR));
	MUST(seteuid(0));
	OK(chmod("f", 0));
	MUST(seteuid(USER_A));
	EQ(pwrite(fd, "X", 1, 0), 1);
	EQ(pread(fd, &c, 1, 0), 1);
	EQ(c, 'X');
	OK(ftruncate(fd, 1));
	ERR(EACCES, open("f", O_RDONLY));
	MUST(seteuid(0));
	EQ(posix_size("f"), 1);
	OK(close(fd));
}

static void perm_fsuid(void)
{
	struct stat st;

	posix_put("f", "x", 0600);
	setfsgid(GROUP_A);
	setfsuid(USER_A);
	ERR(EACCES, open("f", O_RDONLY));
	OK(close((int)OK(open("mine", O_RDWR | O_CREAT, 0600))));
	setfsuid(0);
	setfsgid(0);
	OK(stat("mine", &st));
	EQ(st.st_uid, USER_A);
	EQ(st.st_gid, GROUP_A);
	OK(close((int)OK(open("f", O_RDONLY))));
}

static void a_protected(void)
{
	char c;

	ERR(EACCES, unlink("ro/f"));
	ERR(EACCES, rmdir("ro/d"));
	ERR(EACCES, mknod("ro/n", S_IFREG | 0644, 0));
	ERR(EACCES, open("ro", O_TMPFILE | O_RDWR, 0600));
	ERR(EACCES, readlink("none/l", &c, 1));
}

static void perm_readonly_dir(void)
{
	posix_mkdir("ro", 0755);
	posix_put("ro/f", NULL, 0666);
	posix_mkdir("ro/d", 0777);
	posix_mkdir("none", 0700);
	OK(symlink("x", "none/l"));
	posix_as(USER_A, GROUP_A, a_protected);
}

const struct posix_case cases_perm[] = {
	{ "perm-files", perm_files, NEEDS_ROOT },
	{ "perm-dirs", perm_dirs, NEEDS_ROOT },
	{ "perm-classes", perm_classes, NEEDS_ROOT },
	{ "perm-groups", perm_groups, NEEDS_ROOT },
	{ "perm-owner-of-new", perm_owner_of_new, NEEDS_ROOT },
	{ "perm-sticky", perm_sticky, NEEDS_ROOT },
	{ "perm-setgid-dir", perm_setgid_dir, NEEDS_ROOT },
	{ "perm-chmod-setgid", perm_chmod_setgid, NEEDS_ROOT },
	{ "perm-write-clears-suid", perm_write_clears_suid, NEEDS_ROOT },
	{ "perm-fallocate-clears-suid", perm_fallocate_clears_suid,
	  NEEDS_ROOT },
	{ "perm-root-keeps-suid", perm_root_keeps_suid, NEEDS_ROOT },
	{ "perm-open-outlives", perm_open_outlives, NEEDS_ROOT },
	{ "perm-fsuid", perm_fsuid, NEEDS_ROOT },
	{ "perm-readonly-dir", perm_readonly_dir, NEEDS_ROOT },
	{ NULL, NULL, 0 },
};
