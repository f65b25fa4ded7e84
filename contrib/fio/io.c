/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One transfer: what the window has is copied and done when queue() returns;
 * everything else waits for the daemon.
 */
#include "oriel.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

/* What the call returned: bytes, or -errno. */
static ssize_t transfer(struct oriel_file *f, const struct io_u *io_u)
{
	switch (io_u->ddir) {
	case DDIR_READ:
		return oriel_pread(f, io_u->xfer_buf, io_u->xfer_buflen,
				   (off_t)io_u->offset);
	case DDIR_WRITE:
		return oriel_pwrite(f, io_u->xfer_buf, io_u->xfer_buflen,
				    (off_t)io_u->offset);
	case DDIR_TRIM:
		return oriel_fallocate(f, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE,
				       (off_t)io_u->offset,
				       (off_t)io_u->xfer_buflen);
	case DDIR_SYNC:
		return oriel_fsync(f);
	case DDIR_DATASYNC:
	case DDIR_SYNC_FILE_RANGE:
		return oriel_fdatasync(f);
	default:
		return -EINVAL;
	}
}

enum fio_q_status io_queue(struct thread_data *td, struct io_u *io_u)
{
	ssize_t n = transfer(FILE_ENG_DATA(io_u->file), io_u);

	if (n < 0) {
		io_u->error = (unsigned int)-n;
		td_verror(td, (int)-n, "oriel");
	} else if (io_u->ddir == DDIR_READ || io_u->ddir == DDIR_WRITE) {
		io_u->resid = io_u->xfer_buflen - (unsigned long long)n;
	}
	return FIO_Q_COMPLETED;
}

/* The sentence belongs to the thread's last call, which is the one that
 * failed. fio frees it. */
char *io_errdetails(struct io_u *io_u)
{
	struct oriel_file *f = FILE_ENG_DATA(io_u->file);
	const char *why = f ? oriel_session_error(oriel_file_session(f)) : "";
	char *text;

	if (!*why)
		why = oriel_strerror((int)io_u->error);
	if (asprintf(&text, "oriel: %s: %s", io_u->file->file_name, why) < 0)
		return strdup("oriel: out of memory");
	return text;
}
