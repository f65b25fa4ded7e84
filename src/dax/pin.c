/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pins: a contiguous view of a file that stays (row B5). A pin is a count on a
 * mapping that covers the whole view; a mapping with pins is never unlinked,
 * so its pointer is good until the pin goes. Where the view spans ranges it
 * needs adjacent ones, so it gets a mapping of its own; single-range mappings
 * of the same file bytes may exist beside it. They show the same page cache.
 *
 * Pins are raised under the inode's lock, held either way, and checked under
 * the write lock before anything is unlinked; they are dropped without a lock.
 *
 * Thread rule: any thread.
 */
#include "dax/dax_internal.h"

#include <errno.h>

#include "base/epoch.h"

#define PIN_ATTEMPTS 4

/* The fast way: there is one already. NOWAIT does not even wait for locks. */
static int pin_existing(struct dax_inode *di, const struct dax_want *want,
			unsigned flags, struct dax_mapping **ret)
{
	struct dax_mapping *m;

	if (!(flags & DAX_NOWAIT))
		pthread_rwlock_rdlock(&di->lock);
	else if (pthread_rwlock_tryrdlock(&di->lock))
		return -EAGAIN;
	m = dax_mapping_find_locked(di, want->file_start, want->file_last,
				    want->intent);
	if (m && want->intent == DAX_WRITE &&
	    !atomic_load_explicit(&m->writable, memory_order_relaxed))
		m = NULL;
	if (m)
		/* relaxed: the lock orders it against those who unlink */
		atomic_fetch_add_explicit(&m->pins, 1, memory_order_relaxed);
	pthread_rwlock_unlock(&di->lock);
	if (!m)
		return flags & DAX_NOWAIT ? -EAGAIN : -ENOENT;
	*ret = m;
	return 0;
}

static int pin_anew(struct dax_inode *di, struct dax_want *want,
		    struct dax_mapping **ret)
{
	struct dax_window *w = di->window;
	int attempt, err = -EAGAIN;

	for (attempt = 0; attempt < PIN_ATTEMPTS && err == -EAGAIN; attempt++)
		err = dax_fault(di, want, ret);
	if (err && atomic_load_explicit(&w->is_unsupported,
					memory_order_relaxed))
		return -ENODEV;
	return err == -EAGAIN ? -ENOSPC : err;
}

int dax_pin(struct dax_inode *di, uint64_t pos, uint64_t len,
	    enum dax_intent intent, uint64_t fh, unsigned flags,
	    struct dax_pin *ret)
{
	struct dax_window *w = di->window;
	struct dax_want want = { .intent = intent, .fh = fh, .pos = pos };
	struct dax_mapping *m;
	uint64_t bytes;
	int err;

	if (!w)
		return -ENODEV;
	if (epoch_is_inside())
		return -EDEADLK; /* see dax_borrow() */
	bytes = UINT64_C(1) << w->shift;
	/* Room for rounding up: INT64_MAX is the end of every file. */
	if (!len || !range_fits(pos, len, INT64_MAX))
		return -EINVAL;
	want.file_start = align_down(pos, bytes);
	want.file_last = align_up(pos + len, bytes) - 1;

	err = pin_existing(di, &want, flags, &m);
	if (err == -ENOENT)
		err = pin_anew(di, &want, &m);
	if (err)
		return err;
	ret->mapping = m;
	ret->ptr = m->ptr + (pos - m->file_start);
	return 0;
}

void dax_unpin(struct dax_inode *di, struct dax_pin *pin)
{
	unsigned had;

	if (!pin->mapping)
		return;
	oriel_assert(pin->mapping->inode == di);
	/* release: what was done through the pointer is done; pairs with the
	 * acquire in dax_mapping_is_pinned() */
	had = atomic_fetch_sub_explicit(&pin->mapping->pins, 1,
					memory_order_release);
	oriel_assert(had > 0);
	pin->mapping = NULL;
	pin->ptr = NULL;
}
