/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs under load: readers follow a pointer that a writer swaps and frees.
 * What is freed is poisoned first, so that a reader that is let down notices
 * without a sanitizer, too; ASan and TSan builds notice more.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/epoch.h"
#include "base/futex.h"

#define MAGIC UINT64_C(0x600dda7a600dda7a)
#define POISON UINT64_C(0xdeaddeaddeaddead)

#define N_READERS 4
#define BATCH 500 /* reads between two looks at stop */
#define N_SWAPS (ORIEL_TSAN ? 2000u : 20000u)

struct box {
	uint64_t magic;
	uint64_t copy;
};

struct stress {
	_Atomic(struct box *) current;
	_Atomic bool stop;
	_Atomic uint64_t reads;
	_Atomic uint64_t bad;
};

static struct box *box_new(void)
{
	struct box *b = malloc(sizeof(*b));

	if (!b)
		abort();
	b->magic = MAGIC;
	b->copy = MAGIC;
	return b;
}

/* volatile: a plain store before free() is dead to the compiler. */
static void box_free(struct box *b)
{
	*(volatile uint64_t *)&b->magic = POISON;
	*(volatile uint64_t *)&b->copy = POISON;
	free(b);
}

static void swap_box(struct stress *s)
{
	/* release: pairs with the readers' acquire */
	struct box *old = atomic_exchange(&s->current, box_new());

	epoch_synchronize();
	box_free(old);
}

static bool read_box(struct stress *s)
{
	struct box *b;
	bool ok;

	if (!epoch_enter())
		return false;
	b = atomic_load_explicit(&s->current, memory_order_acquire);
	ok = b->magic == MAGIC;
	for (int i = 0; i < 20; i++)
		cpu_relax();
	if (!epoch_enter()) /* nested */
		ok = false;
	else
		epoch_exit();
	ok = ok && *(volatile uint64_t *)&b->copy == MAGIC;
	epoch_exit();
	return ok;
}

static void *reader(void *arg)
{
	struct stress *s = arg;

	while (!atomic_load(&s->stop)) {
		for (int i = 0; i < BATCH; i++)
			if (!read_box(s))
				atomic_fetch_add(&s->bad, 1);
		atomic_fetch_add(&s->reads, BATCH);
		sched_yield();
	}
	return NULL;
}

static void run_stress(unsigned n_swaps)
{
	struct stress s = { .stop = false };
	pthread_t t[N_READERS];

	atomic_store(&s.current, box_new());
	for (int i = 0; i < N_READERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reader, &s), 0);
	/* Both sides have had their turns, however the threads are run. */
	for (unsigned i = 0; i < n_swaps ||
			     atomic_load(&s.reads) < 2 * (uint64_t)n_swaps; i++)
		swap_box(&s);
	atomic_store(&s.stop, true);
	for (int i = 0; i < N_READERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&s.bad), 0);
	box_free(atomic_load(&s.current));
}

static void test_stress(void **state)
{
	(void)state;
	run_stress(N_SWAPS);
}

/*
 * The case the barrier is for, without malloc() in between: a reader that has
 * loaded the old version while its mark still sits in the store buffer. It
 * would see the remover finish with a version newer than the one it holds.
 * Stores that miss the cache, just before, keep the mark in the buffer long
 * enough for that to happen, if it can, within a fraction of the run.
 */
#define N_CLOGS (1u << 18) /* lines: 16 MiB */
#define CLOG_STORES 24
#define LITMUS_SECTIONS (ORIEL_TSAN ? 50000u : 1000000u)

struct litmus {
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint64_t version;
	_Alignas(ORIEL_CACHE_LINE) _Atomic uint64_t done;
	_Atomic bool stop;
	_Atomic uint64_t bad, sections;
	unsigned char (*clogs)[ORIEL_CACHE_LINE]; /* reader's */
};

static void clog_store_buffer(struct litmus *l, uint32_t *rng)
{
	for (int n = 0; n < CLOG_STORES; n++) {
		*rng = *rng * 1664525u + 1013904223u;
		*(volatile unsigned char *)l->clogs[*rng >> 14] = 1;
	}
}

static void *litmus_reader(void *arg)
{
	struct litmus *l = arg;
	uint64_t bad = 0, held, i;
	uint32_t rng = 1;

	memset(l->clogs, 1, N_CLOGS * sizeof(*l->clogs));
	for (i = 0; !atomic_load(&l->stop); i++) {
		if ((i & 255) == 0)
			atomic_fetch_add(&l->sections, 256);
		clog_store_buffer(l, &rng);
		if (!epoch_enter())
			abort();
		/* acquire: stands for the load of a pointer */
		held = atomic_load_explicit(&l->version, memory_order_acquire);
		for (unsigned n = (unsigned)(i & 15); n; n--)
			cpu_relax();
		bad += atomic_load_explicit(&l->done, memory_order_acquire) >
		       held;
		epoch_exit();
	}
	atomic_fetch_add(&l->bad, bad);
	return NULL;
}

static uint64_t run_litmus(void)
{
	struct litmus l = { .version = 0 };
	pthread_t t;

	l.clogs = calloc(N_CLOGS, sizeof(*l.clogs));
	assert_non_null(l.clogs);

	assert_int_equal(pthread_create(&t, NULL, litmus_reader, &l), 0);
	for (uint64_t v = 1; atomic_load(&l.sections) < LITMUS_SECTIONS; v++) {
		atomic_store(&l.version, v);
		epoch_synchronize();
		atomic_store(&l.done, v);
		/* Time for the reader to have both lines in its cache. */
		for (unsigned n = (unsigned)(v & 63); n; n--)
			cpu_relax();
	}
	atomic_store(&l.stop, true);
	pthread_join(t, NULL);
	free(l.clogs);
	return atomic_load(&l.bad);
}

static void test_litmus(void **state)
{
	(void)state;
	assert_int_equal(run_litmus(), 0);
}

/* The same with the readers' own fence, as where membarrier is missing. Runs
 * last but for tests that do not care: the switch is for good. */
static void test_stress_fence(void **state)
{
	(void)state;
	atomic_store(&oriel__epoch_membarrier, false);
	assert_int_equal(run_litmus(), 0);
	run_stress(N_SWAPS / 4);
}

static void *writer(void *arg)
{
	for (int i = 0; i < 300; i++)
		swap_box(arg);
	return NULL;
}

static void test_many_writers(void **state)
{
	struct stress s = { .stop = false };
	pthread_t r, w[3];

	(void)state;
	atomic_store(&s.current, box_new());
	assert_int_equal(pthread_create(&r, NULL, reader, &s), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&w[i], NULL, writer, &s), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(w[i], NULL);
	atomic_store(&s.stop, true);
	pthread_join(r, NULL);
	assert_int_equal(atomic_load(&s.bad), 0);
	box_free(atomic_load(&s.current));
}

struct gate {
	_Atomic uint32_t inside;
	_Atomic uint32_t leave;
	_Atomic bool left;
	_Atomic bool synced;
};

static void wait_word(_Atomic uint32_t *w)
{
	while (!atomic_load(w))
		futex_wait(w, 0, UINT64_MAX);
}

static void set_word(_Atomic uint32_t *w)
{
	atomic_store(w, 1);
	futex_wake(w, 1 << 20);
}

/* Keeps a section open until told; nested once, which must not end it. */
static void *long_reader(void *arg)
{
	struct gate *g = arg;

	if (!epoch_enter() || !epoch_enter())
		abort();
	epoch_exit();
	set_word(&g->inside);
	wait_word(&g->leave);
	atomic_store(&g->left, true);
	epoch_exit();
	return NULL;
}

static void *synchronizer(void *arg)
{
	struct gate *g = arg;

	epoch_synchronize();
	/* The reader was inside at the call. */
	if (!atomic_load(&g->left))
		abort();
	atomic_store(&g->synced, true);
	return NULL;
}

/* A remover waits for a section that is open, and only for that. */
static void test_waits_for_open_section(void **state)
{
	struct gate g = { 0 };
	pthread_t r, s;
	uint64_t before;

	(void)state;
	assert_int_equal(pthread_create(&r, NULL, long_reader, &g), 0);
	wait_word(&g.inside);
	before = atomic_load(&oriel__epoch_now);
	assert_int_equal(pthread_create(&s, NULL, synchronizer, &g), 0);
	while (atomic_load(&oriel__epoch_now) == before)
		sched_yield();
	/* Newer readers come and go while the remover waits. */
	for (int i = 0; i < 1000; i++) {
		assert_true(epoch_enter());
		assert_true(epoch_is_inside());
		epoch_exit();
		sched_yield();
	}
	assert_false(atomic_load(&g.synced));
	set_word(&g.leave);
	pthread_join(r, NULL);
	pthread_join(s, NULL);
	assert_true(atomic_load(&g.synced));
}

static void *bad_leaver(void *arg)
{
	*(struct epoch_slot **)arg = NULL;
	if (epoch_enter())
		*(struct epoch_slot **)arg = oriel__epoch_self;
	return NULL; /* inside */
}

/* A thread that ends inside a section does not hold removers up, and its slot
 * serves the next thread. */
static void test_thread_exit(void **state)
{
	struct epoch_slot *first, *again;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, bad_leaver, &first), 0);
	pthread_join(t, NULL);
	assert_non_null(first);
	epoch_synchronize();
	for (int i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&t, NULL, bad_leaver, &again),
				 0);
		pthread_join(t, NULL);
		assert_ptr_equal(again, first);
	}
	assert_int_equal(atomic_load(&first->state), 0);
}

static pthread_key_t late_key;
static _Atomic unsigned late_runs;

static void late_destructor(void *arg)
{
	(void)arg;
	if (!epoch_enter())
		return;
	atomic_fetch_add(&late_runs, 1);
	epoch_exit();
}

static void *late_thread(void *arg)
{
	pthread_setspecific(late_key, arg);
	if (epoch_enter())
		epoch_exit();
	return NULL;
}

/* Another key's destructor may enter after our own has run. */
static void test_enter_from_destructor(void **state)
{
	pthread_t t;
	int dummy;

	(void)state;
	assert_int_equal(pthread_key_create(&late_key, late_destructor), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(pthread_create(&t, NULL, late_thread, &dummy),
				 0);
		pthread_join(t, NULL);
	}
	assert_int_equal(atomic_load(&late_runs), 10);
	epoch_synchronize(); /* no slot was left inside */
	pthread_key_delete(late_key);
}

/* From now on membarrier(2) fails for this thread. */
static bool forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/* In a child of its own. 77: there is nothing to test here. */
static int membarrier_taken_away(void)
{
	if (!epoch_enter())
		return 1;
	epoch_exit();
	if (!atomic_load(&oriel__epoch_membarrier) || !forbid_membarrier())
		return 77;
	errno = EXDEV;
	epoch_synchronize();
	if (errno != EXDEV || atomic_load(&oriel__epoch_membarrier))
		return 2;
	return run_litmus() ? 3 : 0; /* with the readers' fence */
}

/* A sandbox that comes late: readers pay from then on. Must run before this
 * process has used epochs, since a child may not use those of its parent. */
static void test_membarrier_lost(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(membarrier_taken_away());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_slots_on_lines_of_their_own(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct epoch_slot) % ORIEL_CACHE_LINE, 0);
	assert_true(epoch_enter());
	assert_int_equal((uintptr_t)oriel__epoch_self % ORIEL_CACHE_LINE, 0);
	assert_int_equal(atomic_load(&oriel__epoch_self->state) & 1, 1);
	epoch_exit();
	assert_false(epoch_is_inside());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_membarrier_lost),
		cmocka_unit_test(test_thread_exit),
		cmocka_unit_test(test_slots_on_lines_of_their_own),
		cmocka_unit_test(test_enter_from_destructor),
		cmocka_unit_test(test_waits_for_open_section),
		cmocka_unit_test(test_many_writers),
		cmocka_unit_test(test_litmus),
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_stress_fence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
