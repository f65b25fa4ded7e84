/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gauge page: what this session shows of itself (docs/design/top.md).
 *
 * A thread sleeps on the page's word "ask" without a time limit. When the daemon
 * has changed it, the page is written anew and the session counts as watched: the
 * messages' latencies are taken until nobody has asked for a while. A session
 * without background threads has a flag instead that makes messages look.
 *
 * The page is memory that the daemon can write. Nothing in it is believed: "ask"
 * is compared, the rest only written, and what is written is built elsewhere. A
 * daemon that asks without end is answered now and then.
 *
 * Thread rule: start and stop by who connects and disconnects; messages on any
 * thread. gauge.lock is taken by who publishes, before the locks of what is
 * counted, and never while one of those is held.
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

static void fill_body(struct oriel_session *s, struct gauge_body *b)
{
	const char *name = program_invocation_short_name;
	size_t len = strnlen(name, sizeof(b->name) - 1);

	memset(b, 0, sizeof(*b));
	b->when_ns = clock_now_ns();
	b->answers = s->gauge.seen;
	b->watched = atomic_load_explicit(&s->gauge.hook,
					  memory_order_relaxed) &
		     GAUGE_WATCHED;
	memcpy(b->name, name, len);
	fill_counters(s, b);
	fill_latencies(&s->gauge, b);
	if (s->dax) {
		struct dax_stats d;

		dax_window_stats(s->dax, &d);
		memcpy(b->misses, d.miss, sizeof(d.miss));
		b->n_cells = dax_window_heat(s->dax, b->cells, GAUGE_CELLS,
					     &b->ranges_per_cell);
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
	return __atomic_load_n(&g->page->ask, __ATOMIC_ACQUIRE);
}

/* Answer if there is a new question; else note that there has been none for
 * long. */
static void answer(struct oriel_session *s, uint64_t now)
{
	struct client_gauge *g = &s->gauge;
	uint32_t asked = question(g);

	pthread_mutex_lock(&g->lock);
	if (asked != g->seen) {
		__atomic_store_n(&g->seen, asked, __ATOMIC_RELAXED);
		g->seen_ns = now;
		atomic_fetch_or_explicit(&g->hook, GAUGE_WATCHED,
					 memory_order_relaxed);
		publish_locked(s);
	} else if (now - g->seen_ns >= WATCHED_NS) {
		atomic_fetch_and_explicit(&g->hook, ~GAUGE_WATCHED,
					  memory_order_relaxed);
	}
	pthread_mutex_unlock(&g->lock);
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

void client_gauge_message(struct oriel_session *s, uint32_t opcode,
			  uint64_t start_ns)
{
	struct client_gauge *g = &s->gauge;
	uint32_t hook = atomic_load_explicit(&g->hook, memory_order_relaxed);
	uint64_t now;

	/* relaxed: who takes the lock looks again */
	if (hook == GAUGE_POLLED &&
	    question(g) == __atomic_load_n(&g->seen, __ATOMIC_RELAXED))
		return;
	now = clock_now_ns();
	/* watches wait for what others do: no latency of the daemon's */
	if (hook & GAUGE_WATCHED && opcode != FUSE_IOCTL)
		atomic_fetch_add_explicit(
			&g->lat[class_of(opcode)][gauge_bucket(now - start_ns)],
			1, memory_order_relaxed);
	if (hook & GAUGE_POLLED)
		answer(s, now);
}

/* ------------------------------------------------------------- the thread */

static void *gauge_main(void *arg)
{
	struct oriel_session *s = arg;
	struct client_gauge *g = &s->gauge;
	uint64_t limit_ns = UINT64_MAX;

	/* acquire: pairs with the release in client_gauge_stop() */
	while (!atomic_load_explicit(&g->stop, memory_order_acquire)) {
		uint32_t before = g->seen;

		if (futex_wait_shared(&g->page->ask, before, limit_ns) ==
			    -ETIMEDOUT ||
		    question(g) != before)
			answer(s, clock_now_ns());
		limit_ns = atomic_load_explicit(&g->hook,
						memory_order_relaxed) ?
				   WATCHED_NS : UINT64_MAX;
		if (limit_ns != UINT64_MAX)
			futex_wait(&g->stop, 0, PAUSE_NS);
	}
	atomic_store_explicit(&g->stop, 2, memory_order_release);
	futex_wake(&g->stop, 1);
	return NULL;
}

static bool start_thread(struct oriel_session *s)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (pthread_attr_init(&attr))
		return false;
	/* one that does not fit the program's TLS fails, below */
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* The application's signals are none of its business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&s->gauge.thread, &attr, gauge_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return !r;
}

void client_gauge_place(struct oriel_session *s, struct fuse_init_in *in)
{
	uint64_t gpa = s->fi->gauge_gpa;

	if (!s->fi->gauge ||
	    !(s->fi->protocol_features >> VHOST_USER_PF_ORIEL & 1))
		return;
	s->gauge.page = (struct gauge_page *)(void *)s->fi->gauge;
	in->unused[FUSE_WIRE_INIT_GAUGE_BYTES] = GAUGE_BYTES;
	in->unused[FUSE_WIRE_INIT_GAUGE_LOW] = (uint32_t)gpa;
	in->unused[FUSE_WIRE_INIT_GAUGE_HIGH] = (uint32_t)(gpa >> 32);
}

void client_gauge_start(struct oriel_session *s)
{
	struct client_gauge *g = &s->gauge;

	if (!g->page)
		return;
	if (!s->opts.no_background)
		g->has_thread = start_thread(s);
	if (!g->has_thread)
		atomic_store_explicit(&g->hook, GAUGE_POLLED,
				      memory_order_relaxed);
}

void client_gauge_stop(struct oriel_session *s)
{
	struct client_gauge *g = &s->gauge;

	if (!g->has_thread)
		return;
	/* pairs with the acquire in gauge_main() */
	atomic_store_explicit(&g->stop, 1, memory_order_release);
	futex_wake(&g->stop, 1);
	/* It may be just about to sleep on a word that is not ours alone. */
	while (atomic_load_explicit(&g->stop, memory_order_acquire) != 2) {
		futex_wake_shared(&g->page->ask, 1);
		futex_wait(&g->stop, 1, STOP_SLICE_NS);
	}
	pthread_join(g->thread, NULL);
	g->has_thread = false;
}
