/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data of one file. Only what SEEK_DATA finds is copied when the file has
 * holes; within one session the daemon copies by itself where it can.
 */
#include "copy.h"

#include <errno.h>
#include <unistd.h>

/* One step of the copy, not past @end. */
struct extent {
	struct vfs_file *in;
	struct vfs_file *out;
	off_t off;
	off_t end;
	bool by_daemon; /* copy_file_range has not been refused yet */
};

static size_t extent_step(const struct extent *e, size_t most)
{
	uint64_t left = (uint64_t)(e->end - e->off);

	return left < most ? (size_t)left : most;
}

/* Returns bytes, 0 at the end of the file, or -errno; refusals of the daemon
 * are remembered and answered with -EOPNOTSUPP. */
static ssize_t step_by_daemon(struct extent *e)
{
	ssize_t n;

	if (!e->by_daemon)
		return -EOPNOTSUPP;
	n = oriel_copy_file_range(e->in->file, e->off, e->out->file, e->off,
				  extent_step(e, (size_t)64 << 20));
	if (n == -ENOSYS || n == -EXDEV || n == -EINVAL || n == -EBADF ||
	    n == -EOPNOTSUPP) {
		e->by_daemon = false;
		return -EOPNOTSUPP;
	}
	return n;
}

static ssize_t step_by_buffer(struct copy_job *j, struct extent *e)
{
	ssize_t n = vfs_pread(e->in, j->buf, extent_step(e, COPY_BUF_BYTES),
			      e->off);

	for (ssize_t done = 0; done < n;) {
		ssize_t w = vfs_pwrite(e->out, j->buf + done,
				       (size_t)(n - done), e->off + done);

		if (w <= 0)
			return w < 0 ? w : -EIO;
		done += w;
	}
	return n;
}

/* Copy up to @e->end or the end of the file. */
static int copy_extent(struct copy_job *j, struct extent *e)
{
	while (e->off < e->end) {
		ssize_t n = step_by_daemon(e);

		if (n == -EOPNOTSUPP)
			n = step_by_buffer(j, e);
		if (n <= 0)
			return (int)n;
		e->off += n;
		progress_bytes(&j->progress, (uint64_t)n);
		if (cli_signal())
			return -EINTR;
	}
	return 0;
}

/* Set the next data range. 1: there is one, 0: only a hole is left. */
static int next_data(struct copy_job *j, struct extent *e, bool *sparse)
{
	off_t data, hole;

	if (!*sparse)
		return 1;
	data = vfs_seek(e->in, e->off, SEEK_DATA);
	if (data == -ENXIO)
		return 0;
	if (data < 0) { /* cannot tell: all of it is data */
		*sparse = false;
		e->end = INT64_MAX;
		return 1;
	}
	hole = vfs_seek(e->in, data, SEEK_HOLE);
	progress_bytes(&j->progress, (uint64_t)(data - e->off));
	e->off = data;
	e->end = hole > data ? hole : INT64_MAX;
	return 1;
}

/* A hole at the end has no byte that would give the file its size. */
static int extend_to_end(struct copy_job *j, struct extent *e)
{
	off_t size = vfs_seek(e->in, 0, SEEK_END);

	if (size <= e->off)
		return size < 0 ? (int)size : 0;
	progress_bytes(&j->progress, (uint64_t)(size - e->off));
	return vfs_ftruncate(e->out, size);
}

int copy_data(struct copy_job *j, struct vfs_file *in, struct vfs_file *out)
{
	struct extent e = {
		.in = in, .out = out, .end = INT64_MAX,
		.by_daemon = in->where && in->where == out->where,
	};
	struct oriel_stat st;
	bool sparse;
	off_t before;
	int r = vfs_fstat(in, &st);

	if (r < 0)
		return r;
	sparse = st.blocks < st.size / 512;
	do {
		r = next_data(j, &e, &sparse);
		if (r <= 0)
			break;
		before = e.off;
		r = copy_extent(j, &e);
		/* Short of the range: the end of the file. */
	} while (r >= 0 && e.off == e.end && e.off > before);
	if (r >= 0 && sparse)
		r = extend_to_end(j, &e);
	return r;
}
