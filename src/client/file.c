/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files: opening, closing, size, space, and durability. */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/epoch.h"
#include "base/log.h"
#include "dax/guard.h"

#define OPEN_FLAGS                                                           \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY |   \
	 O_NOFOLLOW | O_SYNC | O_DSYNC | O_NOATIME | O_CLOEXEC | O_NOCTTY |  \
	 O_NONBLOCK | O_LARGEFILE)
/* What the daemon gets to see: the rest is settled here. */
#define WIRE_FLAGS (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME)

/* -------------------------------------------------------------- opening */

static int send_open(struct oriel_file *f, uint32_t opcode, int flags)
{
	struct fuse_open_in in = { .flags = (uint32_t)flags };
	struct fuse_open_out out;
	struct client_call c = {
		.opcode = opcode,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
	};
	bool may_skip = f->s->fuse_flags & (opcode == FUSE_OPENDIR ?
						    FUSE_NO_OPENDIR_SUPPORT :
						    FUSE_NO_OPEN_SUPPORT);
	int err = client_call(f->s, &c);

	if (err == -ENOSYS && may_skip)
		return 0; /* this daemon needs no handles */
	if (err)
		return err;
	f->fh = out.fh;
	f->has_fh = true;
	f->no_flush = out.open_flags & FOPEN_NOFLUSH;
	return 0;
}

/* An existing inode. */
static int open_inode(struct oriel_file *f)
{
	struct client_inode *ino = f->ino;
	int flags = f->flags & WIRE_FLAGS;
	bool trunc = (f->flags & O_TRUNC) &&
		     (f->flags & O_ACCMODE) != O_RDONLY;
	struct fuse_attr attr;
	int err;

	if (S_ISLNK(ino->type))
		return -ELOOP; /* O_NOFOLLOW met a link */
	if (S_ISDIR(ino->type)) {
		if ((f->flags & O_ACCMODE) != O_RDONLY)
			return -EISDIR;
		return send_open(f, FUSE_OPENDIR, flags);
	}
	if (f->flags & O_DIRECTORY)
		return -ENOTDIR;
	if (!S_ISREG(ino->type))
		return -ENXIO;
	if (!trunc)
		return send_open(f, FUSE_OPEN, flags);
	err = client_inode_lock(ino);
	if (err)
		return err;
	client_append_flush(ino);
	if (f->s->fuse_flags & FUSE_ATOMIC_O_TRUNC) {
		err = send_open(f, FUSE_OPEN, flags | O_TRUNC);
		if (!err)
			client_size_set(ino, 0);
	} else {
		struct fuse_setattr_in in = { .valid = FATTR_SIZE };

		err = client_do_setattr(ino, &in, &attr);
		if (!err)
			err = send_open(f, FUSE_OPEN, flags);
	}
	client_inode_unlock(ino);
	return err;
}

static void send_release(struct oriel_file *f)
{
	uint32_t opcode;

	if (!f->has_fh)
		return;
	f->has_fh = false;
	opcode = S_ISDIR(f->ino->type) ? FUSE_RELEASEDIR : FUSE_RELEASE;
	/* who was writing may be waited for, by a lease or an execve(2) */
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		client_release_later(f->s, opcode, f->ino->nodeid, f->fh);
	else
		client_release(f->s, opcode, f->ino->nodeid, f->fh);
}

/* CREATE in @dir; on success f->ino and the handle are set. */
static int create(struct oriel_file *f, struct client_inode *dir,
		  const char *name, mode_t mode)
{
	struct fuse_create_in in = {
		.flags = (uint32_t)(f->flags & (WIRE_FLAGS | O_CREAT | O_EXCL |
						O_TRUNC)),
		.mode = S_IFREG | (mode & 07777u),
	};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	uint64_t version = client_version(f->s);
	struct client_call c = {
		.opcode = FUSE_CREATE,
		.nodeid = dir->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.names = { name },
		.out = &out,
		.out_len = sizeof(out),
	};
	int err = client_call(f->s, &c);

	if (err)
		return err;
	client_attr_invalidate(dir);
	if (!S_ISREG(out.entry.attr.mode)) {
		client_die(f->s, -EPROTO);
		return -EPROTO;
	}
	err = client_inode_get(f->s, &out.entry, version, &f->ino);
	if (err) {
		client_release(f->s, FUSE_RELEASE, out.entry.nodeid,
			       out.open.fh);
		return err;
	}
	f->fh = out.open.fh;
	f->has_fh = true;
	f->no_flush = out.open.open_flags & FOPEN_NOFLUSH;
	/* it may have been there, and larger, when the reply lost a race */
	if (f->flags & O_TRUNC)
		client_size_set(f->ino, 0);
	return 0;
}

static void file_free(struct oriel_file *f)
{
	client_inode_put(f->ino);
	free(f->path);
	free(f);
}

static int file_new(struct oriel_session *s, const char *path, int flags,
		    struct oriel_file **ret)
{
	struct oriel_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->path = strdup(path);
	if (!f->path) {
		free(f);
		return -ENOMEM;
	}
	f->s = s;
	f->flags = flags;
	list_init(&f->node);
	*ret = f;
	return 0;
}

static int open_walked(struct oriel_file *f, struct client_walk *w,
		       const struct client_walk_open *opened, mode_t mode)
{
	if (!w->ino) {
		if (!(f->flags & O_CREAT))
			return -ENOENT;
		if (w->must_be_dir || (f->flags & O_DIRECTORY))
			return -EISDIR;
		return create(f, w->dir, w->name, mode);
	}
	if ((f->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if ((f->flags & O_CREAT) && S_ISDIR(w->ino->type))
		return -EISDIR;
	f->ino = w->ino;
	client_inode_ref(f->ino);
	if (!opened->tried)
		return open_inode(f);
	f->fh = opened->fh;
	f->has_fh = opened->has_fh;
	f->no_flush = opened->fopen_flags & FOPEN_NOFLUSH;
	return opened->err;
}

/* May a walk open what it finds, whatever that is? */
static bool may_open_on_the_way(int flags)
{
	if (flags & O_DIRECTORY) /* the only thing that it can be good for */
		return !(flags & (O_TRUNC | O_CREAT | O_ACCMODE));
	return !(flags & (O_TRUNC | O_EXCL));
}

static int open_path(struct oriel_file *f, const char *path, mode_t mode)
{
	bool nofollow = (f->flags & O_NOFOLLOW) ||
			(f->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	struct client_walk_open opened = {
		.flags = f->flags & (WIRE_FLAGS | O_DIRECTORY),
	};
	struct client_walk w;
	int err = client_walk_create(
		f->s, path, nofollow ? CLIENT_WALK_NOFOLLOW : 0,
		may_open_on_the_way(f->flags) ? &opened : NULL, &w);

	if (err) {
		if (opened.has_fh)
			client_release(f->s, f->flags & O_DIRECTORY ?
						     FUSE_RELEASEDIR :
						     FUSE_RELEASE,
				       FUSE_ROOT_ID, opened.fh);
		return err;
	}
	err = open_walked(f, &w, &opened, mode);
	client_walk_done(&w);
	return err;
}

int oriel_open(struct oriel_session *s, const char *path, int flags,
	       mode_t mode, struct oriel_file **ret)
{
	struct oriel_file *f;
	int err;

	if ((flags & ~OPEN_FLAGS) || (flags & O_ACCMODE) == O_ACCMODE)
		return client_fail(-EINVAL, "open %s: flags 0x%x", path, flags);
	err = file_new(s, path, flags, &f);
	if (err)
		return client_fail(err, "open %s", path);
	err = open_path(f, path, mode);
	if (err) {
		send_release(f);
		file_free(f);
		return client_fail(err, "open %s", path);
	}
	/* An application that took our handlers away since the last set-up of a
	 * range would get the faults of this file's copies. A failure leaves
	 * things as they were. */
	if (f->ino->dax.window && guard_install())
		log_warn("cannot put the SIGBUS handler back");
	pthread_mutex_lock(&s->table_lock);
	list_add_tail(&s->files, &f->node);
	s->n_files++;
	pthread_mutex_unlock(&s->table_lock);
	*ret = f;
	return 0;
}

static int flush(struct oriel_file *f)
{
	struct fuse_flush_in in = { .fh = f->fh };
	struct client_call c = {
		.opcode = FUSE_FLUSH,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
	};
	int err, flush_err = 0;

	if (!S_ISREG(f->ino->type) || (f->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	err = client_settle_times(f->ino, f->has_fh ? f->fh : FUSE_WIRE_NO_FH);
	/* whatever became of that: the daemon has errors of its own to tell */
	if (f->has_fh && !f->no_flush)
		flush_err = client_call(f->s, &c);
	return flush_err && flush_err != -ENOSYS ? flush_err : err;
}

int oriel_close(struct oriel_file *f)
{
	int append_err, err;

	if (!f)
		return 0;
	if (epoch_is_inside())
		return client_fail(-EDEADLK, "close %s: this thread has "
				   "borrowed: oriel_return() first", f->path);
	client_append_close(f);
	append_err = client_append_error(f);
	err = flush(f);
	send_release(f);
	/* where nothing was flushed, it is the first to hear of it */
	if (!err && (f->flags & O_ACCMODE) != O_RDONLY)
		err = client_is_dead(f->s);
	if (append_err)
		err = append_err;
	if (err)
		client_fail(err, "close %s", f->path);
	pthread_mutex_lock(&f->s->table_lock);
	list_del(&f->node);
	f->s->n_files--;
	pthread_mutex_unlock(&f->s->table_lock);
	file_free(f);
	return err;
}

struct oriel_session *oriel_file_session(const struct oriel_file *f)
{
	return f->s;
}

/* ----------------------------------------------------------- durability */

static int do_fsync(struct oriel_file *f, uint32_t fsync_flags)
{
	bool dir = S_ISDIR(f->ino->type);
	struct fuse_fsync_in in = { .fh = f->fh, .fsync_flags = fsync_flags };
	struct client_call c = {
		.opcode = dir ? FUSE_FSYNCDIR : FUSE_FSYNC,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
	};
	int settle_err = client_append_settle(f->ino), append_err, err;

	append_err = client_append_error(f);
	if (!settle_err)
		settle_err = append_err;
	if (!settle_err && !fsync_flags && (f->flags & O_ACCMODE) != O_RDONLY)
		settle_err = client_settle_times(
			f->ino, f->has_fh ? f->fh : FUSE_WIRE_NO_FH);
	/* the data is worth more than its time: not skipped for that */
	err = client_call(f->s, &c);
	if (err == -ENOSYS)
		err = 0;
	if (!err)
		err = settle_err;
	return err ? client_fail(err, "fsync %s", f->path) : 0;
}

int oriel_fsync(struct oriel_file *f)
{
	return do_fsync(f, 0);
}

int oriel_fdatasync(struct oriel_file *f)
{
	return do_fsync(f, FUSE_FSYNC_FDATASYNC);
}

int oriel_sync(struct oriel_session *s)
{
	struct fuse_syncfs_in in = { 0 };
	struct client_call c = {
		.opcode = FUSE_SYNCFS,
		.nodeid = FUSE_ROOT_ID,
		.arg = &in,
		.arg_len = sizeof(in),
	};
	int append_err = client_append_settle_all(s);
	int times_err = client_settle_all(s);
	int err = client_call(s, &c);

	if (err == -ENOSYS)
		return client_fail(err, "sync: the daemon has no SYNCFS; use "
					"fsync on each file");
	if (!err)
		err = append_err ? append_err : times_err;
	return err ? client_fail(err, "sync") : 0;
}

/* ------------------------------------------------------- size and space */

int oriel_ftruncate(struct oriel_file *f, off_t size)
{
	struct oriel_setattr set = { .mask = ORIEL_SET_SIZE,
				     .size = (uint64_t)size };

	if (size < 0)
		return client_fail(-EINVAL, "truncate %s to %lld", f->path,
				   (long long)size);
	if ((f->flags & O_ACCMODE) == O_RDONLY)
		return client_fail(-EBADF, "truncate %s: not open for writing",
				   f->path);
	return oriel_fsetattr(f, &set);
}

int oriel_fallocate(struct oriel_file *f, int mode, off_t off, off_t len)
{
	struct fuse_fallocate_in in = {
		.fh = f->fh,
		.offset = (uint64_t)off,
		.length = (uint64_t)len,
		.mode = (uint32_t)mode,
	};
	struct client_call c = {
		.opcode = FUSE_FALLOCATE,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
	};
	struct fuse_attr attr;
	int err;

	if (off < 0 || len <= 0 ||
	    !range_fits((uint64_t)off, (uint64_t)len, INT64_MAX))
		err = -EINVAL;
	else if ((f->flags & O_ACCMODE) == O_RDONLY)
		err = -EBADF;
	else
		err = client_inode_lock(f->ino);
	if (!err) {
		client_append_flush(f->ino);
		err = client_call(f->s, &c);
		client_attr_invalidate(f->ino);
		dax_inode_invalidate(&f->ino->dax, (uint64_t)off,
				     (uint64_t)len);
		if (!err && !(mode & FALLOC_FL_KEEP_SIZE))
			err = client_getattr(f->ino, f->fh, &attr);
		client_inode_unlock(f->ino);
		if (err == -ENOSYS)
			err = -EOPNOTSUPP;
	}
	if (err)
		client_fail(err, "fallocate %s, mode 0x%x, %lld bytes at %lld",
			    f->path, mode, (long long)len, (long long)off);
	return err;
}

static int seek_data(struct oriel_file *f, off_t off, int whence,
		     uint64_t *ret)
{
	struct fuse_lseek_in in = { .fh = f->fh,
				    .offset = (uint64_t)off,
				    .whence = (uint32_t)whence };
	struct fuse_lseek_out out;
	struct client_call c = {
		.opcode = FUSE_LSEEK,
		.nodeid = f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
	};
	struct fuse_attr attr;
	int err = client_call(f->s, &c);

	if (!err && out.offset <= INT64_MAX) {
		*ret = out.offset;
		return 0;
	}
	if (err != -ENOSYS)
		return err ? err : -EPROTO;
	/* no LSEEK: the whole file is data */
	err = client_getattr(f->ino, f->fh, &attr);
	if (err)
		return err;
	if ((uint64_t)off >= attr.size)
		return -ENXIO;
	*ret = whence == SEEK_DATA ? (uint64_t)off : attr.size;
	return 0;
}

off_t oriel_lseek(struct oriel_file *f, off_t off, int whence)
{
	struct fuse_attr attr;
	uint64_t pos = 0;
	int err = client_append_settle(f->ino);

	if (err)
		return client_fail(err, "seek in %s", f->path);
	switch (whence) {
	case SEEK_DATA:
	case SEEK_HOLE:
		err = off < 0 ? -ENXIO : seek_data(f, off, whence, &pos);
		break;
	case SEEK_END:
		err = client_getattr(f->ino, f->fh, &attr);
		if (err)
			break;
		if ((off < 0 && attr.size < -(uint64_t)off) ||
		    (off > 0 && (uint64_t)off > INT64_MAX - attr.size))
			err = -EINVAL;
		pos = attr.size + (uint64_t)off;
		break;
	default:
		err = -EINVAL;
	}
	if (err)
		return client_fail(err, "seek in %s from %lld", f->path,
				   (long long)off);
	return (off_t)pos;
}

static ssize_t send_copy(struct oriel_file *in_f, uint64_t off_in,
			 struct oriel_file *out_f, uint64_t off_out,
			 size_t len)
{
	struct fuse_copy_file_range_in in = {
		.fh_in = in_f->fh,
		.off_in = off_in,
		.nodeid_out = out_f->ino->nodeid,
		.fh_out = out_f->fh,
		.off_out = off_out,
		.len = min_u64(len, 0x7ffff000),
	};
	struct fuse_write_out out;
	struct client_call c = {
		.opcode = FUSE_COPY_FILE_RANGE,
		.nodeid = in_f->ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
	};
	int err;

	err = client_append_settle(in_f->ino);
	if (!err)
		err = client_inode_lock(out_f->ino);
	if (err)
		return err;
	client_append_flush(out_f->ino);
	err = client_call(in_f->s, &c);
	if (!err && out.size > in.len) {
		client_die(in_f->s, -EPROTO);
		err = -EPROTO;
	}
	if (!err && out.size)
		client_size_raise(out_f->ino, off_out + out.size);
	client_inode_unlock(out_f->ino);
	return err ? err : (ssize_t)out.size;
}

ssize_t oriel_copy_file_range(struct oriel_file *in, off_t off_in,
			      struct oriel_file *out, off_t off_out, size_t len)
{
	ssize_t n;

	if (in->s != out->s)
		n = -EXDEV;
	else if (off_in < 0 || off_out < 0 ||
		 !range_fits((uint64_t)off_in, len, INT64_MAX) ||
		 !range_fits((uint64_t)off_out, len, INT64_MAX))
		n = -EINVAL;
	else if ((in->flags & O_ACCMODE) == O_WRONLY ||
		 (out->flags & O_ACCMODE) == O_RDONLY ||
		 (out->flags & O_APPEND))
		n = -EBADF;
	else
		n = send_copy(in, (uint64_t)off_in, out, (uint64_t)off_out,
			      len);
	if (n == -ENOSYS)
		n = -EOPNOTSUPP;
	if (n < 0)
		client_fail((int)n, "copy %s to %s", in->path, out->path);
	return n;
}
