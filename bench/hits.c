/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For instructions.sh: nothing but hits in the window, so that instructions
 * can be counted from outside.
 *
 *	oriel-bench-hits read|write BYTES COUNT
 *
 * in a scratch directory under $ORIEL_BENCH_DIR or /dev/shm.
 */
#include <oriel/oriel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES ((size_t)2 << 20)
#define BUF_BYTES ((size_t)1 << 20)

static unsigned char buf[BUF_BYTES];

static int fill(const char *dir)
{
	char path[300];
	size_t off;
	int fd;

	snprintf(path, sizeof(path), "%s/data", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	for (off = 0; off < FILE_BYTES; off += BUF_BYTES)
		if (pwrite(fd, buf, BUF_BYTES, (off_t)off) < 0)
			break;
	close(fd);
	return off < FILE_BYTES ? -EIO : 0;
}

static int hit(struct oriel_file *f, int writes, size_t bytes, size_t n)
{
	size_t places = FILE_BYTES / bytes;
	ssize_t r;

	for (size_t i = 0; i < n; i++) {
		off_t off = (off_t)(i % places * bytes);

		r = writes ? oriel_pwrite(f, buf, bytes, off) :
			     oriel_pread(f, buf, bytes, off);
		if (r != (ssize_t)bytes)
			return r < 0 ? (int)r : -EIO;
	}
	return 0;
}

static int measure(const char *dir, int writes, size_t bytes, size_t n)
{
	/* a window that fits the address space under valgrind */
	struct oriel_options o = { .size = sizeof(o), .dax = ORIEL_DAX_ALWAYS,
				   .window_bytes = (uint64_t)64 << 20 };
	struct oriel_session *s;
	struct oriel_file *f;
	int err = fill(dir);

	if (!err)
		err = oriel_connect(dir, &o, &s);
	if (err) {
		fprintf(stderr, "%s\n", oriel_connect_error());
		return err;
	}
	err = oriel_open(s, "data", O_RDWR, 0, &f);
	if (!err) {
		err = hit(f, writes, bytes, n);
		oriel_close(f);
	}
	oriel_disconnect(s);
	return err;
}

int main(int argc, char **argv)
{
	const char *parent = getenv("ORIEL_BENCH_DIR");
	size_t bytes = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
	char dir[256], path[300];
	int err;

	if (!bytes || bytes > BUF_BYTES) {
		fputs("usage: oriel-bench-hits read|write BYTES COUNT\n",
		      stderr);
		return 2;
	}
	snprintf(dir, sizeof(dir), "%s/oriel-hits.XXXXXX",
		 parent ? parent : "/dev/shm");
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	err = measure(dir, strcmp(argv[1], "write") == 0, bytes,
		      strtoul(argv[3], NULL, 10));
	snprintf(path, sizeof(path), "%s/data", dir);
	unlink(path);
	rmdir(dir);
	if (err)
		fprintf(stderr, "oriel-bench-hits: %s\n", oriel_strerror(err));
	return err ? 1 : 0;
}
