/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading directories: thousands of names, positions, changes underway. */
#include "posix.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 3000

static void make_many(unsigned n)
{
	char name[16];
	unsigned i;

	posix_mkdir("d", 0755);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "d/%u", i);
		MUST(close((int)MUST(open(name, O_CREAT | O_WRONLY, 0644))));
	}
}

/* Read @d to its end; how often each number was seen into @seen. */
static unsigned read_all(DIR *d, unsigned char *seen, unsigned n)
{
	struct dirent *e;
	unsigned dots = 0;

	errno = 0;
	while ((e = readdir(d))) {
		unsigned long i;
		char *end;

		if (e->d_name[0] == '.') {
			dots++;
			continue;
		}
		i = strtoul(e->d_name, &end, 10);
		if (*end || i >= n)
			posix_fail(__FILE__, __LINE__, "odd name %s",
				   e->d_name);
		else
			seen[i]++;
		if (e->d_type != DT_REG && e->d_type != DT_UNKNOWN)
			posix_fail(__FILE__, __LINE__, "%s has type %d",
				   e->d_name, e->d_type);
	}
	EQ(errno, 0);
	return dots;
}

static void dir_many(void)
{
	static unsigned char seen[MANY];
	DIR *d;
	unsigned i;

	make_many(MANY);
	d = opendir("d");
	EQ(read_all(d, seen, MANY), 2);
	for (i = 0; i < MANY; i++)
		EQ(seen[i], 1);
	/* from the start again, with what has come since */
	OK(unlink("d/7"));
	rewinddir(d);
	memset(seen, 0, sizeof(seen));
	EQ(read_all(d, seen, MANY), 2);
	EQ(seen[7], 0);
	EQ(seen[8], 1);
	closedir(d);
}

static void dir_positions(void)
{
	static long pos[MANY];
	static char names[MANY][16];
	struct dirent *e;
	unsigned n = 0;
	unsigned i;
	DIR *d;

	make_many(MANY / 3);
	d = opendir("d");
	for (;;) {
		pos[n] = telldir(d);
		e = readdir(d);
		if (!e || n == MANY - 1)
			break;
		snprintf(names[n++], sizeof(names[0]), "%.15s", e->d_name);
	}
	EQ(n, MANY / 3 + 2);
	for (i = 0; i < n; i++) {
		unsigned at = (i * 397 + 11) % n;

		seekdir(d, pos[at]);
		e = readdir(d);
		if (!e || strcmp(e->d_name, names[at]))
			posix_fail(__FILE__, __LINE__, "entry %u: %s, not %s",
				   at, e ? e->d_name : "(none)", names[at]);
	}
	seekdir(d, pos[n]);
	TRUE(!readdir(d));
	closedir(d);
}

/* rm -r: removing what is read, while it is read. */
static void dir_delete_while_reading(void)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	make_many(MANY);
	d = opendir("d");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		OK(unlinkat(dirfd(d), e->d_name, 0));
		n++;
	}
	EQ(n, MANY);
	closedir(d);
	OK(rmdir("d"));
}

/* Whatever is neither added nor removed is seen exactly once. */
static void dir_change_while_reading(void)
{
	static unsigned char seen[MANY];
	char name[24];
	struct dirent *e;
	unsigned i;
	unsigned step = 0;
	DIR *d;

	make_many(MANY);
	d = opendir("d");
	while ((e = readdir(d))) {
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
			seen[atoi(e->d_name)]++;
		if (++step % 10)
			continue;
		snprintf(name, sizeof(name), "d/new%u", step);
		OK(close((int)OK(open(name, O_CREAT | O_WRONLY, 0644))));
		snprintf(name, sizeof(name), "d/%u", (step * 7) % MANY & ~1u);
		(void)unlink(name);
	}
	closedir(d);
	for (i = 1; i < MANY; i += 2)
		EQ(seen[i], 1);
	for (i = 0; i < MANY; i += 2)
		TRUE(seen[i] <= 1);
}

static void dir_types(void)
{
	static const struct {
		const char *name;
		unsigned char type;
	} want[] = {
		{ "f", DT_REG }, { "d", DT_DIR }, { "l", DT_LNK },
		{ "p", DT_FIFO }, { ".", DT_DIR }, { "..", DT_DIR },
	};
	struct stat st;
	struct dirent *e;
	unsigned found = 0;
	size_t i;
	DIR *d;

	posix_put("f", NULL, 0644);
	posix_mkdir("d", 0755);
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0600));
	d = opendir(".");
	while ((e = readdir(d))) {
		for (i = 0; i < sizeof(want) / sizeof(*want); i++) {
			if (strcmp(e->d_name, want[i].name))
				continue;
			found++;
			TRUE(e->d_type == want[i].type ||
			     e->d_type == DT_UNKNOWN);
			OK(lstat(e->d_name, &st));
			if (strcmp(e->d_name, ".."))
				EQ(e->d_ino, st.st_ino);
		}
	}
	EQ(found, 6);
	closedir(d);
}

static void dir_removed(void)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	posix_mkdir("d", 0755);
	d = opendir("d");
	OK(rmdir("d"));
	errno = 0;
	while ((e = readdir(d)))
		n++;
	TRUE(errno == 0 || errno == ENOENT);
	TRUE(n <= 2);
	closedir(d);
}

static void dir_errors(void)
{
	char buf[16];
	int fd;

	posix_put("f", NULL, 0644);
	TRUE(!opendir("missing") && errno == ENOENT);
	TRUE(!opendir("f") && errno == ENOTDIR);
	fd = (int)OK(open(".", O_RDONLY));
	ERR(EINVAL, getdents64(fd, buf, sizeof(buf)));
	OK(close(fd));
	fd = (int)OK(open("f", O_RDONLY));
	ERR(ENOTDIR, getdents64(fd, buf, sizeof(buf)));
	OK(close(fd));
	ERR(ENOTDIR, chdir("f"));
	ERR(ENOENT, chdir("missing"));
}

/* A second reader is not disturbed by the first, nor a child by its parent. */
static void dir_two_readers(void)
{
	static unsigned char a[300];
	static unsigned char b[300];
	DIR *x;
	DIR *y;
	unsigned i;

	make_many(300);
	x = opendir("d");
	y = opendir("d");
	TRUE(readdir(x));
	TRUE(readdir(x));
	TRUE(readdir(x));
	EQ(read_all(y, b, 300), 2);
	read_all(x, a, 300);
	for (i = 0; i < 300; i++)
		EQ(b[i], 1);
	rewinddir(x);
	memset(a, 0, sizeof(a));
	EQ(read_all(x, a, 300), 2);
	for (i = 0; i < 300; i++)
		EQ(a[i], 1);
	closedir(x);
	closedir(y);
}

const struct posix_case cases_dir[] = {
	{ "dir-many", dir_many, 0 },
	{ "dir-positions", dir_positions, 0 },
	{ "dir-delete-while-reading", dir_delete_while_reading, 0 },
	{ "dir-change-while-reading", dir_change_while_reading, 0 },
	{ "dir-types", dir_types, 0 },
	{ "dir-removed", dir_removed, 0 },
	{ "dir-errors", dir_errors, 0 },
	{ "dir-two-readers", dir_two_readers, 0 },
	{ NULL, NULL, 0 },
};
