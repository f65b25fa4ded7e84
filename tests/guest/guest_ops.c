/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_ops COMMAND ARGUMENT...: what the guests run. Here: the table of
 * commands, and the operations on files and names with the errors they owe.
 * One thread; a command leaves nothing behind but what it says.
 */
#include "guest_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FILE_BYTES ((3u << 20) + 77)

_Noreturn void guest_fail(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	printf("@fail %s:%d %s (%s)\n", base ? base + 1 : file, line, what,
	       strerror(errno));
	exit(1);
}

unsigned char guest_byte(uint64_t seed, uint64_t pos)
{
	uint64_t x = (pos >> 3) + seed * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 31;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 29;
	return (unsigned char)(x >> (8 * (pos & 7)));
}

void guest_fill(unsigned char *buf, size_t len, uint64_t seed, uint64_t pos)
{
	size_t i;

	for (i = 0; i < len; i++)
		buf[i] = guest_byte(seed, pos + i);
}

bool guest_same(const unsigned char *buf, size_t len, uint64_t seed,
		uint64_t pos)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i] != guest_byte(seed, pos + i))
			return false;
	return true;
}

static bool all_zero(const unsigned char *buf, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i])
			return false;
	return true;
}

/* --------------------------------------------------------------- files */

static void write_and_read(unsigned char *buf)
{
	int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0640);
	struct stat st;
	size_t off;
	size_t n;

	must(fd >= 0);
	must_fail(open("file", O_RDWR | O_CREAT | O_EXCL, 0640), EEXIST);
	guest_fill(buf, FILE_BYTES, 1, 0);
	for (off = 0; off < FILE_BYTES; off += n) {
		n = FILE_BYTES - off < 70001 ? FILE_BYTES - off : 70001;
		must(write(fd, buf + off, n) == (ssize_t)n);
	}
	must(!fstat(fd, &st) && st.st_size == FILE_BYTES);
	must((st.st_mode & 07777) == 0640);
	for (off = 1; off < FILE_BYTES; off += 333337) {
		n = FILE_BYTES - off < 9001 ? FILE_BYTES - off : 9001;
		memset(buf, 0, n);
		must(pread(fd, buf, n, (off_t)off) == (ssize_t)n);
		must(guest_same(buf, n, 1, off));
	}
	must(pread(fd, buf, 100, FILE_BYTES - 10) == 10);
	must(pread(fd, buf, 100, FILE_BYTES) == 0);
	must(!fsync(fd) && !close(fd));
}

static void map_private_and_shared(void)
{
	int fd = open("file", O_RDWR);
	unsigned char *p;
	unsigned char c;

	must(fd >= 0);
	p = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	must(p != MAP_FAILED && guest_same(p, FILE_BYTES, 1, 0));
	must(!munmap(p, FILE_BYTES));
	p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(p != MAP_FAILED);
	p[5000] = (unsigned char)~p[5000];
	must(pread(fd, &c, 1, 5000) == 1 && c == p[5000]);
	c = (unsigned char)~c;
	must(pwrite(fd, &c, 1, 5000) == 1 && p[5000] == c);
	/* Behind the end, in the last page: zeros, not what a page had. */
	must(all_zero(p + FILE_BYTES, 4096 - FILE_BYTES % 4096));
	must(!msync(p, FILE_BYTES, MS_SYNC) && !munmap(p, FILE_BYTES));
	must(!close(fd));
}

static void append(void)
{
	int a = open("log", O_WRONLY | O_CREAT | O_APPEND, 0644);
	int b = open("log", O_WRONLY | O_APPEND);
	char buf[16];
	int i;

	must(a >= 0 && b >= 0);
	for (i = 0; i < 200; i++)
		must(write(i & 1 ? b : a, i & 1 ? "b" : "a", 1) == 1);
	must(!close(a) && !close(b));
	a = open("log", O_RDONLY);
	must(a >= 0 && lseek(a, 0, SEEK_END) == 200);
	must(pread(a, buf, 4, 100) == 4 && !memcmp(buf, "abab", 4));
	must_fail(write(a, buf, 1), EBADF);
	must(!close(a));
}

static void cut_and_extend(unsigned char *buf)
{
	int fd = open("file", O_RDWR);

	must(fd >= 0 && !ftruncate(fd, 100001));
	must(lseek(fd, 0, SEEK_END) == 100001);
	must(pread(fd, buf, 1, 100001) == 0);
	must(!ftruncate(fd, 300000));
	must(pread(fd, buf, 200000, 99990) == 200000);
	must(guest_same(buf, 11, 1, 99990));
	must(all_zero(buf + 11, 200000 - 11));
	must(pwrite(fd, "x", 1, 5 << 20) == 1);
	must(pread(fd, buf, 4096, 4 << 20) == 4096 && all_zero(buf, 4096));
	must(!truncate("file", 7) && pread(fd, buf, 100, 0) == 7);
	must(guest_same(buf, 7, 1, 0) && !close(fd));
	fd = open("file", O_WRONLY | O_TRUNC);
	must(fd >= 0 && lseek(fd, 0, SEEK_END) == 0 && !close(fd));
}

static void file_errors(void)
{
	static char name[300];

	memset(name, 'n', sizeof(name) - 1);
	must_fail(open("none", O_RDONLY), ENOENT);
	must_fail(open(".", O_WRONLY), EISDIR);
	must_fail(open("log/x", O_RDONLY), ENOTDIR);
	must_fail(open(name, O_RDWR | O_CREAT, 0600), ENAMETOOLONG);
	must_fail(truncate("log", -1), EINVAL);
	must_fail(open("log", O_RDONLY | O_DIRECTORY), ENOTDIR);
}

/* Of a name that is gone the file stays. */
static void gone_but_open(void)
{
	char buf[8];
	int fd = open("gone", O_RDWR | O_CREAT, 0600);
	struct stat st;

	must(fd >= 0 && write(fd, "still", 5) == 5);
	must(!unlink("gone"));
	must_fail(stat("gone", &st), ENOENT);
	must(pread(fd, buf, 8, 0) == 5 && !memcmp(buf, "still", 5));
	must(!ftruncate(fd, 2) && pread(fd, buf, 8, 0) == 2);
	must(!fstat(fd, &st) && st.st_nlink == 0);
	must(!close(fd));
}

int guest_files(int argc, char **argv)
{
	unsigned char *buf = malloc(FILE_BYTES);

	must(argc == 1 && buf && !mkdir(argv[0], 0755) && !chdir(argv[0]));
	write_and_read(buf);
	map_private_and_shared();
	append();
	cut_and_extend(buf);
	file_errors();
	gone_but_open();
	free(buf);
	return 0;
}

/* --------------------------------------------------------------- names */

static void touch(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	must(fd >= 0 && !close(fd));
}

static ino_t ino_of(const char *name)
{
	struct stat st;

	must(!lstat(name, &st));
	return st.st_ino;
}

static void rename_and_link(void)
{
	char buf[64];
	struct stat st;
	ino_t a;

	touch("a");
	touch("b");
	a = ino_of("a");
	must_fail(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE),
		  EEXIST);
	must(!renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
	must(ino_of("b") == a && ino_of("a") != a);
	must(!rename("b", "a") && ino_of("a") == a);
	must_fail(stat("b", &st), ENOENT);
	must(!mkdir("d", 0700) && !rename("a", "d/a") && ino_of("d/a") == a);
	must_fail(rename("d", "d/below"), EINVAL);
	must(!link("d/a", "hard") && !stat("hard", &st));
	must(st.st_nlink == 2 && st.st_ino == a);
	must_fail(link("d", "dlink"), EPERM);
	must(!symlink("d/a", "soft"));
	must(readlink("soft", buf, sizeof(buf)) == 3);
	must(!memcmp(buf, "d/a", 3) && !stat("soft", &st) && st.st_ino == a);
	must_fail(rmdir("d"), ENOTEMPTY);
	must_fail(unlink("d"), EISDIR);
	must_fail(rmdir("hard"), ENOTDIR);
	must_fail(mkdir("d", 0700), EEXIST);
	must(!unlink("d/a") && !rmdir("d"));
	must_fail(stat("soft", &st), ENOENT);
	must(!stat("hard", &st) && st.st_nlink == 1);
	must(!mkfifo("pipe", 0600) && !lstat("pipe", &st));
	must(S_ISFIFO(st.st_mode));
}

/* Names f0 .. f(n-1) under ".", each once, in any order. */
static void read_names(DIR *dir, unsigned char *seen, unsigned n)
{
	struct dirent *e;
	unsigned i;

	memset(seen, 0, n);
	while (errno = 0, (e = readdir(dir)))
		if (sscanf(e->d_name, "f%u", &i) == 1) {
			must(i < n && !seen[i]);
			seen[i] = 1;
		}
	must(!errno);
}

static void many_names(unsigned n)
{
	unsigned char *seen = malloc(n);
	char name[24];
	DIR *dir;
	unsigned i;

	must(seen && !mkdir("many", 0755) && !chdir("many"));
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		touch(name);
	}
	dir = opendir(".");
	must(dir);
	read_names(dir, seen, n);
	must(!memchr(seen, 0, n));
	for (i = 0; i < n; i += 2) {
		snprintf(name, sizeof(name), "f%u", i);
		must(!unlink(name));
	}
	rewinddir(dir);
	read_names(dir, seen, n);
	for (i = 0; i < n; i++)
		must(seen[i] == (i & 1));
	must(!closedir(dir) && !chdir(".."));
	free(seen);
}

int guest_names(int argc, char **argv)
{
	must(argc == 2 && !mkdir(argv[0], 0755) && !chdir(argv[0]));
	rename_and_link();
	many_names((unsigned)atoi(argv[1]));
	return 0;
}

/* ---------------------------------------------------- extended attributes */

int guest_xattr(int argc, char **argv)
{
	char buf[64];

	must(argc == 1);
	touch(argv[0]);
	must_fail(getxattr(argv[0], "user.a", buf, sizeof(buf)), ENODATA);
	must(!setxattr(argv[0], "user.a", "one", 3, XATTR_CREATE));
	must_fail(setxattr(argv[0], "user.a", "x", 1, XATTR_CREATE), EEXIST);
	must_fail(setxattr(argv[0], "user.b", "x", 1, XATTR_REPLACE), ENODATA);
	must(!setxattr(argv[0], "user.b", "", 0, 0));
	must(getxattr(argv[0], "user.a", buf, sizeof(buf)) == 3);
	must(!memcmp(buf, "one", 3));
	must_fail(getxattr(argv[0], "user.a", buf, 2), ERANGE);
	must(getxattr(argv[0], "user.b", buf, sizeof(buf)) == 0);
	must(listxattr(argv[0], buf, sizeof(buf)) == 14);
	must(!removexattr(argv[0], "user.a"));
	must_fail(removexattr(argv[0], "user.a"), ENODATA);
	must(!setxattr(argv[0], "user.left", "for the host", 12, 0));
	return 0;
}

/* ---------------------------------------------------------------- main */

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "files", guest_files },
	{ "names", guest_names },
	{ "xattr", guest_xattr },
	{ "locks", guest_locks },
	{ "try-lock", guest_try_lock },
	{ "hold-lock", guest_hold_lock },
	{ "turns", guest_turns },
	{ "hammer", guest_hammer },
	{ "bench", guest_bench },
};

int main(int argc, char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(0);
	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "guest_ops: no such command\n");
	return 2;
}
