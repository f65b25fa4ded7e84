/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gauge page: what this session shows of itself (docs/design/top.md).
 *
 * Nobody waits for questions. The word that asks is looked at by messages, and by
 * every 256th hit of a thread: if it has changed, the session is watched from
 * then on. It has a thread for that, which sleeps on the word, writes the page
 * anew for each question, and ends when there has been none for a while.
 * Meanwhile the messages' latencies are taken. A session without background
 * threads publishes in its messages.
 *
 * Page and word are memory that the daemon can write. Nothing in it is believed:
 * the word is compared, the page only written, and what is written is built
 * elsewhere. A daemon that asks without end is answered now and then.
 *
 * Thread rule: start and stop by who connects and disconnects; messages and hits
 * on any thread, with whatever locks of theirs: they only try gauge.lock, which
 * is taken by who publishes, before the locks of what is counted, and never while
 * one of those is held.
 */
#include "client/client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "wire/vhost_user.h"

/* Latencies are taken for so long after the last question. */
#define WATCHED_NS (5 * NS_PER_S)
/* No two answers in less. */
#define PAUSE_NS (20 * NS_PER_MS)
/* To look again whether a thread that was told to end has. */
#define STOP_SLICE_NS (5 * NS_PER_MS)
/* It calls nothing deep; sanitizers and TLS of large programs want some. */
#define STACK_BYTES KIB(256)

/* ------------------------------------------------------------- publishing */

static void fill_counters(struct oriel_session *s, struct gauge_body *b)
{
	struct oriel_info i = { .size = sizeof(i) };

	if (oriel_info(s, &i))
		return;
	b->n[GAUGE_HITS] = i.hits;
	b->n[GAUGE_MISSES_ALL] = i.misses;
	b->n[GAUGE_SETUPS] = i.setups;
	b->n[GAUGE_SETUP_ERRORS] = i.setup_errors;
	b->n[GAUGE_UPGRADES] = i.upgrades;
	b->n[GAUGE_RECLAIMED] = i.reclaimed;
	b->n[GAUGE_PREFETCHED] = i.prefetched;
	b->n[GAUGE_BYPASSED] = i.bypassed;
	b->n[GAUGE_FAULTS] = i.faults;
	b->n[GAUGE_WINDOW_READ_BYTES] = i.window_read_bytes;
	b->n[GAUGE_WINDOW_WRITE_BYTES] = i.window_write_bytes;
	b->n[GAUGE_MESSAGE_READ_BYTES] = i.message_read_bytes;
	b->n[GAUGE_MESSAGE_WRITE_BYTES] = i.message_write_bytes;
	b->n[GAUGE_REQUESTS] = i.requests;
	b->n[GAUGE_FORGETS] = i.forgets;
	b->n[GAUGE_SLEEPS] = i.sleeps;
	b->n[GAUGE_INODES] = i.inodes;
	b->n[GAUGE_OPEN_FILES] = i.open_files;
	b->n[GAUGE_RANGE_BYTES] = i.range_bytes;
	b->n[GAUGE_RANGES] = i.ranges;
	b->n[GAUGE_FREE_RANGES] = i.free_ranges;
	b->n[GAUGE_MAPPINGS] = i.mappings;
	b->n[GAUGE_PINNED_RANGES] = i.pinned_ranges;
	b->n[GAUGE_DAX] = i.dax != 0;
}

static void fill_latencies(struct client_gauge *g, struct gauge_body *b)
{
	for (unsigned c = 0; c < GAUGE_LAT_CLASSES; c++)
		for (unsigned i = 0; i < GAUGE_LAT_BUCKETS; i++)
			b->lat[c][i] = atomic_load_explicit(
				&g->lat[c][i], memory_order_relaxed);
}

static void fill_files(const struct oriel_session *s,
		       const struct dax_hot_files *most, struct gauge_body *b)
{
	_Static_assert(DAX_HOT_FILES == GAUGE_FILES, "all of them");
	for (unsigned i = 0; i < most->n && !s->opts.no_file_names; i++)
		b->files[i] = (struct gauge_file){
			.node = most->file[i].id,
			.ranges = most->file[i].ranges,
			.heat = most->file[i].heat,
		};
}

static void fill_body(struct oriel_session *s, struct gauge_body *b)
{
	const char *name = program_invocation_short_name;
	size_t len = strnlen(name, sizeof(b->name) - 1);

	memset(b, 0, sizeof(*b));
	b->when_ns = clock_now_ns();
	b->answers = s->gauge.seen;
	b->watched = 1;
	memcpy(b->name, name, len);
	fill_counters(s, b);
	fill_latencies(&s->gauge, b);
	if (s->dax) {
		struct dax_hot_files most = { 0 };
		struct dax_stats d;

		dax_window_stats(s->dax, &d);
		memcpy(b->misses, d.miss, sizeof(d.miss));
		b->n_cells = dax_window_heat(s->dax, b->cells, GAUGE_CELLS,
					     &b->ranges_per_cell, &most);
		fill_files(s, &most, b);
	}
}

/* gauge.lock is held. */
static void publish_locked(struct oriel_session *s)
{
	struct gauge_page *page = s->gauge.page;
	struct gauge_body body;

	fill_body(s, &body);
	if (!++s->gauge.seq)
		s->gauge.seq = 1;
	__atomic_store_n(&page->tail, s->gauge.seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(&page->body, &body, sizeof(body));
	page->magic = GAUGE_MAGIC;
	page->version = GAUGE_VERSION;
	page->bytes = GAUGE_BYTES;
	/* pairs with the acquire in copy_page() of the daemon */
	__atomic_store_n(&page->head, s->gauge.seq, __ATOMIC_RELEASE);
}

static uint32_t question(const struct client_gauge *g)
{
	return __atomic_load_n(g->ask, __ATOMIC_ACQUIRE);
}

/* From here on everything is looked at, until unwatch_locked(). */
static void watch_locked(struct client_gauge *g)
{
	/* relaxed, all: hints. As good as never the same: a message may not be
	 * counted when a daemon makes it so. */
	atomic_store_explicit(&g->quiet, g->seen + UINT32_MAX / 2,
			      memory_order_relaxed);
	atomic_store_explicit(&g->watched, true, memory_order_relaxed);
}

static void unwatch_locked(struct client_gauge *g)
{
	atomic_store_explicit(&g->watched, false, memory_order_relaxed);
	/* a question that has come since then differs from it */
	atomic_store_explicit(&g->quiet, g->seen, memory_order_relaxed);
}

/* Answer if there is a new question; false: there has been none for long, and
 * it is not watched any more. */
static bool answer_locked(struct oriel_session *s, uint64_t now)
{
	struct client_gauge *g = &s->gauge;
	uint32_t asked = question(g);

	if (asked != g->seen) {
		g->seen = asked;
		g->seen_ns = now;
		watch_locked(g);
		publish_locked(s);
	} else if (now - g->seen_ns >= WATCHED_NS) {
		unwatch_locked(g);
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- messages */

static enum oriel_latency class_of(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_GETATTR:
	case FUSE_SETATTR:
	case FUSE_STATFS:
	case FUSE_ACCESS:
	case FUSE_GETXATTR:
	case FUSE_SETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_REMOVEXATTR:
	case FUSE_WIRE_STATX:
		return ORIEL_LATENCY_ATTR;
	case FUSE_OPEN:
	case FUSE_CREATE:
	case FUSE_RELEASE:
	case FUSE_FLUSH:
		return ORIEL_LATENCY_OPEN;
	case FUSE_READ:
		return ORIEL_LATENCY_READ;
	case FUSE_WRITE:
		return ORIEL_LATENCY_WRITE;
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
		return ORIEL_LATENCY_DIR;
	case FUSE_SETUPMAPPING:
	case FUSE_REMOVEMAPPING:
		return ORIEL_LATENCY_MAP;
	case FUSE_LOOKUP:
	case FUSE_READLINK:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
		return ORIEL_LATENCY_NAME;
	default:
		return ORIEL_LATENCY_OTHER;
	}
}

static bool start_thread(struct oriel_session *s);

/* There is a question. */
static void wake_up(struct oriel_session *s, bool may_publish)
{
	struct client_gauge *g = &s->gauge;
	uint64_t now = clock_now_ns();

	/* whoever has it is about to answer, or to end */
	if (pthread_mutex_trylock(&g->lock))
		return;
	if (g->is_open && !g->is_running && !g->is_inline)
		g->is_inline = !start_thread(s);
	if (g->is_open && g->is_inline && may_publish &&
	    now - g->seen_ns >= PAUSE_NS)
		answer_locked(s, now);
	pthread_mutex_unlock(&g->lock);
}

void client_gauge_message(struct oriel_session *s, uint32_t opcode,
			  uint64_t start_ns)
{
	struct client_gauge *g = &s->gauge;

	/* watches wait for what others do: no latency of the daemon's */
	if (!atomic_load_explicit(&g->watched, memory_order_relaxed))
		return wake_up(s, true);
	if (opcode != FUSE_IOCTL)
		atomic_fetch_add_explicit(
			&g->lat[class_of(opcode)]
			       [gauge_bucket(clock_now_ns() - start_ns)],
			1, memory_order_relaxed);
	if (atomic_load_explicit(&g->is_inline, memory_order_relaxed))
		wake_up(s, true);
}

void client_gauge_tick(void *owner)
{
	struct oriel_session *s = owner;

	/* relaxed, all: hints */
	if (client_gauge_is_asked(s) &&
	    !atomic_load_explicit(&s->gauge.watched, memory_order_relaxed))
		wake_up(s, false);
}

/* ------------------------------------------------------------- the thread */

/* False: it ends. */
static bool answer_once(struct oriel_session *s, uint64_t *ret_wait_ns)
{
	struct client_gauge *g = &s->gauge;
	uint64_t now = clock_now_ns();
	bool go_on;

	pthread_mutex_lock(&g->lock);
	go_on = answer_locked(s, now);
	if (!go_on)
		g->is_running = false; /* another one may be started */
	*ret_wait_ns = WATCHED_NS - min_u64(now - g->seen_ns, WATCHED_NS);
	pthread_mutex_unlock(&g->lock);
	return go_on;
}

static void *gauge_main(void *arg)
{
	struct oriel_session *s = arg;
	struct client_gauge *g = &s->gauge;
	uint64_t wait_ns;

	/* acquire: pairs with the release in client_gauge_stop() */
	while (!atomic_load_explicit(&g->stop, memory_order_acquire)) {
		if (!answer_once(s, &wait_ns))
			return NULL;
		(void)futex_wait(&g->stop, 0, PAUSE_NS);
		(void)futex_wait_shared(g->ask, g->seen, wait_ns);
	}
	atomic_store_explicit(&g->stop, 2, memory_order_release);
	futex_wake(&g->stop, 1);
	return NULL;
}

/* gauge.lock is held. One that has ended by itself is joined first: it takes no
 * lock any more. */
static bool start_thread(struct oriel_session *s)
{
	struct client_gauge *g = &s->gauge;
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (s->opts.no_background || pthread_attr_init(&attr))
		return false;
	if (g->has_thread)
		pthread_join(g->thread, NULL);
	/* one that does not fit the program's TLS fails, below */
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* The application's signals are none of its business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* the question that it is for is a new one to it */
	g->seen = question(g) - 1;
	r = pthread_create(&g->thread, &attr, gauge_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	g->has_thread = g->is_running = !r;
	if (r)
		return false;
	watch_locked(g);
	return true;
}

void client_gauge_init(struct oriel_session *s)
{
	s->gauge.ask = &s->gauge.none;
	pthread_mutex_init(&s->gauge.lock, NULL);
}

void client_gauge_place(struct oriel_session *s, struct fuse_init_in *in)
{
	uint64_t gpa = s->fi->gauge_gpa;
	uint64_t below = gpa - s->fi->gauge_ask_gpa;

	if (!s->fi->gauge || below > UINT32_MAX ||
	    !(s->fi->protocol_features >> VHOST_USER_PF_ORIEL & 1))
		return;
	s->gauge.page = (struct gauge_page *)(void *)s->fi->gauge;
	in->unused[FUSE_WIRE_INIT_GAUGE_BYTES] = GAUGE_BYTES;
	in->unused[FUSE_WIRE_INIT_GAUGE_LOW] = (uint32_t)gpa;
	in->unused[FUSE_WIRE_INIT_GAUGE_HIGH] = (uint32_t)(gpa >> 32);
	in->unused[FUSE_WIRE_INIT_GAUGE_ASK] = (uint32_t)below;
	if (s->opts.no_file_names)
		in->unused[FUSE_WIRE_INIT_GAUGE_FLAGS] =
			FUSE_WIRE_GAUGE_NO_NAMES;
}

void client_gauge_start(struct oriel_session *s)
{
	struct client_gauge *g = &s->gauge;

	if (!g->page)
		return;
	pthread_mutex_lock(&g->lock);
	g->is_open = true;
	g->ask = s->fi->gauge_ask;
	pthread_mutex_unlock(&g->lock);
}

void client_gauge_stop(struct oriel_session *s)
{
	struct client_gauge *g = &s->gauge;
	bool is_running;

	pthread_mutex_lock(&g->lock);
	g->is_open = false; /* none is started any more */
	is_running = g->is_running;
	pthread_mutex_unlock(&g->lock);
	if (!g->has_thread)
		return;
	/* pairs with the acquire in gauge_main() */
	atomic_store_explicit(&g->stop, 1, memory_order_release);
	futex_wake(&g->stop, 1);
	/* It may be just about to sleep on a word that is not ours alone, or to
	 * end by itself. */
	while (is_running &&
	       atomic_load_explicit(&g->stop, memory_order_acquire) != 2) {
		futex_wake_shared(g->ask, 1);
		futex_wait(&g->stop, 1, STOP_SLICE_NS);
		pthread_mutex_lock(&g->lock);
		is_running = g->is_running;
		pthread_mutex_unlock(&g->lock);
	}
	pthread_join(g->thread, NULL);
	g->has_thread = false;
}
