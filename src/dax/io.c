/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing through the window, one step a file range.
 *
 * A HIT is all this is about: enter a read section, load the index slot, copy,
 * leave. It takes no lock, makes no system call, and writes nothing that
 * another thread reads: the counters are the thread's own, the mapping's mark
 * for reclaim is written only when it is not set. The copy itself is guarded:
 * a page that is not there any more ends it.
 *
 * Anything else is slow and kept out of line: the index may know less than
 * the tree; the mapping may have to be upgraded or set up; or the step is not
 * for the window at all and the caller is told to send it by message. After
 * something was set up the step starts over, because reclaim may already have
 * taken it back. It does so a few times at most: then it is a message too.
 *
 * Errors of set-ups never reach the user from here (row B3). The step goes by
 * message, and the message says what is wrong, if anything is. What fails is
 * tried again, but less and less often.
 *
 * Thread rule: any thread.
 */
#include <errno.h>

#include "base/epoch.h"
#include "dax/dax_internal.h"
#include "dax/guard.h"

#define TICK_HITS 256u /* power of two */
#define STEP_ATTEMPTS 4
#define BACKOFF_MAX 1023u
/* A run of writes is believed to go on for this many times what it has been: that
 * much is made dirty for nothing if it does not. */
#define RUN_AHEAD 16u
/* What is fetched ahead of a copy that is at least as long. */
#define EXPECTED_BYTES (8u * ORIEL_CACHE_LINE)

struct io {
	struct dax_inode *di;
	unsigned char *buf;
	size_t left;   /* below the size */
	uint64_t pos;
	uint64_t size;
	uint64_t fh;
	unsigned flags;
	enum dax_intent intent;
};

enum step {
	STEP_DONE,
	STEP_FAULT,
	STEP_MISS,
	STEP_OUT_OF_MEMORY,
	STEP_LOCKED, /* NOWAIT, and somebody holds the lock */
};

/* --------------------------------------------------------------------- hit */

/* Copy between @buf and @m. Inside a read section. */
static inline __attribute__((always_inline)) size_t
copy_mapped(const struct io *io, struct dax_mapping *m, size_t n)
{
	unsigned char *p = m->ptr + (io->pos - m->file_start);

	/* relaxed: a hint for the clock. Test first: the line stays shared. */
	if (!atomic_load_explicit(&m->referenced, memory_order_relaxed))
		atomic_store_explicit(&m->referenced, true,
				      memory_order_relaxed);
	if (ORIEL_UNLIKELY(n >= DAX_LARGE_STEP))
		dax_mapping_calm(m);
	if (io->intent == DAX_READ)
		return guard_copy_from(io->buf, p, n);
	return guard_copy_to(p, io->buf, n);
}

/*
 * Have the first lines at @p come, wherever that is: of a large set, what has to be
 * looked at before the copy begins is in no cache either. More than these fill the
 * processor's buffers for lines under way, and the copy waits for one.
 */
static inline __attribute__((always_inline)) void
expect(uintptr_t p, size_t n)
{
	__builtin_prefetch((const void *)p);
	if (n < EXPECTED_BYTES)
		return;
	/* not a loop: that would be most of the work */
	__builtin_prefetch((const void *)(p + 1 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 2 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 3 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 4 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 5 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 6 * ORIEL_CACHE_LINE));
	__builtin_prefetch((const void *)(p + 7 * ORIEL_CACHE_LINE));
}

static inline bool may(const struct dax_mapping *m, enum dax_intent intent)
{
	/* pairs with the release in upgrade_in_place_locked() */
	return intent == DAX_READ ||
	       atomic_load_explicit(&m->writable, memory_order_acquire);
}

static inline __attribute__((always_inline)) enum step
step_index(const struct io *io, size_t n, size_t *copied)
{
	const unsigned shift = io->di->window->shift;
	struct dax_index_slot *slot;
	struct dax_mapping *m = NULL;
	enum step ret = STEP_MISS;

	if (ORIEL_UNLIKELY(!epoch_enter()))
		return STEP_OUT_OF_MEMORY;
	slot = dax_index_slot(io->di, io->pos >> shift);
	if (ORIEL_LIKELY(slot != NULL)) {
		expect(atomic_load_explicit(&slot->near, memory_order_relaxed) +
		       (io->pos & ((UINT64_C(1) << shift) - 1)), n);
		/* pairs with the release in put_locked() */
		m = atomic_load_explicit(&slot->m, memory_order_acquire);
	}
	if (ORIEL_LIKELY(m && may(m, io->intent))) {
		*copied = copy_mapped(io, m, n);
		ret = *copied == n ? STEP_DONE : STEP_FAULT;
	}
	epoch_exit();
	return ret;
}

/* The same by the tree, which knows all. */
static __attribute__((noinline)) enum step
step_tree(const struct io *io, size_t n, size_t *copied)
{
	struct dax_inode *di = io->di;
	struct dax_mapping *m;
	enum step ret = STEP_MISS;

	if (!(io->flags & DAX_NOWAIT))
		pthread_rwlock_rdlock(&di->lock);
	else if (pthread_rwlock_tryrdlock(&di->lock))
		return STEP_LOCKED;
	m = dax_mapping_find_locked(di, io->pos, io->pos, io->intent);
	if (m && !may(m, io->intent))
		m = NULL;
	/* In the section before the lock goes: no gap for reclaim. */
	if (m && !epoch_enter()) {
		m = NULL;
		ret = STEP_OUT_OF_MEMORY;
	}
	pthread_rwlock_unlock(&di->lock);
	if (m) {
		*copied = copy_mapped(io, m, n);
		ret = *copied == n ? STEP_DONE : STEP_FAULT;
		epoch_exit();
	}
	return ret;
}

/* ---------------------------------------------------------------- prefetch */

/* Can the owner do this to this file at the price of a system call? */
static bool is_cheap(const struct dax_inode *di, enum dax_intent intent)
{
	const struct dax_config *cfg = &di->window->cfg;

	return cfg->patience && cfg->ops->is_cheap &&
	       cfg->ops->is_cheap(cfg->owner, di->file, intent);
}

/*
 * The step went over the middle of a range. If the same happened in the range
 * before, and next, this is a sequential reader: half a range from now it will
 * want the following one (row B11).
 */
static __attribute__((noinline, cold)) void
hint_sequential(const struct io *io, size_t n)
{
	struct dax_inode *di = io->di;
	struct dax_window *w = di->window;
	uint64_t bytes = UINT64_C(1) << w->shift;
	uint64_t start = align_down(io->pos, bytes), next = start + bytes;
	struct dax_mapping *m;
	bool is_sequential;

	if (next >= io->size)
		return;
	/* relaxed: a hint; one write for each range read in sequence */
	is_sequential = atomic_load_explicit(&di->next_seq,
					     memory_order_relaxed) == start;
	atomic_store_explicit(&di->next_seq, next, memory_order_relaxed);
	if (!is_sequential || !epoch_enter())
		return;
	m = dax_index_get(di, next >> w->shift);
	if (m)
		dax_mapping_calm(m);
	epoch_exit();
	/* in large steps what is not mapped is as well read without us */
	if (!m && w->cfg.background && dax_window_may_ask(w) &&
	    !(n >= DAX_LARGE_STEP && is_cheap(di, io->intent)))
		dax_prefetch_hint(di, next);
}

static inline bool crosses_middle(const struct io *io, size_t n)
{
	uint64_t half = (UINT64_C(1) << io->di->window->shift) / 2;
	uint64_t off = io->pos & (2 * half - 1);

	return off <= half && n > half - off;
}

/* -------------------------------------------------------------------- miss */

/*
 * Back off from set-ups that fail: after the k-th failure in a row the next
 * 2^(k-1) - 1 misses do not even try.
 */
static bool is_backed_off(struct dax_inode *di, enum dax_intent intent)
{
	struct dax_backoff *b = &di->backoff[intent];
	/* relaxed: losing a count to another thread does no harm */
	unsigned skip = atomic_load_explicit(&b->skip, memory_order_relaxed);

	if (!skip)
		return false;
	atomic_store_explicit(&b->skip, skip - 1, memory_order_relaxed);
	return true;
}

static void note_setup(struct dax_inode *di, enum dax_intent intent, int err)
{
	struct dax_backoff *b = &di->backoff[intent];
	unsigned width = atomic_load_explicit(&b->width, memory_order_relaxed);

	if (!err) {
		if (width)
			atomic_store_explicit(&b->width, 0,
					      memory_order_relaxed);
		return;
	}
	if (err == -EBUSY || err == -EAGAIN || err == -ENOTCONN)
		return; /* nobody was asked */
	atomic_store_explicit(&b->skip, width, memory_order_relaxed);
	if (width < BACKOFF_MAX)
		atomic_store_explicit(&b->width, 2 * width + 1,
				      memory_order_relaxed);
}

/*
 * A step that was no hit: does it go on where the last such step ended? Returns
 * the bytes of the run before it. Relaxed: a hint.
 */
static uint64_t note_run(struct dax_inode *di, uint64_t pos, size_t n)
{
	uint64_t end = atomic_exchange_explicit(&di->run_end, pos + n,
						memory_order_relaxed);
	uint64_t run = atomic_load_explicit(&di->run_bytes,
					    memory_order_relaxed);

	run = end == pos ? run : 0;
	atomic_store_explicit(&di->run_bytes, run + n, memory_order_relaxed);
	return run;
}

static void note_range_of_run(const struct io *io, uint64_t run,
			      struct dax_want *want)
{
	uint64_t rest = want->file_last + 1 - io->pos;

	atomic_store_explicit(&io->di->run_end, want->file_last + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&io->di->run_bytes, run + rest,
			      memory_order_relaxed);
	if (io->intent == DAX_WRITE)
		want->ahead = min_u64(min_u64(rest, io->size - io->pos),
				      run * RUN_AHEAD);
}

/* Is what there is of the range not in memory? */
static bool is_cold(const struct io *io, const struct dax_want *want)
{
	const struct dax_config *cfg = &io->di->window->cfg;
	uint64_t have = min_u64(want->file_last + 1, io->size) -
			want->file_start;

	return cfg->ops->is_resident &&
	       !cfg->ops->is_resident(cfg->owner, io->di->file,
				      want->file_start, have);
}

/*
 * It can be done without a round trip: is it worth mapping all the same? What is
 * gone through in small steps one after the other is, at once; else what was
 * touched often. What is not in memory is not: a read of a few bytes reads a
 * page, a fault megabytes; and once it is there we are asked again.
 */
static bool pays(const struct io *io, size_t n, struct dax_want *want)
{
	struct dax_inode *di = io->di;
	uint64_t run = note_run(di, io->pos, n);
	bool is_run = n < DAX_LARGE_STEP && run >= DAX_LARGE_STEP;

	want->is_cheap = true;
	want->touches = dax_touch(di->window, di, want);
	want->is_random = run == 0 && !want->is_scanned;
	if (!is_run && !want->is_scanned && !dax_is_patient(di->window, want))
		return false;
	if (!dax_is_affordable(di->window, want))
		return false;
	if (is_cold(io, want)) {
		dax_admit_later(di->window, di, want);
		/* relaxed: a hint. Not asked again at each step of a run */
		atomic_store_explicit(&di->run_bytes, 0, memory_order_relaxed);
		return false;
	}
	/* the rest of the range will be hits, after which the run goes on */
	if (is_run)
		note_range_of_run(io, run, want);
	return true;
}

static void want_init(const struct io *io, size_t n, struct dax_want *want)
{
	uint64_t bytes = UINT64_C(1) << io->di->window->shift;

	*want = (struct dax_want){
		.file_start = align_down(io->pos, bytes),
		.file_last = align_down(io->pos, bytes) + (bytes - 1),
		.intent = io->intent,
		.fh = io->fh,
		.pos = io->pos,
		.len = n,
	};
}

/* Is it to be tried at all, and if not, why? Asked once for each step. */
static bool is_wanted(const struct io *io, size_t n, struct dax_want *want,
		      enum dax_miss *why)
{
	struct dax_inode *di = io->di;

	*why = DAX_MISS_SMALL;
	if (io->size < di->window->cfg.small_file_bytes)
		return false;
	*why = DAX_MISS_BACKOFF;
	if (is_backed_off(di, io->intent))
		return false;
	*why = DAX_MISS_FULL;
	return !is_cheap(di, io->intent) || pays(io, n, want);
}

static int setup(const struct io *io, struct dax_want *want, enum dax_miss *why)
{
	int err = dax_fault(io->di, want, NULL);

	*why = !err || err == -EAGAIN ? DAX_MISS_NEW :
	       err == -EBUSY	      ? DAX_MISS_FULL : DAX_MISS_FAILED;
	note_setup(io->di, io->intent, err);
	return err;
}

/* Where a run of writes goes on. */
static void fill_ahead(const struct io *io, uint64_t len)
{
	struct dax_mapping *m;

	if (!epoch_enter())
		return;
	m = dax_index_get(io->di, io->pos >> io->di->window->shift);
	if (m && may(m, DAX_WRITE))
		dax_mapping_fill(m, io->pos, len);
	epoch_exit();
}

static __attribute__((cold, noinline)) void tick(struct dax_window *w)
{
	if (w->cfg.ops->tick)
		w->cfg.ops->tick(w->cfg.owner);
}

/* No hit. Sets up what is missing, if that is worth it, and copies. */
static __attribute__((noinline)) enum dax_stop
step_slow(const struct io *io, size_t n, size_t *copied)
{
	struct dax_window *w = io->di->window;
	struct dax_want want;
	enum dax_miss why;
	enum step step;
	int attempt, err;

	/* Who has borrowed must not wait, not even for the tree. */
	if (ORIEL_UNLIKELY(epoch_is_inside()))
		return io->flags & DAX_NOWAIT ? DAX_AGAIN : DAX_BYPASS;
	step = step_tree(io, n, copied);
	if (step == STEP_MISS)
		dax_count(w, DAX_N_MISSES, 1);
	else if (step == STEP_DONE)
		dax_count(w, DAX_N_HITS, 1);
	if (step == STEP_MISS && (io->flags & DAX_NOWAIT)) {
		dax_count(w, DAX_N_MISS + DAX_MISS_NOWAIT, 1);
		return DAX_AGAIN;
	}
	want_init(io, n, &want);
	for (attempt = 0; step == STEP_MISS && attempt < STEP_ATTEMPTS;
	     attempt++) {
		err = attempt || is_wanted(io, n, &want, &why) ?
			      setup(io, &want, &why) :
			      -EBUSY;
		if (!attempt)
			dax_count(w, DAX_N_MISS + why, 1);
		if (err && err != -EAGAIN)
			break;
		if (want.ahead)
			fill_ahead(io, want.ahead);
		/* now that it can be done without us, and a fault would read
		 * megabytes: the others of the range may take it */
		if (!err && !want.is_cheap && io->intent == DAX_READ &&
		    is_cheap(io->di, DAX_READ) && is_cold(io, &want))
			break;
		step = step_tree(io, n, copied);
	}
	if (step == STEP_DONE)
		return DAX_DONE;
	if (step == STEP_FAULT)
		return DAX_FAULT;
	if (io->flags & DAX_NOWAIT)
		return DAX_AGAIN;
	dax_count(w, DAX_N_BYPASSED, 1);
	tick(w);
	return DAX_BYPASS;
}

/* ---------------------------------------------------------------- transfer */

/* Do the last @hits of @n contain a multiple of TICK_HITS? */
static inline bool is_tick(uint64_t n, uint64_t hits)
{
	return hits == 1 ? !(n & (TICK_HITS - 1)) :
			   ((n - hits) ^ n) >= TICK_HITS;
}

/* Add up what a call did: once, not at every step. */
static inline void count_call(const struct io *io, size_t hits, size_t done)
{
	struct dax_window *w = io->di->window;
	struct dax_stat_block *b = dax_stat_block(w);
	enum dax_counter bytes = io->intent == DAX_READ ? DAX_N_BYTES_READ :
				 DAX_N_BYTES_WRITTEN;
	uint64_t n;

	if (ORIEL_UNLIKELY(!b)) {
		dax_count_shared(w, DAX_N_HITS, hits);
		dax_count_shared(w, bytes, done);
		return;
	}
	n = dax_block_add(b, DAX_N_HITS, hits);
	(void)dax_block_add(b, bytes, done);
	if (ORIEL_UNLIKELY(is_tick(n, hits)))
		tick(w);
}

static inline __attribute__((always_inline)) void
transfer(struct io *io, struct dax_result *ret)
{
	const uint64_t bytes = UINT64_C(1) << io->di->window->shift;
	size_t n, copied, hits = 0, done = 0;
	enum dax_stop stop = DAX_DONE;
	enum step step;

	ret->bypass_bytes = 0;
	ret->err = 0;
	while (io->left > 0) {
		n = (size_t)min_u64(io->left, bytes - (io->pos & (bytes - 1)));
		copied = 0;
		step = step_index(io, n, &copied);
		if (ORIEL_LIKELY(step == STEP_DONE))
			hits++;
		else if (step == STEP_FAULT)
			stop = DAX_FAULT;
		else
			stop = step_slow(io, n, &copied);
		done += copied;
		if (ORIEL_UNLIKELY(stop != DAX_DONE)) {
			ret->bypass_bytes = stop == DAX_BYPASS ? n : 0;
			break;
		}
		if (io->intent == DAX_READ &&
		    ORIEL_UNLIKELY(crosses_middle(io, n)))
			hint_sequential(io, n);
		io->buf += n;
		io->pos += n;
		io->left -= n;
	}
	if (ORIEL_UNLIKELY(stop == DAX_FAULT))
		dax_count(io->di->window, DAX_N_FAULTS, 1);
	ret->done = done;
	ret->stop = stop;
	count_call(io, hits, done);
}

static void bypass_all(size_t len, struct dax_result *ret)
{
	*ret = (struct dax_result){
		.stop = len ? DAX_BYPASS : DAX_DONE,
		.bypass_bytes = len,
	};
}

/*
 * Nothing but a hit in one range: what transfer() is made for, without what it
 * has to keep in mind. Where it ends there is no need to look at anything else.
 */
static inline __attribute__((always_inline)) bool only_hit(const struct io *io)
{
	const uint64_t bytes = UINT64_C(1) << io->di->window->shift;
	size_t copied;

	if (ORIEL_UNLIKELY(io->left > bytes - (io->pos & (bytes - 1))))
		return false;
	if (io->intent == DAX_READ &&
	    ORIEL_UNLIKELY(crosses_middle(io, io->left)))
		return false;
	if (ORIEL_UNLIKELY(step_index(io, io->left, &copied) != STEP_DONE))
		return false;
	count_call(io, 1, io->left);
	return true;
}

bool dax_read_hit(struct dax_inode *di, void *buf, size_t len, uint64_t pos)
{
	const struct io io = {
		.di = di, .buf = buf, .left = len, .pos = pos,
		.intent = DAX_READ,
	};

	return di->window && only_hit(&io);
}

bool dax_write_hit(struct dax_inode *di, const void *buf, size_t len,
		   uint64_t pos)
{
	const struct io io = {
		.di = di, .buf = (unsigned char *)(uintptr_t)buf, .left = len,
		.pos = pos, .intent = DAX_WRITE,
	};

	return di->window && only_hit(&io);
}

bool dax_borrow(struct dax_inode *di, uint64_t pos, size_t len,
		const void **ret)
{
	struct dax_window *w = di->window;
	struct dax_mapping *m;
	uint64_t bytes;

	if (!w)
		return false;
	bytes = UINT64_C(1) << w->shift;
	if (ORIEL_UNLIKELY(len > bytes - (pos & (bytes - 1)) || !epoch_enter()))
		return false;
	m = dax_index_get(di, pos >> w->shift);
	if (ORIEL_UNLIKELY(!m)) {
		epoch_exit();
		return false;
	}
	/* relaxed: as in copy_mapped() */
	if (!atomic_load_explicit(&m->referenced, memory_order_relaxed))
		atomic_store_explicit(&m->referenced, true,
				      memory_order_relaxed);
	*ret = m->ptr + (pos - m->file_start);
	return true;
}

/* How much of [@pos, @pos + @len) is below @size? */
static inline size_t below(size_t len, uint64_t pos, uint64_t size)
{
	return pos >= size ? 0 : (size_t)min_u64(len, size - pos);
}

void dax_read(struct dax_inode *di, void *buf, size_t len, uint64_t pos,
	      uint64_t size, uint64_t fh, unsigned flags,
	      struct dax_result *ret)
{
	struct io io = {
		.di = di, .buf = buf, .left = below(len, pos, size),
		.pos = pos, .size = size, .fh = fh, .flags = flags,
		.intent = DAX_READ,
	};

	if (ORIEL_UNLIKELY(!di->window))
		bypass_all(io.left, ret);
	else
		transfer(&io, ret);
}

void dax_write(struct dax_inode *di, const void *buf, size_t len, uint64_t pos,
	       uint64_t size, uint64_t fh, unsigned flags,
	       struct dax_result *ret)
{
	struct io io = {
		.di = di, .left = below(len, pos, size),
		.pos = pos, .size = size, .fh = fh, .flags = flags,
		.intent = DAX_WRITE,
	};

	io.buf = (unsigned char *)(uintptr_t)buf; /* only read from */
	if (ORIEL_UNLIKELY(len > 0 && !io.left))
		*ret = (struct dax_result){ .stop = DAX_ERROR, .err = -EIO };
	else if (ORIEL_UNLIKELY(!di->window))
		bypass_all(io.left, ret);
	else
		transfer(&io, ret);
}
