/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oriel_map(): a pointer to file bytes. The pin keeps the window ranges, the
 * reference keeps the inode; the file may be closed.
 */
#include "client/append.h"
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/epoch.h"
#include "dax/guard.h"

struct oriel_mapping {
	struct client_inode *ino;
	struct dax_pin pin;
	bool writable;
	struct list node; /* session->pins; guarded by table_lock */
};

static int map_check(struct oriel_file *f, off_t off, size_t len,
		     unsigned prot)
{
	bool writes = prot & ORIEL_MAP_WRITE;
	int mode = f->flags & O_ACCMODE;
	struct fuse_attr attr;
	int err;

	if (off < 0 || len == 0 || !prot ||
	    (prot & ~(ORIEL_MAP_READ | ORIEL_MAP_WRITE)) ||
	    !range_fits((uint64_t)off, len, INT64_MAX))
		return -EINVAL;
	if (atomic_load(&f->ino->bad))
		return -EIO;
	if (mode == O_WRONLY || (writes && mode == O_RDONLY))
		return -EACCES;
	if (!f->ino->dax.window)
		return -ENODEV;
	if ((uint64_t)off >= atomic_load(&f->ino->size)) {
		err = client_getattr(f->ino, f->fh, &attr);
		if (err)
			return err;
		if ((uint64_t)off >= attr.size)
			return -EINVAL;
	}
	return 0;
}

static int make_mapping(struct oriel_file *f, off_t off, size_t len,
			unsigned prot, struct oriel_mapping **ret)
{
	struct client_inode *ino = f->ino;
	bool writes = prot & ORIEL_MAP_WRITE;
	struct oriel_mapping *m;
	int err = map_check(f, off, len, prot);

	if (err)
		return err;
	if (writes && !atomic_load(&ino->privs_clean)) {
		err = client_drop_privs(ino);
		if (err)
			return err;
	}
	m = malloc(sizeof(*m)); /* all of it is set below */
	if (!m)
		return -ENOMEM;
	err = dax_pin(&ino->dax, (uint64_t)off, len,
		      writes ? DAX_WRITE : DAX_READ, f->fh, 0, &m->pin);
	if (err) {
		free(m);
		return err;
	}
	m->ino = ino;
	m->writable = writes;
	if (writes)
		atomic_store(&ino->mtime_owed, true);
	pthread_mutex_lock(&f->s->table_lock);
	oriel_assert(ino->refs > 0); /* the file's */
	ino->refs++;
	list_add_tail(&f->s->pins, &m->node);
	pthread_mutex_unlock(&f->s->table_lock);
	*ret = m;
	return 0;
}

static int do_map(struct oriel_file *f, off_t off, size_t len, unsigned prot,
		  struct oriel_mapping **ret)
{
	struct client_inode *ino = f->ino;
	int err;

	/* before the look at what is gathered: see begin() in append.c */
	atomic_fetch_add(&ino->n_maps, 1);
	err = client_append_settle(ino);
	if (!err)
		err = make_mapping(f, off, len, prot, ret);
	if (err)
		atomic_fetch_sub(&ino->n_maps, 1);
	return err;
}

int oriel_map(struct oriel_file *f, off_t off, size_t len, unsigned prot,
	      struct oriel_mapping **ret_map, void **ret_ptr)
{
	int err = do_map(f, off, len, prot, ret_map);

	if (err)
		return client_fail(err, "map %s, %zu bytes at %lld", f->path,
				   len, (long long)off);
	*ret_ptr = (*ret_map)->pin.ptr;
	return 0;
}

void oriel_unmap(struct oriel_mapping *m)
{
	struct client_inode *ino;
	bool is_last;

	if (!m)
		return;
	ino = m->ino;
	if (m->writable) /* stores since the last settlement */
		atomic_store(&ino->mtime_owed, true);
	dax_unpin(&ino->dax, &m->pin);
	atomic_fetch_sub(&ino->n_maps, 1);
	pthread_mutex_lock(&ino->s->table_lock);
	list_del(&m->node);
	is_last = ino->refs == 1;
	if (!is_last)
		ino->refs--;
	pthread_mutex_unlock(&ino->s->table_lock);
	free(m);
	if (is_last)
		client_inode_put(ino);
}

void client_unmap_all(struct oriel_session *s)
{
	while (!list_is_empty(&s->pins))
		oriel_unmap(list_entry(s->pins.next, struct oriel_mapping,
				       node));
}

int oriel_borrow(struct oriel_file *f, off_t off, size_t len,
		 const void **ret_ptr)
{
	struct client_inode *ino = f->ino;
	struct dax_pin pin;
	uint64_t size;
	int err = 0;

	for (int attempt = 0; attempt < 2 && !err; attempt++) {
		/* acquire: pairs with the stores in attr.c */
		size = atomic_load_explicit(&ino->size, memory_order_acquire);
		if (ORIEL_UNLIKELY(off < 0 || !len ||
				   !range_fits((uint64_t)off, len, size) ||
				   (f->flags & O_ACCMODE) == O_WRONLY ||
				   atomic_load_explicit(&ino->bad,
							memory_order_relaxed)))
			break;
		if (ORIEL_LIKELY(dax_borrow(&ino->dax, (uint64_t)off, len,
					    ret_ptr)))
			return 0;
		/* pinned for a moment, so that it is mapped */
		err = dax_pin(&ino->dax, (uint64_t)off, len, DAX_READ, f->fh, 0,
			      &pin);
		if (!err)
			dax_unpin(&ino->dax, &pin);
	}
	if (err == -EDEADLK)
		return err; /* borrowed already, and this one is not mapped */
	return client_fail(-EAGAIN, "borrow from %s, %zu bytes at %lld: not in "
			   "one mapped range below the size", f->path, len,
			   (long long)off);
}

void oriel_return(void)
{
	if (epoch_is_inside())
		epoch_exit();
}

static bool in_window(const struct oriel_session *s, const void *p)
{
	const unsigned char *c = p;

	return c >= s->fi->window && c < s->fi->window + s->fi->window_bytes;
}

/* Both sides may fault: through a buffer of our own. */
static size_t copy_within(void *dst, const void *src, size_t len)
{
	unsigned char buf[8192];
	size_t done = 0;

	while (done < len) {
		size_t want = (size_t)min_u64(len - done, sizeof(buf));
		size_t got = guard_copy_from(buf, (const char *)src + done,
					     want);
		size_t put = guard_copy_to((char *)dst + done, buf, got);

		done += put;
		if (put < want)
			break;
	}
	return done;
}

size_t oriel_copy(void *dst, const void *src, size_t len,
		  struct oriel_mapping *m)
{
	const struct oriel_session *s = m->ino->s;

	if (!in_window(s, src))
		return guard_copy_to(dst, src, len);
	if (!in_window(s, dst))
		return guard_copy_from(dst, src, len);
	return copy_within(dst, src, len);
}
