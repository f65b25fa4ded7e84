/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs: when may a remover free what it has unlinked?
 *
 * Each reader thread owns a slot on a cache line of its own. Outside a section
 * the slot's state is 0; inside it is the epoch the thread saw on entering.
 * A remover unlinks, advances the epoch, makes everybody pass a barrier, and
 * then waits for each slot that holds an older epoch.
 *
 * Why this is sound. Take one reader and one remover; the barrier B of the
 * remover falls somewhere into the reader's program.
 *  - The reader's load of the pointer comes after B: it finds the object
 *    unlinked, whatever its slot says.
 *  - It comes before B: then so does its store of the state, which therefore is
 *    visible to the scan. If the epoch stored is an older one, the scan waits.
 *    (A reader that took the epoch and was held up before it stored it stores
 *    an old one: the remover waits longer than it needs, no more.) If it is the
 *    new one, the reader has acquired it from the remover's release after the
 *    unlinking, and finds the object unlinked.
 * B is membarrier(2) where there is one; else reader and remover both execute
 * a full fence, and the same argument is the one about store buffering.
 *
 * Slots are linked into a list that only grows and are never freed: a thread
 * that ends leaves its slot for the next. The remover takes the list's head
 * under the registry's lock, so that a thread which registers later has seen
 * all that the remover did before; it waits without the lock, so that a reader
 * never waits for a remover.
 *
 * Thread rule: any thread. A module that is loaded with dlopen() must not be
 * unloaded while threads live that used it (link with -z nodelete): the key's
 * destructor is code of ours.
 */
#include "base/epoch.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"

/* How long to wait for a reader: turns of a spin loop, then yields, then
 * sleeps that double up to a millisecond. */
#define SPIN_TURNS 200u
#define YIELD_TURNS 50u
#define SLEEP_MIN_NS (20 * NS_PER_US)
#define SLEEP_MAX_NS NS_PER_MS

/* See global_barrier(). */
#define DRAIN_NS (20 * NS_PER_MS)

_Atomic uint64_t oriel__epoch_now = 1;
_Atomic bool oriel__epoch_membarrier;
__thread struct epoch_slot *oriel__epoch_self
	__attribute__((tls_model("initial-exec")));

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct epoch_slot *registry_head; /* guarded by registry_lock */

/* Held while the way of the barrier changes; see global_barrier(). */
static pthread_mutex_t fallback_lock = PTHREAD_MUTEX_INITIALIZER;

static pthread_once_t setup_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key; /* its value is the thread's slot */
static bool exit_key_valid;    /* written once, by setup() */

/* The thread ends: it reads nothing any more, so whatever its slot says is
 * over. Other destructors may enter again and so register again; the C library
 * then calls this once more. */
static void release_slot(void *arg)
{
	struct epoch_slot *s = arg;

	oriel__epoch_self = NULL;
	s->depth = 0;
	/* pairs with the acquire load in wait_for_slot() */
	atomic_store_explicit(&s->state, 0, memory_order_release);
	pthread_mutex_lock(&registry_lock);
	s->used = false;
	pthread_mutex_unlock(&registry_lock);
}

static int sys_membarrier(int cmd)
{
	return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

/* Once, before the first section and before the first scan: no thread can see
 * oriel__epoch_membarrier set which the remover still takes for clear. */
static void setup(void)
{
	exit_key_valid = pthread_key_create(&exit_key, release_slot) == 0;
	/* TSan does not see what the system call does for us. */
	if (ORIEL_TSAN)
		return;
	if (sys_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0)
		atomic_store(&oriel__epoch_membarrier, true);
}

/* A slot nobody uses, or a new one at the head of the list; NULL: no memory. */
static struct epoch_slot *take_slot_locked(void)
{
	struct epoch_slot *s;
	void *mem;

	for (s = registry_head; s; s = s->next) {
		if (!s->used) {
			s->used = true;
			return s;
		}
	}
	if (posix_memalign(&mem, ORIEL_CACHE_LINE, sizeof(*s)) != 0)
		return NULL;
	s = mem;
	atomic_init(&s->state, 0);
	s->depth = 0;
	s->used = true;
	s->next = registry_head;
	registry_head = s;
	return s;
}

struct epoch_slot *oriel__epoch_register(void)
{
	struct epoch_slot *s;
	int saved = errno;

	pthread_once(&setup_once, setup);
	if (!exit_key_valid)
		return NULL;
	pthread_mutex_lock(&registry_lock);
	s = take_slot_locked();
	pthread_mutex_unlock(&registry_lock);
	if (!s)
		goto out;
	if (pthread_setspecific(exit_key, s) != 0) {
		release_slot(s);
		s = NULL;
		goto out;
	}
	oriel__epoch_self = s;
out:
	errno = saved;
	return s;
}

void epoch_leave_all(void)
{
	if (!epoch_is_inside())
		return;
	oriel__epoch_self->depth = 1;
	epoch_exit();
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { .tv_nsec = (long)ns };

	nanosleep(&ts, NULL);
}

/*
 * Every thread of the process passes a full barrier. The call can stop working
 * when the application installs a seccomp filter after setup(): then readers
 * are told to pay for their own fence from now on, and the one load that a
 * reader may have brought forward in front of its store is given a time that
 * no processor keeps a store back for. Other removers, which find the change
 * made, wait for that time to be over, too.
 */
static void global_barrier(void)
{
	shm_full_barrier();
	if (atomic_load_explicit(&oriel__epoch_membarrier,
				 memory_order_relaxed) &&
	    sys_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
		return;
	pthread_mutex_lock(&fallback_lock);
	if (atomic_load_explicit(&oriel__epoch_membarrier,
				 memory_order_relaxed)) {
		atomic_store(&oriel__epoch_membarrier, false);
		sleep_ns(DRAIN_NS);
		shm_full_barrier();
	}
	pthread_mutex_unlock(&fallback_lock);
}

/* One turn of waiting; @turn counts up from 0. */
static void back_off(unsigned turn)
{
	uint64_t ns;

	if (turn < SPIN_TURNS) {
		cpu_relax();
		return;
	}
	turn -= SPIN_TURNS;
	if (turn < YIELD_TURNS) {
		sched_yield();
		return;
	}
	turn -= YIELD_TURNS;
	ns = turn < 6 ? SLEEP_MIN_NS << turn : SLEEP_MAX_NS;
	sleep_ns(min_u64(ns, SLEEP_MAX_NS));
}

/* Wait until @s is outside, or inside a section begun at @target or later. */
static void wait_for_slot(struct epoch_slot *s, uint64_t target)
{
	unsigned turn = 0;
	uint64_t state;

	for (;;) {
		/* pairs with the release stores in epoch_enter(),
		 * epoch_exit() and release_slot() */
		state = atomic_load_explicit(&s->state, memory_order_acquire);
		if (state == 0 || state >= target)
			return;
		back_off(turn);
		if (turn < UINT32_MAX)
			turn++;
	}
}

void epoch_synchronize(void)
{
	struct epoch_slot *s;
	uint64_t target;
	int saved = errno;

	oriel_assert(!epoch_is_inside());
	pthread_once(&setup_once, setup);
	/* Release of all the caller unlinked; pairs with the acquire load of
	 * oriel__epoch_now in epoch_enter(). */
	target = atomic_fetch_add(&oriel__epoch_now, 2) + 2;
	global_barrier();
	pthread_mutex_lock(&registry_lock);
	s = registry_head;
	pthread_mutex_unlock(&registry_lock);
	/* Published slots keep their successor for ever. */
	for (; s; s = s->next)
		wait_for_slot(s, target);
	errno = saved;
}
