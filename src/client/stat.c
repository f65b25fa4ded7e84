/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes in the public API: stat, setattr and its shorthands, statfs. */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define SET_ALL                                                        \
	(ORIEL_SET_MODE | ORIEL_SET_UID | ORIEL_SET_GID | ORIEL_SET_SIZE | \
	 ORIEL_SET_ATIME | ORIEL_SET_MTIME)

static unsigned walk_flags(unsigned flags)
{
	return flags & ORIEL_NOFOLLOW ? CLIENT_WALK_NOFOLLOW : 0;
}

/* All that was written here is written, and its time known to the daemon; 1 if
 * there was such a time. */
static int settle(struct client_inode *ino, uint64_t fh)
{
	int err = client_append_settle(ino);

	if (err || !atomic_load_explicit(&ino->mtime_owed,
					 memory_order_relaxed))
		return err;
	err = client_settle_times(ino, fh);
	return err ? err : 1;
}

/* What @w, which has just been walked, ends in. */
static int stat_walked(const struct client_walk *w, struct oriel_stat *ret)
{
	const struct fuse_attr *attr = &w->attr;
	struct fuse_attr fresh;
	int r = settle(w->ino, FUSE_WIRE_NO_FH);

	if (r < 0)
		return r;
	/* the walk's own LOOKUP brought them, unless it ended in the root or in
	 * "..", or something was changed since */
	if (r || w->version == CLIENT_VERSION_OLD ||
	    !client_attr_is_current(w->ino, w->version)) {
		r = client_getattr(w->ino, FUSE_WIRE_NO_FH, &fresh);
		if (r)
			return r;
		attr = &fresh;
	}
	client_attr_to_stat(w->ino, attr, ret);
	return 0;
}

static int stat_file(struct oriel_file *f, bool cached, struct oriel_stat *ret)
{
	uint64_t fh = f->has_fh ? f->fh : FUSE_WIRE_NO_FH;
	struct fuse_attr attr;
	int r = settle(f->ino, fh);

	if (r < 0)
		return r;
	if (r || !cached || !client_attr_cached(f->ino, &attr)) {
		r = client_getattr(f->ino, fh, &attr);
		if (r)
			return r;
	}
	client_attr_to_stat(f->ino, &attr, ret);
	return 0;
}

int oriel_stat(struct oriel_session *s, const char *path, unsigned flags,
	       struct oriel_stat *ret)
{
	uint64_t names_changed = client_names_changed(s);
	bool nofollow = flags & ORIEL_NOFOLLOW;
	struct client_walk w;
	int err;

	if (flags & ~(ORIEL_NOFOLLOW | ORIEL_FORCE_SYNC))
		return client_fail(-EINVAL, "stat %s: flags 0x%x", path, flags);
	if (s->paths && !(flags & ORIEL_FORCE_SYNC) &&
	    client_paths_stat(s, path, nofollow, ret))
		return 0;
	err = client_walk(s, path, walk_flags(flags), &w);
	if (!err) {
		err = stat_walked(&w, ret);
		if (!err && s->paths)
			client_paths_learn(w.ino, path, nofollow,
					   names_changed);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "stat %s", path) : 0;
}

int oriel_fstat(struct oriel_file *f, unsigned flags, struct oriel_stat *ret)
{
	int err;

	if (flags & ~ORIEL_FORCE_SYNC)
		return client_fail(-EINVAL, "stat %s: flags 0x%x", f->path,
				   flags);
	err = stat_file(f, !(flags & ORIEL_FORCE_SYNC), ret);
	return err ? client_fail(err, "stat %s", f->path) : 0;
}

/* One time into its two fields of the request; @set, @set_now are its bits. */
static int time_to_wire(const struct timespec *ts, uint32_t set,
			uint32_t set_now, uint64_t *ret_s, uint32_t *ret_ns)
{
	if (ts->tv_nsec == UTIME_NOW)
		return (int)(set | set_now);
	if (ts->tv_nsec < 0 || ts->tv_nsec > 999999999)
		return -EINVAL;
	*ret_s = (uint64_t)ts->tv_sec;
	*ret_ns = (uint32_t)ts->tv_nsec;
	return (int)set;
}

static int set_to_wire(const struct oriel_setattr *set,
		       struct fuse_setattr_in *in)
{
	int bits;

	memset(in, 0, sizeof(*in));
	if (set->mask & ~SET_ALL)
		return -EINVAL;
	if (set->mask & ORIEL_SET_MODE) {
		in->valid |= FATTR_MODE;
		in->mode = set->mode & 07777;
	}
	if (set->mask & ORIEL_SET_UID) {
		in->valid |= FATTR_UID;
		in->uid = set->uid;
	}
	if (set->mask & ORIEL_SET_GID) {
		in->valid |= FATTR_GID;
		in->gid = set->gid;
	}
	if (set->mask & ORIEL_SET_SIZE) {
		if (set->size > INT64_MAX)
			return -EINVAL;
		in->valid |= FATTR_SIZE;
		in->size = set->size;
	}
	if (set->mask & ORIEL_SET_ATIME) {
		bits = time_to_wire(&set->atime, FATTR_ATIME, FATTR_ATIME_NOW,
				    &in->atime, &in->atimensec);
		if (bits < 0)
			return bits;
		in->valid |= (uint32_t)bits;
	}
	if (set->mask & ORIEL_SET_MTIME) {
		bits = time_to_wire(&set->mtime, FATTR_MTIME, FATTR_MTIME_NOW,
				    &in->mtime, &in->mtimensec);
		if (bits < 0)
			return bits;
		in->valid |= (uint32_t)bits;
	}
	return 0;
}

/* A size change is ordered with writes by the inode's lock (row B6). */
static int setattr_inode(struct client_inode *ino, uint64_t fh,
			 const struct oriel_setattr *set)
{
	struct fuse_setattr_in in;
	struct fuse_attr attr;
	int err = set_to_wire(set, &in);

	if (err || !set->mask)
		return err;
	if (fh != FUSE_WIRE_NO_FH) {
		in.valid |= FATTR_FH;
		in.fh = fh;
	}
	if (!(in.valid & FATTR_SIZE)) {
		/* a time set now must not be undone by what came before */
		err = client_append_settle(ino);
		return err ? err : client_do_setattr(ino, &in, &attr);
	}
	if (S_ISDIR(ino->type))
		return -EISDIR;
	if (!S_ISREG(ino->type))
		return -EINVAL;
	err = client_inode_lock(ino);
	if (err)
		return err;
	client_append_flush(ino);
	/* readers stop at the new end before the old pages go */
	if (in.size < atomic_load(&ino->size))
		client_size_set(ino, in.size);
	err = client_do_setattr(ino, &in, &attr);
	if (err) {
		/* it may be as it was: ask */
		if (client_getattr(ino, fh, &attr))
			client_attr_invalidate(ino);
	} else {
		client_size_set(ino, attr.size);
	}
	client_inode_unlock(ino);
	return err;
}

int oriel_setattr(struct oriel_session *s, const char *path, unsigned flags,
		  const struct oriel_setattr *set)
{
	struct client_walk w;
	int err;

	if (flags & ~ORIEL_NOFOLLOW)
		return client_fail(-EINVAL, "setattr %s: flags 0x%x", path,
				   flags);
	err = client_walk(s, path, walk_flags(flags), &w);
	if (!err) {
		err = setattr_inode(w.ino, FUSE_WIRE_NO_FH, set);
		client_walk_done(&w);
	}
	return err ? client_fail(err, "change attributes of %s", path) : 0;
}

int oriel_fsetattr(struct oriel_file *f, const struct oriel_setattr *set)
{
	/* a handle that may not write cannot authorise the change */
	bool writable = (f->flags & O_ACCMODE) != O_RDONLY && f->has_fh;
	int err = setattr_inode(f->ino, writable ? f->fh : FUSE_WIRE_NO_FH,
				set);

	return err ? client_fail(err, "change attributes of %s", f->path) : 0;
}

int oriel_truncate(struct oriel_session *s, const char *path, off_t size)
{
	struct oriel_setattr set = { .mask = ORIEL_SET_SIZE,
				     .size = (uint64_t)size };

	return oriel_setattr(s, path, 0, &set);
}

int oriel_chmod(struct oriel_session *s, const char *path, mode_t mode)
{
	struct oriel_setattr set = { .mask = ORIEL_SET_MODE, .mode = mode };

	return oriel_setattr(s, path, 0, &set);
}

int oriel_chown(struct oriel_session *s, const char *path, uid_t uid, gid_t gid,
		unsigned flags)
{
	struct oriel_setattr set = { .uid = uid, .gid = gid };

	if (uid != (uid_t)-1)
		set.mask |= ORIEL_SET_UID;
	if (gid != (gid_t)-1)
		set.mask |= ORIEL_SET_GID;
	return oriel_setattr(s, path, flags, &set);
}

int oriel_utimens(struct oriel_session *s, const char *path,
		  const struct timespec times[2], unsigned flags)
{
	struct oriel_setattr set = { 0 };

	if (times[0].tv_nsec != UTIME_OMIT) {
		set.mask |= ORIEL_SET_ATIME;
		set.atime = times[0];
	}
	if (times[1].tv_nsec != UTIME_OMIT) {
		set.mask |= ORIEL_SET_MTIME;
		set.mtime = times[1];
	}
	return oriel_setattr(s, path, flags, &set);
}

int oriel_statfs(struct oriel_session *s, const char *path, struct statvfs *ret)
{
	struct fuse_statfs_out out;
	struct client_walk w;
	struct client_call c = {
		.opcode = FUSE_STATFS,
		.out = &out,
		.out_len = sizeof(out),
	};
	int err = client_walk(s, path, 0, &w);

	if (!err) {
		c.nodeid = w.ino->nodeid;
		err = client_call(s, &c);
		client_walk_done(&w);
	}
	if (err)
		return client_fail(err, "statfs %s", path);
	memset(ret, 0, sizeof(*ret));
	ret->f_bsize = out.st.bsize;
	ret->f_frsize = out.st.frsize ? out.st.frsize : out.st.bsize;
	ret->f_blocks = out.st.blocks;
	ret->f_bfree = out.st.bfree;
	ret->f_bavail = out.st.bavail;
	ret->f_files = out.st.files;
	ret->f_ffree = out.st.ffree;
	ret->f_favail = out.st.ffree;
	ret->f_namemax = out.st.namelen;
	return 0;
}
