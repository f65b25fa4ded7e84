/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended attributes. */
#include "posix.h"

#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static void need(const char *name)
{
	posix_put(name, NULL, 0644);
	if (setxattr(name, "user.probe", "", 0, 0) && errno == EOPNOTSUPP)
		posix_skip("no extended attributes");
	OK(removexattr(name, "user.probe"));
}

static void xattr_values(void)
{
	char buf[64];
	int fd;

	need("f");
	OK(setxattr("f", "user.a", "value", 5, 0));
	EQ(getxattr("f", "user.a", buf, sizeof(buf)), 5);
	EQ(memcmp(buf, "value", 5), 0);
	EQ(getxattr("f", "user.a", NULL, 0), 5);
	ERR(ERANGE, getxattr("f", "user.a", buf, 4));
	ERR(ENODATA, getxattr("f", "user.none", buf, sizeof(buf)));
	OK(setxattr("f", "user.empty", "", 0, 0));
	EQ(getxattr("f", "user.empty", buf, sizeof(buf)), 0);
	OK(setxattr("f", "user.a", "\0b\0", 3, 0));
	EQ(getxattr("f", "user.a", buf, sizeof(buf)), 3);
	EQ(memcmp(buf, "\0b\0", 3), 0);
	fd = (int)OK(open("f", O_RDONLY));
	OK(fsetxattr(fd, "user.b", "1", 1, 0));
	EQ(fgetxattr(fd, "user.b", buf, sizeof(buf)), 1);
	OK(fremovexattr(fd, "user.b"));
	ERR(ENODATA, fgetxattr(fd, "user.b", buf, sizeof(buf)));
	OK(close(fd));
}

static void xattr_flags(void)
{
	need("f");
	ERR(ENODATA, setxattr("f", "user.a", "1", 1, XATTR_REPLACE));
	OK(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
	ERR(EEXIST, setxattr("f", "user.a", "2", 1, XATTR_CREATE));
	OK(setxattr("f", "user.a", "2", 1, XATTR_REPLACE));
	ERR(EINVAL, setxattr("f", "user.a", "2", 1, 8));
	OK(removexattr("f", "user.a"));
	ERR(ENODATA, removexattr("f", "user.a"));
}

static void xattr_list(void)
{
	char buf[4096];
	char name[32];
	ssize_t n;
	ssize_t at;
	int found = 0;
	int i;

	need("f");
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "user.name%d", i);
		OK(setxattr("f", name, name, strlen(name), 0));
	}
	n = OK(listxattr("f", buf, sizeof(buf)));
	EQ(listxattr("f", NULL, 0), n);
	ERR(ERANGE, listxattr("f", buf, 10));
	for (at = 0; at < n; at += (ssize_t)strlen(buf + at) + 1)
		found += !strncmp(buf + at, "user.name", 9);
	EQ(found, 20);
}

static void xattr_errors(void)
{
	char name[300];
	static char big[70000];

	need("f");
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[256] = '\0';
	ERR(ERANGE, setxattr("f", name, "x", 1, 0));
	ERR(E2BIG, setxattr("f", "user.big", big, 65537, 0));
	ERR(EOPNOTSUPP, setxattr("f", "nosuch.x", "x", 1, 0));
	ERR(ENOENT, setxattr("missing", "user.a", "x", 1, 0));
	/* user attributes are for files and directories only */
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0600));
	ERR(EPERM, lsetxattr("l", "user.a", "x", 1, 0));
	ERR(EPERM, setxattr("p", "user.a", "x", 1, 0));
	OK(setxattr("l", "user.through", "x", 1, 0));
	EQ(getxattr("f", "user.through", big, 10), 1);
	posix_mkdir("d", 0755);
	OK(setxattr("d", "user.a", "x", 1, 0));
	EQ(getxattr("d", "user.a", big, 10), 1);
}

static void a_xattr(void)
{
	char c;

	ERR(EACCES, setxattr("f", "user.a", "2", 1, 0));
	EQ(getxattr("f", "user.a", &c, 1), 1);
	ERR(EACCES, removexattr("f", "user.a"));
	ERR(EACCES, getxattr("secret", "user.a", &c, 1));
	ERR(EPERM, setxattr("f", "trusted.a", "2", 1, 0));
}

static void xattr_user(void)
{
	need("f");
	posix_put("secret", NULL, 0600);
	OK(setxattr("f", "user.a", "1", 1, 0));
	OK(setxattr("secret", "user.a", "1", 1, 0));
	posix_as(USER_A, GROUP_A, a_xattr);
}

static void xattr_moves(void)
{
	char c = 0;

	need("f");
	OK(setxattr("f", "user.a", "1", 1, 0));
	OK(rename("f", "g"));
	EQ(getxattr("g", "user.a", &c, 1), 1);
	OK(link("g", "h"));
	EQ(getxattr("h", "user.a", &c, 1), 1);
	posix_put("f", NULL, 0644);
	ERR(ENODATA, getxattr("f", "user.a", &c, 1));
}

const struct posix_case cases_xattr[] = {
	{ "xattr-values", xattr_values, 0 },
	{ "xattr-flags", xattr_flags, 0 },
	{ "xattr-list", xattr_list, 0 },
	{ "xattr-errors", xattr_errors, 0 },
	{ "xattr-user", xattr_user, NEEDS_ROOT },
	{ "xattr-moves", xattr_moves, 0 },
	{ NULL, NULL, 0 },
};
