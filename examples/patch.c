/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * patch SHARE PATH OFFSET < BYTES
 *
 * Overwrite a part of a file, and say which way the bytes went. The smallest
 * useful program with liboriel: connect, open, pwrite, fsync, close. Build it
 * outside the tree with
 *
 *   cc patch.c $(pkg-config --cflags --libs oriel)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <oriel/oriel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(struct oriel_session *s, const char *what, int err)
{
	fprintf(stderr, "patch: %s: %s\n", what,
		s ? oriel_session_error(s) : oriel_connect_error());
	return err;
}

/* All of standard input to @f from @off on. */
static int copy_stdin(struct oriel_file *f, off_t off)
{
	static char buf[1 << 16];
	ssize_t n, done;

	while ((n = read(STDIN_FILENO, buf, sizeof(buf))) > 0) {
		done = oriel_pwrite(f, buf, (size_t)n, off);
		if (done != n)
			return done < 0 ? (int)done : -EIO;
		off += n;
	}
	return n < 0 ? -errno : 0;
}

static int patch(struct oriel_session *s, const char *path, off_t off)
{
	struct oriel_file *f;
	int r = oriel_open(s, path, O_RDWR, 0, &f);
	int closed;

	if (r < 0)
		return fail(s, path, r);
	r = copy_stdin(f, off);
	if (r == 0)
		r = oriel_fsync(f);
	if (r < 0)
		fail(s, path, r);
	/* Here, too, the daemon may say that earlier writes are lost. */
	closed = oriel_close(f);
	if (r == 0 && closed < 0)
		return fail(s, path, closed);
	return r;
}

int main(int argc, char **argv)
{
	struct oriel_info info = { .size = sizeof(info) };
	struct oriel_session *s;
	int r;

	if (argc != 4) {
		fputs("Usage: patch SHARE PATH OFFSET < BYTES\n", stderr);
		return 2;
	}
	r = oriel_connect(argv[1], NULL, &s);
	if (r < 0)
		return fail(NULL, argv[1], 1);
	r = patch(s, argv[2], (off_t)strtoll(argv[3], NULL, 0));
	if (r == 0 && oriel_info(s, &info) == 0)
		printf("%" PRIu64 " bytes through the window, %" PRIu64
		       " by message\n",
		       info.window_write_bytes, info.message_write_bytes);
	oriel_disconnect(s);
	return r < 0;
}
