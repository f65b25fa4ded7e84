/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attributes: what is known of an inode, until when, and how replies that race
 * with local changes are told apart.
 *
 * Every local change of an inode (a write that extends, a truncation, chmod ...)
 * takes a new number from session->version and stamps the inode with it. A
 * request remembers the session's number from before it was sent; its reply's
 * attributes are dropped if the inode was stamped later.
 */
#include "client/client.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"

uint64_t client_version(struct oriel_session *s)
{
	return atomic_load_explicit(&s->version, memory_order_acquire);
}

static uint64_t version_next(struct oriel_session *s)
{
	return atomic_fetch_add_explicit(&s->version, 1,
					 memory_order_acq_rel) + 1;
}

void client_attr_invalidate(struct client_inode *ino)
{
	pthread_mutex_lock(&ino->attr_lock);
	ino->attr_version = version_next(ino->s);
	ino->attr_until_ns = 0;
	pthread_mutex_unlock(&ino->attr_lock);
}

void client_size_raise(struct client_inode *ino, uint64_t size)
{
	pthread_mutex_lock(&ino->attr_lock);
	ino->attr_version = version_next(ino->s);
	ino->attr_until_ns = 0;
	if (atomic_load_explicit(&ino->size, memory_order_relaxed) < size)
		atomic_store_explicit(&ino->size, size, memory_order_release);
	pthread_mutex_unlock(&ino->attr_lock);
}

void client_size_seen(struct client_inode *ino, uint64_t size, uint64_t version)
{
	pthread_mutex_lock(&ino->attr_lock);
	if (ino->attr_version <= version &&
	    atomic_load_explicit(&ino->size, memory_order_relaxed) < size) {
		ino->attr_until_ns = 0;
		atomic_store_explicit(&ino->size, size, memory_order_release);
	}
	pthread_mutex_unlock(&ino->attr_lock);
}

void client_size_grown(struct client_inode *ino, uint64_t size, uint64_t version)
{
	pthread_mutex_lock(&ino->attr_lock);
	ino->attr_version = version_next(ino->s);
	ino->attr_until_ns = 0;
	if (ino->cut_version <= version &&
	    atomic_load_explicit(&ino->size, memory_order_relaxed) < size)
		atomic_store_explicit(&ino->size, size, memory_order_release);
	pthread_mutex_unlock(&ino->attr_lock);
}

/* We have cut it to @size, or made it as long, and whatever else was said of its
 * size is void. Too short is always safe: the daemon is asked about the rest. */
static void size_cut(struct client_inode *ino, uint64_t size)
{
	pthread_mutex_lock(&ino->attr_lock);
	ino->cut_version = version_next(ino->s);
	if (atomic_load_explicit(&ino->size, memory_order_relaxed) > size)
		atomic_store_explicit(&ino->size, size, memory_order_release);
	pthread_mutex_unlock(&ino->attr_lock);
}

void client_size_set(struct client_inode *ino, uint64_t size)
{
	uint64_t old;

	pthread_mutex_lock(&ino->attr_lock);
	ino->attr_version = version_next(ino->s);
	ino->cut_version = ino->attr_version;
	ino->attr_until_ns = 0;
	old = atomic_exchange_explicit(&ino->size, size, memory_order_acq_rel);
	pthread_mutex_unlock(&ino->attr_lock);
	if (size < old)
		dax_inode_invalidate(&ino->dax, size, old - size);
}

bool client_size_is(struct client_inode *ino, uint64_t size, uint64_t version)
{
	uint64_t old = size;
	bool alone;

	pthread_mutex_lock(&ino->attr_lock);
	alone = ino->attr_version <= version;
	ino->attr_version = version_next(ino->s);
	ino->attr_until_ns = 0;
	if (alone)
		old = atomic_exchange_explicit(&ino->size, size,
					       memory_order_acq_rel);
	pthread_mutex_unlock(&ino->attr_lock);
	if (size < old)
		dax_inode_invalidate(&ino->dax, size, old - size);
	return alone;
}

/* Nanoseconds from now until a lifetime ends, capped by the session's option. */
static uint64_t valid_until(struct oriel_session *s, uint64_t valid_s,
			    uint32_t valid_ns)
{
	uint64_t cap_ns = s->opts.attr_ttl_ms * NS_PER_MS;
	uint64_t ns = min_u64(valid_s, 1u << 20) * NS_PER_S +
		      min_u64(valid_ns, NS_PER_S - 1);

	ns = min_u64(ns, cap_ns);
	return ns ? clock_now_ns() + ns : 0;
}

void client_attr_apply(struct client_inode *ino, const struct fuse_attr *attr,
		       uint64_t valid_s, uint32_t valid_ns, uint64_t version)
{
	uint64_t until = valid_until(ino->s, valid_s, valid_ns);
	uint64_t old;

	pthread_mutex_lock(&ino->attr_lock);
	/* even from an old reply: a needless look costs less than a missed one */
	if (attr->mode & (S_ISUID | S_ISGID))
		atomic_store_explicit(&ino->privs_clean, false,
				      memory_order_relaxed);
	if (ino->attr_version > version) {
		pthread_mutex_unlock(&ino->attr_lock);
		return;
	}
	ino->attr = *attr;
	ino->attr_until_ns = until;
	old = atomic_exchange_explicit(&ino->size, attr->size,
				       memory_order_acq_rel);
	pthread_mutex_unlock(&ino->attr_lock);
	if (attr->size < old)
		dax_inode_invalidate(&ino->dax, attr->size, old - attr->size);
}

bool client_attr_cached(struct client_inode *ino, struct fuse_attr *ret)
{
	bool valid;

	pthread_mutex_lock(&ino->attr_lock);
	valid = ino->attr_until_ns && clock_now_ns() < ino->attr_until_ns;
	if (valid)
		*ret = ino->attr;
	pthread_mutex_unlock(&ino->attr_lock);
	return valid;
}

bool client_attr_is_current(struct client_inode *ino, uint64_t version)
{
	bool current;

	pthread_mutex_lock(&ino->attr_lock);
	current = ino->attr_version <= version;
	pthread_mutex_unlock(&ino->attr_lock);
	return current;
}

/* A reply with attributes of @ino: plausible? Then apply it. */
static int take_attr_out(struct client_inode *ino,
			 const struct fuse_attr_out *out, uint64_t version,
			 struct fuse_attr *ret)
{
	if ((out->attr.mode & S_IFMT) != ino->type) {
		/* the number names another file now */
		atomic_store(&ino->bad, true);
		return -ESTALE;
	}
	if (out->attr.size > INT64_MAX) {
		client_die(ino->s, -EPROTO);
		return -EPROTO;
	}
	client_attr_apply(ino, &out->attr, out->attr_valid,
			  out->attr_valid_nsec, version);
	*ret = out->attr;
	return 0;
}

int client_getattr(struct client_inode *ino, uint64_t fh,
		   struct fuse_attr *ret)
{
	struct fuse_getattr_in in = {
		.getattr_flags = fh == FUSE_WIRE_NO_FH ? 0 : FUSE_GETATTR_FH,
		.fh = fh == FUSE_WIRE_NO_FH ? 0 : fh,
	};
	struct fuse_attr_out out;
	uint64_t version = client_version(ino->s);
	struct client_call c = {
		.opcode = FUSE_GETATTR,
		.nodeid = ino->nodeid,
		.arg = &in,
		.arg_len = sizeof(in),
		.out = &out,
		.out_len = sizeof(out),
	};
	int err = client_call(ino->s, &c);

	if (err)
		return err;
	return take_attr_out(ino, &out, version, ret);
}

/*
 * Our change that was sent at @version is done. Whoever asked while it was under
 * way may have been told of the time before: that is void. So is our own reply,
 * if there was another change meanwhile: which came last is not known. Returns
 * the version to take the reply at.
 */
static uint64_t change_done(struct client_inode *ino, uint64_t version)
{
	bool alone;

	pthread_mutex_lock(&ino->attr_lock);
	alone = ino->attr_version <= version;
	ino->attr_version = version_next(ino->s);
	ino->attr_until_ns = 0;
	if (alone)
		version = ino->attr_version;
	pthread_mutex_unlock(&ino->attr_lock);
	return version;
}

int client_do_setattr(struct client_inode *ino, struct fuse_setattr_in *in,
		      struct fuse_attr *ret)
{
	struct fuse_attr_out out;
	uint64_t version;
	struct client_call c = {
		.opcode = FUSE_SETATTR,
		.nodeid = ino->nodeid,
		.arg = in,
		.arg_len = sizeof(*in),
		.out = &out,
		.out_len = sizeof(out),
	};
	int err;

	client_attr_invalidate(ino);
	version = client_version(ino->s);
	if (in->valid & (FATTR_MTIME | FATTR_MTIME_NOW))
		atomic_store_explicit(&ino->mtime_owed, false,
				      memory_order_relaxed);
	if (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		atomic_store_explicit(&ino->privs_clean, false,
				      memory_order_relaxed);
	err = client_call(ino->s, &c);
	if (err) {
		client_attr_invalidate(ino);
		return err;
	}
	if (in->valid & FATTR_SIZE)
		size_cut(ino, in->size);
	version = change_done(ino, version);
	return take_attr_out(ino, &out, version, ret);
}

int client_settle_times(struct client_inode *ino, uint64_t fh)
{
	struct fuse_setattr_in in = { .valid = FATTR_MTIME | FATTR_MTIME_NOW };
	struct fuse_attr attr;
	int err;

	if (!atomic_load_explicit(&ino->mtime_owed, memory_order_relaxed) ||
	    !atomic_exchange(&ino->mtime_owed, false))
		return 0;
	if (fh != FUSE_WIRE_NO_FH) {
		in.valid |= FATTR_FH;
		in.fh = fh;
	}
	err = client_do_setattr(ino, &in, &attr);
	switch (err) {
	case -EPERM: /* who may write but is no owner may not set one time; */
	case -EACCES: /* the kernel's own, from the first store, must do */
	case -EROFS:
		return 0;
	case 0:
		return 0;
	default:
		atomic_store(&ino->mtime_owed, true);
		return err;
	}
}

int client_drop_privs(struct client_inode *ino)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE };
	struct client_call c = {
		.opcode = FUSE_REMOVEXATTR,
		.nodeid = ino->nodeid,
		.names = { "security.capability" },
	};
	struct fuse_attr attr;
	int err = 0;

	/* first, so that who sets such a bit after our look undoes it */
	atomic_store(&ino->privs_clean, true);
	if (!client_attr_cached(ino, &attr))
		err = client_getattr(ino, FUSE_WIRE_NO_FH, &attr);
	if (!err && (attr.mode & (S_ISUID | S_ISGID))) {
		in.mode = attr.mode & ~(uint32_t)(S_ISUID | S_ISGID);
		/* leaves privs_clean false: the next write looks again */
		err = client_do_setattr(ino, &in, &attr);
	}
	if (err) {
		atomic_store(&ino->privs_clean, false);
		return err;
	}
	err = client_call(ino->s, &c);
	switch (err) {
	case 0:
	case -ENODATA: /* there was none: the usual case */
	case -ENOSYS:
	case -EOPNOTSUPP:
		break;
	default:
		/* none to see, or not ours to remove: as with no xattrs */
		if (client_is_dead(ino->s)) {
			atomic_store(&ino->privs_clean, false);
			return err;
		}
	}
	return 0;
}

void client_attr_to_stat(const struct client_inode *ino,
			 const struct fuse_attr *a, struct oriel_stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ino = a->ino;
	ret->size = a->size;
	ret->blocks = a->blocks;
	ret->mode = a->mode;
	ret->nlink = a->nlink;
	ret->uid = a->uid;
	ret->gid = a->gid;
	/* the wire has the kernel's 32-bit device number: 12 bits major, 20
	 * bits minor, of which the lowest 8 come first */
	ret->rdev_major = (a->rdev & 0xfff00) >> 8;
	ret->rdev_minor = (a->rdev & 0xff) | ((a->rdev >> 12) & 0xfff00);
	ret->blksize = a->blksize;
	ret->dax = ino && ino->dax.window;
	ret->atime.tv_sec = (time_t)a->atime;
	ret->atime.tv_nsec = a->atimensec;
	ret->mtime.tv_sec = (time_t)a->mtime;
	ret->mtime.tv_nsec = a->mtimensec;
	ret->ctime.tv_sec = (time_t)a->ctime;
	ret->ctime.tv_nsec = a->ctimensec;
}
