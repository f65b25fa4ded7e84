/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attributes of copies, and telling whether two files are one.
 */
#include "copy.h"

#include <errno.h>
#include <sys/stat.h>

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/*
 * Device numbers do not cross the wire, so inode and change time decide: two
 * files of this machine with the same inode number (on two file systems) would
 * have to have changed in the same nanosecond, and to be as long.
 */
bool copy_same_file(const struct oriel_stat *a, const struct oriel_stat *b)
{
	return a->ino == b->ino && a->size == b->size &&
	       (a->mode & S_IFMT) == (b->mode & S_IFMT) &&
	       same_time(&a->ctime, &b->ctime) &&
	       same_time(&a->mtime, &b->mtime);
}

static struct oriel_setattr preserved(const struct oriel_stat *st)
{
	struct oriel_setattr set = {
		.mask = ORIEL_SET_MODE | ORIEL_SET_UID | ORIEL_SET_GID |
			ORIEL_SET_ATIME | ORIEL_SET_MTIME,
		.mode = st->mode & 07777,
		.uid = st->uid,
		.gid = st->gid,
		.atime = st->atime,
		.mtime = st->mtime,
	};

	if (S_ISLNK(st->mode)) /* has no permissions of its own */
		set.mask &= ~ORIEL_SET_MODE;
	return set;
}

/* Set the owner first; when that is refused, the set-id bits would be those of
 * somebody else. */
static int preserve(const struct copy_job *j, const char *dst,
		    const struct oriel_stat *st)
{
	struct oriel_setattr set = preserved(st);
	struct oriel_setattr owner = set;
	int r;

	owner.mask = ORIEL_SET_UID | ORIEL_SET_GID;
	set.mask &= ~owner.mask;
	r = vfs_setattr(j->dst.s, dst, &owner);
	if (r == -EPERM || r == -EINVAL)
		set.mode &= ~(mode_t)(S_ISUID | S_ISGID);
	else if (r < 0)
		return r;
	return vfs_setattr(j->dst.s, dst, &set);
}

int copy_attr(const struct copy_job *j, const char *dst,
	      const struct oriel_stat *st, bool made)
{
	struct oriel_setattr set = {
		.mask = ORIEL_SET_MODE,
		.mode = st->mode & 0777 & ~j->umask,
	};

	if (j->o->preserve)
		return preserve(j, dst, st);
	/* A directory was made with more rights, to be filled. */
	if (made && S_ISDIR(st->mode) && (set.mode | 0700) != set.mode)
		return vfs_setattr(j->dst.s, dst, &set);
	return 0;
}
