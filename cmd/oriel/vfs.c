/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of a share or of this machine, by one set of calls. The local half
 * turns errno into -errno and finishes short reads and writes, as the library
 * does for its half.
 */
#include "vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int err_of(int r)
{
	return r < 0 ? -errno : r;
}

int vfs_open(struct oriel_session *w, const char *path, int flags, mode_t mode,
	     struct vfs_file *ret)
{
	struct vfs_file f = { .where = w, .fd = -1 };
	int r;

	if (w) {
		r = oriel_open(w, path, flags, mode, &f.file);
	} else {
		/* O_NONBLOCK: a FIFO that took the place of a file must not
		 * hang the copy. */
		f.fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, mode);
		r = f.fd < 0 ? -errno : 0;
	}
	if (r < 0)
		return r;
	*ret = f;
	return 0;
}

int vfs_close(struct vfs_file *f)
{
	int r = f->where ? oriel_close(f->file) : err_of(close(f->fd));

	f->file = NULL;
	f->fd = -1;
	return r;
}

static ssize_t local_pread(int fd, char *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done,
				  off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (ssize_t)done : -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t local_pwrite(int fd, const char *buf, size_t len, off_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, buf + done, len - done,
				   off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return done ? (ssize_t)done : n ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t vfs_pread(struct vfs_file *f, void *buf, size_t len, off_t off)
{
	if (f->where)
		return oriel_pread(f->file, buf, len, off);
	return local_pread(f->fd, buf, len, off);
}

ssize_t vfs_pwrite(struct vfs_file *f, const void *buf, size_t len, off_t off)
{
	if (f->where)
		return oriel_pwrite(f->file, buf, len, off);
	return local_pwrite(f->fd, buf, len, off);
}

off_t vfs_seek(struct vfs_file *f, off_t off, int whence)
{
	off_t r;

	if (f->where)
		return oriel_lseek(f->file, off, whence);
	r = lseek(f->fd, off, whence);
	return r < 0 ? -errno : r;
}

int vfs_ftruncate(struct vfs_file *f, off_t size)
{
	if (f->where)
		return oriel_ftruncate(f->file, size);
	return err_of(ftruncate(f->fd, size));
}

static void from_stat(const struct stat *st, struct oriel_stat *ret)
{
	*ret = (struct oriel_stat){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
		.blksize = (uint32_t)st->st_blksize,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

int vfs_fstat(struct vfs_file *f, struct oriel_stat *ret)
{
	struct stat st;

	if (f->where)
		return oriel_fstat(f->file, 0, ret);
	if (fstat(f->fd, &st) < 0)
		return -errno;
	from_stat(&st, ret);
	return 0;
}

int vfs_stat(struct oriel_session *w, const char *path, bool follow,
	     struct oriel_stat *ret)
{
	struct stat st;

	if (w)
		return oriel_stat(w, path, follow ? 0 : ORIEL_NOFOLLOW, ret);
	if (fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	from_stat(&st, ret);
	return 0;
}

int vfs_mkdir(struct oriel_session *w, const char *path, mode_t mode)
{
	return w ? oriel_mkdir(w, path, mode) : err_of(mkdir(path, mode));
}

int vfs_unlink(struct oriel_session *w, const char *path)
{
	return w ? oriel_unlink(w, path) : err_of(unlink(path));
}

int vfs_rmdir(struct oriel_session *w, const char *path)
{
	return w ? oriel_rmdir(w, path) : err_of(rmdir(path));
}

int vfs_symlink(struct oriel_session *w, const char *target, const char *path)
{
	return w ? oriel_symlink(w, target, path) :
		   err_of(symlink(target, path));
}

int vfs_readlink(struct oriel_session *w, const char *path, char **ret)
{
	char *buf = malloc(PATH_MAX + 1);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	if (w) {
		n = oriel_readlink(w, path, buf, PATH_MAX);
	} else {
		n = readlink(path, buf, PATH_MAX);
		n = n < 0 ? -errno : n;
	}
	if (n > PATH_MAX)
		n = -ENAMETOOLONG;
	if (n < 0) {
		free(buf);
		return (int)n;
	}
	buf[n] = 0;
	*ret = buf;
	return 0;
}

/* chown before chmod: chown clears the set-id bits. */
static int local_setattr(const char *path, const struct oriel_setattr *set)
{
	struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT },
	};
	uid_t uid = set->mask & ORIEL_SET_UID ? set->uid : (uid_t)-1;
	gid_t gid = set->mask & ORIEL_SET_GID ? set->gid : (gid_t)-1;

	if (set->mask & (ORIEL_SET_UID | ORIEL_SET_GID) &&
	    lchown(path, uid, gid) < 0)
		return -errno;
	if (set->mask & ORIEL_SET_MODE && chmod(path, set->mode) < 0)
		return -errno;
	if (set->mask & ORIEL_SET_ATIME)
		times[0] = set->atime;
	if (set->mask & ORIEL_SET_MTIME)
		times[1] = set->mtime;
	if (set->mask & (ORIEL_SET_ATIME | ORIEL_SET_MTIME))
		return err_of(utimensat(AT_FDCWD, path, times,
					AT_SYMLINK_NOFOLLOW));
	return 0;
}

int vfs_setattr(struct oriel_session *w, const char *path,
		const struct oriel_setattr *set)
{
	return w ? oriel_setattr(w, path, ORIEL_NOFOLLOW, set) :
		   local_setattr(path, set);
}
