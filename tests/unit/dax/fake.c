/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(cond)                                                        \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#cond);                                    \
			abort();                                           \
		}                                                          \
	} while (0)

unsigned char fake_byte(uint64_t i)
{
	return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16) * 3);
}

bool fake_is_pattern(const unsigned char *buf, size_t len, uint64_t pos)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i] != fake_byte(pos + i))
			return false;
	return true;
}

/* -------------------------------------------------------------- callbacks */

static bool is_range_aligned(const struct fake *f, uint64_t off, uint64_t len)
{
	return is_aligned(off, f->range_bytes) && len > 0 &&
	       is_aligned(len, f->range_bytes) &&
	       range_fits(off, len, f->bytes);
}

static void pass_gate(struct fake *f, const struct dax_map_request *req)
{
	pthread_mutex_lock(&f->lock);
	f->log[f->n_log++ % FAKE_LOG] = *req;
	f->n_waiting++;
	pthread_cond_broadcast(&f->changed);
	while (f->is_gated)
		pthread_cond_wait(&f->changed, &f->lock);
	f->n_waiting--;
	pthread_mutex_unlock(&f->lock);
}

static int failure_due(struct fake *f, const struct dax_map_request *req)
{
	unsigned n = atomic_load(&f->fail_at);

	while (n > 0 && !atomic_compare_exchange_weak(&f->fail_at, &n, n - 1))
		;
	if (n == 1)
		return -ENOMEM;
	if (req->writable && atomic_load(&f->fail_writable))
		return atomic_load(&f->fail_writable);
	return atomic_load(&f->fail_map);
}

/* Returns whether that is how it was. */
static bool mark(struct fake *f, uint64_t off, uint64_t len, bool mapped)
{
	uint64_t r = off / f->range_bytes, n = len / f->range_bytes, i;
	bool was;

	pthread_mutex_lock(&f->lock);
	was = f->is_mapped[r] == mapped;
	for (i = r; i < r + n; i++) {
		if (f->is_mapped[i] == mapped &&
		    !(mapped && f->replace_in_place))
			atomic_fetch_add(&f->violations, 1);
		f->is_mapped[i] = mapped;
	}
	pthread_mutex_unlock(&f->lock);
	return was;
}

/*
 * The thread sanitizer takes mmap() for a write to all of it, and so finds
 * every reader of a range that is mapped or unmapped too early. Replacing in
 * place under readers is what is meant to happen: it is not told of that.
 */
static void *map_over(bool is_replacing, void *at, size_t len, int prot,
		      int fd, uint64_t off)
{
	const int flags = MAP_SHARED | MAP_FIXED;

	if (is_replacing)
		return (void *)syscall(SYS_mmap, at, len, prot, flags, fd,
				       (off_t)off);
	return mmap(at, len, prot, flags, fd, (off_t)off);
}

static int fake_map(void *owner, const struct dax_map_request *req)
{
	struct fake *f = owner;
	struct fake_file *file = req->file;
	bool is_replacing;
	int err;

	atomic_fetch_add(&f->maps, 1);
	if (!is_range_aligned(f, req->window_off, req->len) ||
	    !is_aligned(req->file_off, f->range_bytes) ||
	    !atomic_load(&f->connected) || atomic_load(&file->refs) < 1)
		atomic_fetch_add(&f->violations, 1);
	pass_gate(f, req);
	err = failure_due(f, req);
	if (err)
		return err;
	if (atomic_load(&f->turns_cheap))
		atomic_store(&f->is_cheap, true);
	is_replacing = mark(f, req->window_off, req->len, true);
	CHECK(map_over(is_replacing, f->base + req->window_off, req->len,
		       PROT_READ | (req->writable ? PROT_WRITE : 0),
		       file->fd, req->file_off) != MAP_FAILED);
	return 0;
}

static int fake_unmap(void *owner, void *file,
		      const struct dax_unmap_request *reqs, unsigned n)
{
	struct fake *f = owner;
	unsigned i;

	atomic_fetch_add(&f->unmap_calls, 1);
	atomic_fetch_add(&f->unmapped, n);
	if (n > atomic_load(&f->largest_unmap))
		atomic_store(&f->largest_unmap, n);
	for (i = 0; i < n; i++) {
		if (!is_range_aligned(f, reqs[i].window_off, reqs[i].len)) {
			atomic_fetch_add(&f->violations, 1);
			continue;
		}
		mark(f, reqs[i].window_off, reqs[i].len, false);
		CHECK(mmap(f->base + reqs[i].window_off, reqs[i].len,
			   PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			   MAP_FIXED, -1, 0) != MAP_FAILED);
	}
	return atomic_load(&f->fail_unmap);
}

static bool fake_is_connected(void *owner)
{
	struct fake *f = owner;

	return atomic_load(&f->connected);
}

static bool fake_file_get(void *owner, void *arg)
{
	struct fake_file *file = arg;
	struct fake *f = owner;
	int n = atomic_load(&file->refs);

	if (atomic_load(&f->refuse_get))
		return false;
	while (n > 0 && !atomic_compare_exchange_weak(&file->refs, &n, n + 1))
		;
	if (n > 0)
		atomic_fetch_add(&f->gets, 1);
	return n > 0;
}

static void fake_file_put(void *owner, void *arg)
{
	struct fake_file *file = arg;
	struct fake *f = owner;

	atomic_fetch_add(&f->puts, 1);
	pthread_mutex_lock(&f->lock);
	CHECK(atomic_fetch_sub(&file->refs, 1) > 0);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static bool fake_is_cheap(void *owner, void *file, enum dax_intent intent)
{
	struct fake *f = owner;

	return atomic_load(intent == DAX_WRITE ? &f->writes_cheaply :
						 &f->is_cheap);
}

static bool fake_is_resident(void *owner, void *arg, uint64_t off,
			     uint64_t len)
{
	struct fake_file *file = arg;
	struct fake *f = owner;

	atomic_fetch_add(&f->n_asked, 1);
	if (len == 0 || !is_aligned(off, f->range_bytes) ||
	    len > f->range_bytes ||
	    !(atomic_load(&f->is_cheap) || atomic_load(&f->writes_cheaply)) ||
	    atomic_load(&file->refs) < 1)
		atomic_fetch_add(&f->violations, 1);
	return !atomic_load(&f->is_absent);
}

static uint64_t fake_file_id(void *owner, const void *file)
{
	(void)owner;
	return (uintptr_t)file;
}

static void fake_tick(void *owner)
{
	struct fake *f = owner;

	atomic_fetch_add(&f->n_ticks, 1);
}

static const struct dax_owner_ops fake_ops = {
	.map = fake_map,
	.unmap = fake_unmap,
	.is_cheap = fake_is_cheap,
	.is_resident = fake_is_resident,
	.is_connected = fake_is_connected,
	.file_get = fake_file_get,
	.file_put = fake_file_put,
	.file_id = fake_file_id,
	.tick = fake_tick,
};

/* -------------------------------------------------------------- life cycle */

void fake_config(struct fake *f, const struct fake_options *o,
		 struct dax_config *ret)
{
	memset(f, 0, sizeof(*f));
	f->range_bytes = o->range_bytes;
	f->bytes = o->ranges * o->range_bytes;
	f->replace_in_place = o->replace_in_place;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	atomic_init(&f->connected, 1);
	f->is_mapped = mmap(NULL, o->ranges * sizeof(bool),
			    PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(f->is_mapped != MAP_FAILED);
	f->base = mmap(NULL, f->bytes, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(f->base != MAP_FAILED);
	*ret = (struct dax_config){
		.base = f->base,
		.bytes = f->bytes,
		.range_bytes = o->range_bytes,
		.small_file_bytes = o->small_file_bytes,
		.admit_touches = o->admit_touches,
		.patience = o->patience,
		.replace_in_place = o->replace_in_place,
		.background = o->background,
		.ops = &fake_ops,
		.owner = f,
	};
}

void fake_init(struct fake *f, const struct fake_options *o)
{
	struct dax_config cfg;

	fake_config(f, o, &cfg);
	CHECK(!dax_window_new(&cfg, &f->w));
}

void fake_done(struct fake *f)
{
	struct dax_stats st;
	uint64_t i;

	if (f->w) {
		dax_window_stop(f->w);
		CHECK(dax_window_is_valid(f->w));
		dax_window_stats(f->w, &st);
		CHECK(st.mappings == 0 &&
		      st.free_ranges == st.ranges - atomic_load(&f->n_lost));
		dax_window_free(f->w);
	}
	for (i = 0; i < f->bytes / f->range_bytes; i++)
		CHECK(!f->is_mapped[i] || !atomic_load(&f->connected));
	CHECK(atomic_load(&f->violations) == 0);
	CHECK(atomic_load(&f->gets) == atomic_load(&f->puts));
	munmap(f->base, f->bytes);
	munmap(f->is_mapped, f->bytes / f->range_bytes * sizeof(bool));
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

void fake_file_init(struct fake *f, struct fake_file *file, uint64_t bytes)
{
	unsigned char *p;
	uint64_t i;

	file->fake = f;
	atomic_init(&file->refs, 1);
	file->fd = memfd_create("fake", MFD_CLOEXEC);
	CHECK(file->fd >= 0 && !ftruncate(file->fd, (off_t)bytes));
	if (bytes) {
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file->fd, 0);
		CHECK(p != MAP_FAILED);
		for (i = 0; i < bytes; i++)
			p[i] = fake_byte(i);
		munmap(p, bytes);
	}
	dax_inode_init(&file->di, f->w, file);
}

void fake_file_done(struct fake_file *file)
{
	struct fake *f = file->fake;
	int one = 1;

	/* Nobody can get it once it is 0; those who have it come to an end. */
	pthread_mutex_lock(&f->lock);
	while (!atomic_compare_exchange_strong(&file->refs, &one, 0)) {
		one = 1;
		pthread_cond_wait(&f->changed, &f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	dax_inode_done(&file->di);
	close(file->fd);
}

/* -------------------------------------------------------------------- gate */

void fake_gate_close(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	f->is_gated = true;
	pthread_mutex_unlock(&f->lock);
}

void fake_gate_open(struct fake *f)
{
	pthread_mutex_lock(&f->lock);
	f->is_gated = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void fake_gate_wait(struct fake *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	while (f->n_waiting < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}
