/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-side sections without shared writes: a reader marks its own cache line,
 * a remover unlinks an object, waits until every reader that could have seen it
 * has left, and then frees it. One domain per process.
 *
 * Readers: epoch_enter() ... epoch_exit(), any thread, wait-free; sections
 * nest; inside one a thread may fault on a page but must not wait for another
 * thread of ours, for a lock, or for a peer.
 * Removers: epoch_synchronize(), any thread that is not inside a section.
 *
 * A reader's barrier is a compiler barrier where membarrier(2) is at hand (the
 * remover then pays for both), a full fence elsewhere and under TSan.
 */
#ifndef ORIEL_BASE_EPOCH_H
#define ORIEL_BASE_EPOCH_H

#include <stdatomic.h>

#include "base/atomic.h"
#include "base/util.h"

/* One reader thread's mark; on a cache line of its own. */
struct epoch_slot {
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint64_t state; /* 0: outside */
	unsigned depth; /* owner thread only */
	bool used;      /* guarded by the registry's lock */
	struct epoch_slot *next;
};

extern _Atomic uint64_t oriel__epoch_now;      /* odd numbers, += 2 */
extern _Atomic bool oriel__epoch_membarrier;   /* remover pays the fence */
extern __thread struct epoch_slot *oriel__epoch_self
	__attribute__((tls_model("initial-exec")));

/*
 * Give the calling thread a slot (allocates; released when the thread ends).
 * Called by epoch_enter() when there is none. Returns NULL when out of memory:
 * epoch_enter() then says false.
 */
struct epoch_slot *oriel__epoch_register(void) __attribute__((cold));

/* Enter a section. False: no memory for a slot; the caller is not inside. */
ORIEL_MUST_CHECK static inline bool epoch_enter(void)
{
	struct epoch_slot *s = oriel__epoch_self;
	uint64_t now;

	if (ORIEL_UNLIKELY(!s)) {
		s = oriel__epoch_register();
		if (!s)
			return false;
	}
	if (s->depth++ > 0)
		return true;
	/* acquire: pairs with the advance in epoch_synchronize(), so that
	 * whoever enters in the new epoch sees what was unlinked before. */
	now = atomic_load_explicit(&oriel__epoch_now, memory_order_acquire);
	/* release: hands the previous section to a scan that finds this one;
	 * itself it is made visible by the scan's membarrier or our fence. */
#if ORIEL_TSAN
	atomic_exchange(&s->state, now);
#else
	atomic_store_explicit(&s->state, now, memory_order_release);
	if (ORIEL_LIKELY(atomic_load_explicit(&oriel__epoch_membarrier,
					      memory_order_relaxed)))
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
#endif
	return true;
}

static inline void epoch_exit(void)
{
	struct epoch_slot *s = oriel__epoch_self;

	if (--s->depth > 0)
		return;
	/* pairs with the acquire load in epoch_synchronize() */
	atomic_store_explicit(&s->state, 0, memory_order_release);
}

/* Is the calling thread inside a section? */
static inline bool epoch_is_inside(void)
{
	return oriel__epoch_self && oriel__epoch_self->depth > 0;
}

/* Leave all sections that the calling thread is in. */
void epoch_leave_all(void);

/*
 * Wait until every section that was open at the call has ended. Blocks; never
 * from inside a section (asserted). Fork: the child must not use the library.
 */
void epoch_synchronize(void);

#endif
