/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * async SHARE PATH
 *
 * Count the lines of a file with many reads under way at a time, from one
 * thread: keep a queue full, take what is complete, refill. Build it outside
 * the tree with
 *
 *   cc async.c $(pkg-config --cflags --libs oriel)
 */
#include <fcntl.h>
#include <inttypes.h>
#include <oriel/oriel.h>
#include <stdio.h>
#include <string.h>

#define DEPTH 32u
#define PIECE 65536u

static char bufs[DEPTH][PIECE];

static uint64_t count_lines(const char *p, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += p[i] == '\n';
	return n;
}

/* Have piece @off read into buffer @i. */
static int ask(struct oriel_queue *q, struct oriel_file *f, unsigned i,
	       uint64_t off)
{
	const struct oriel_request r = {
		.op = ORIEL_OP_READ,
		.file = f,
		.buf = bufs[i],
		.len = PIECE,
		.off = (int64_t)off,
		.user_data = i,
	};

	return oriel_queue_prepare(q, &r);
}

static int count(struct oriel_queue *q, struct oriel_file *f, uint64_t size,
		 uint64_t *ret_lines)
{
	struct oriel_completion c[DEPTH];
	uint64_t next = 0, lines = 0;
	int err = 0, n;

	for (unsigned i = 0; i < DEPTH && next < size && !err; i++) {
		err = ask(q, f, i, next);
		next += PIECE;
	}
	oriel_queue_submit(q);
	while (!err && oriel_queue_pending(q) > 0) {
		n = oriel_queue_wait(q, c, DEPTH, 1, -1);
		for (int k = 0; k < n && !err; k++) {
			unsigned i = (unsigned)c[k].user_data;

			if (c[k].result < 0) {
				err = (int)c[k].result;
				break;
			}
			lines += count_lines(bufs[i], (size_t)c[k].result);
			if (next < size) {
				err = ask(q, f, i, next);
				next += PIECE;
			}
		}
		oriel_queue_submit(q);
	}
	*ret_lines = lines;
	return err;
}

static int run(struct oriel_session *s, const char *path)
{
	struct oriel_stat st;
	struct oriel_queue *q = NULL;
	struct oriel_file *f = NULL;
	uint64_t lines = 0;
	int err;

	err = oriel_open(s, path, O_RDONLY, 0, &f);
	if (!err)
		err = oriel_fstat(f, 0, &st);
	if (!err)
		err = oriel_queue_new(s, DEPTH, 0, &q);
	if (!err)
		err = count(q, f, st.size, &lines);
	oriel_queue_free(q);
	oriel_close(f);
	if (!err)
		printf("%" PRIu64 " %s\n", lines, path);
	return err;
}

int main(int argc, char **argv)
{
	struct oriel_session *s;
	int err;

	if (argc != 3) {
		fputs("Usage: async SHARE PATH\n", stderr);
		return 2;
	}
	if (oriel_connect(argv[1], NULL, &s) < 0) {
		fprintf(stderr, "async: %s\n", oriel_connect_error());
		return 1;
	}
	err = run(s, argv[2]);
	if (err)
		fprintf(stderr, "async: %s: %s\n", argv[2],
			oriel_strerror(err));
	oriel_disconnect(s);
	return err != 0;
}
