/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both ends on threads of their own, as in real life: two submitters under a
 * lock, a reaper, a device. Every side spins a little, then asks for
 * notifications, looks once more, and sleeps on an eventfd. A lost wake-up is
 * a hang, which a generous limit on the sleep turns into a failure.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rig.h"

#define N_SUBMITTERS 2u
#define N_CHAINS (ORIEL_TSAN ? 40000u : 150000u)
#define SLEEP_MAX_MS 20000
#define BUF_BYTES 16u

struct job {
	uint64_t *buf; /* in shared memory: request word, answer word */
	uint64_t word;
	_Atomic bool busy;
};

struct stress {
	struct rig *r;
	int kick_fd, call_fd;
	pthread_mutex_t submit_lock;
	struct job *jobs; /* capacity */
	unsigned n_jobs;
	unsigned submitted;       /* guarded by submit_lock */
	_Atomic unsigned reaped;
	_Atomic unsigned dev_sleeps, drv_sleeps, lost;
	_Atomic bool stop;
	unsigned spin;
};

static uint64_t mix(uint64_t v)
{
	v *= UINT64_C(0x9e3779b97f4a7c15);
	return v ^ (v >> 29);
}

static void ring_bell(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* Sleep until the bell rings. The limit is for a test that would hang. */
static void await_bell(struct stress *s, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, SLEEP_MAX_MS) != 1) {
		atomic_fetch_add(&s->lost, 1);
		atomic_store(&s->stop, true);
		return;
	}
	if (read(fd, &n, sizeof(n)) != sizeof(n))
		abort();
}

static struct job *free_job(struct stress *s, unsigned *at)
{
	for (unsigned i = 0; i < s->n_jobs; i++) {
		*at = (*at + 1) % s->n_jobs;
		/* acquire: pairs with the reaper's release */
		if (!atomic_load_explicit(&s->jobs[*at].busy,
					  memory_order_acquire))
			return &s->jobs[*at];
	}
	return NULL;
}

/* One chain, or none when the ring is full. */
static int submit_locked(struct stress *s, unsigned *at)
{
	struct job *j = free_job(s, at);
	struct ring_seg segs[2];
	int err;

	if (!j)
		return -EAGAIN;
	j->word = mix(s->submitted + 1);
	j->buf[0] = j->word;
	j->buf[1] = 0;
	segs[0] = (struct ring_seg){ rig_gpa(s->r, &j->buf[0]), 8 };
	segs[1] = (struct ring_seg){ rig_gpa(s->r, &j->buf[1]), 8 };
	atomic_store_explicit(&j->busy, true, memory_order_relaxed);
	err = ring_driver_add(s->r->drv, segs, 1, 1, j);
	if (err) {
		atomic_store_explicit(&j->busy, false, memory_order_relaxed);
		return err;
	}
	s->submitted++;
	return 0;
}

static void *submitter(void *arg)
{
	struct stress *s = arg;
	unsigned at = 0;
	bool more = true, kick;
	int err;

	while (more && !atomic_load(&s->stop)) {
		pthread_mutex_lock(&s->submit_lock);
		more = s->submitted < N_CHAINS;
		err = more ? submit_locked(s, &at) : -EAGAIN;
		kick = !err && ring_driver_needs_kick(s->r->drv);
		pthread_mutex_unlock(&s->submit_lock);
		if (kick)
			ring_bell(s->kick_fd);
		if (err == -EPROTO)
			abort();
		/* Now and then a pause, so that the others sleep. */
		if (err || (at & 31) == 7)
			sched_yield();
	}
	return NULL;
}

static void finish(struct job *j, uint32_t len)
{
	if (len != 8 || j->buf[0] != j->word || j->buf[1] != ~j->word)
		abort();
	/* release: pairs with the submitter's acquire */
	atomic_store_explicit(&j->busy, false, memory_order_release);
}

static void *reaper(void *arg)
{
	struct stress *s = arg;
	unsigned idle = 0;
	uint32_t len;
	void *token;
	int got;

	ring_driver_want_call(s->r->drv, false);
	while (atomic_load(&s->reaped) < N_CHAINS && !atomic_load(&s->stop)) {
		got = ring_driver_poll(s->r->drv, &token, &len);
		if (got < 0)
			abort();
		if (got) {
			finish(token, len);
			atomic_fetch_add(&s->reaped, 1);
			idle = 0;
			continue;
		}
		if (idle++ < s->spin) {
			cpu_relax();
			continue;
		}
		ring_driver_want_call(s->r->drv, true);
		if (!ring_driver_has_used(s->r->drv)) {
			atomic_fetch_add(&s->drv_sleeps, 1);
			await_bell(s, s->call_fd);
		}
		ring_driver_want_call(s->r->drv, false);
		idle = 0;
	}
	atomic_store(&s->stop, true);
	ring_bell(s->kick_fd);
	return NULL;
}

static void serve(struct stress *s)
{
	const struct ring_chain *c = &s->r->chain;

	if (c->n_out != 1 || c->n_in != 1)
		abort();
	*(uint64_t *)c->iov[1].iov_base = ~*(uint64_t *)c->iov[0].iov_base;
	ring_device_push(&s->r->dev, c->head, 8);
}

static void *device(void *arg)
{
	struct stress *s = arg;
	struct ring_device *d = &s->r->dev;
	unsigned idle = 0;

	ring_device_want_kick(d, false);
	while (!atomic_load(&s->stop)) {
		int got = rig_pop(s->r);

		if (got < 0)
			abort();
		if (got) {
			serve(s);
			if (ring_device_needs_call(d))
				ring_bell(s->call_fd);
			idle = 0;
			continue;
		}
		if (idle++ < s->spin) {
			cpu_relax();
			continue;
		}
		ring_device_want_kick(d, true);
		if (!ring_device_has_avail(d)) {
			atomic_fetch_add(&s->dev_sleeps, 1);
			await_bell(s, s->kick_fd);
		}
		ring_device_want_kick(d, false);
		idle = 0;
	}
	return NULL;
}

static void setup(struct stress *s, bool indirect, bool event_idx)
{
	s->r = rig_new(32, indirect, event_idx, 32 * BUF_BYTES);
	s->n_jobs = ring_driver_capacity(s->r->drv);
	s->jobs = calloc(s->n_jobs, sizeof(*s->jobs));
	assert_non_null(s->jobs);
	for (unsigned i = 0; i < s->n_jobs; i++)
		s->jobs[i].buf = (void *)(s->r->data + i * BUF_BYTES);
	s->kick_fd = eventfd(0, EFD_CLOEXEC);
	s->call_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(s->kick_fd >= 0 && s->call_fd >= 0);
	pthread_mutex_init(&s->submit_lock, NULL);
}

static void run_stress(bool indirect, bool event_idx, unsigned spin)
{
	struct stress s = { .spin = spin };
	pthread_t sub[N_SUBMITTERS], reap, dev;

	setup(&s, indirect, event_idx);
	assert_int_equal(pthread_create(&dev, NULL, device, &s), 0);
	assert_int_equal(pthread_create(&reap, NULL, reaper, &s), 0);
	for (unsigned i = 0; i < N_SUBMITTERS; i++)
		assert_int_equal(pthread_create(&sub[i], NULL, submitter, &s),
				 0);
	for (unsigned i = 0; i < N_SUBMITTERS; i++)
		pthread_join(sub[i], NULL);
	pthread_join(reap, NULL);
	pthread_join(dev, NULL);
	print_message("sleeps: driver %u, device %u\n", s.drv_sleeps,
		      s.dev_sleeps);
	assert_int_equal(s.lost, 0);
	assert_int_equal(s.reaped, N_CHAINS);
	/* Else nothing was tested. */
	assert_true(s.drv_sleeps + s.dev_sleeps > 0);
	close(s.kick_fd);
	close(s.call_fd);
	pthread_mutex_destroy(&s.submit_lock);
	free(s.jobs);
	rig_free(s.r);
}

static void test_indirect_event(void **state)
{
	(void)state;
	run_stress(true, true, 0);
	run_stress(true, true, 50);
}

static void test_indirect_flags(void **state)
{
	(void)state;
	run_stress(true, false, 0);
	run_stress(true, false, 50);
}

static void test_direct_event(void **state)
{
	(void)state;
	run_stress(false, true, 0);
	run_stress(false, true, 50);
}

static void test_direct_flags(void **state)
{
	(void)state;
	run_stress(false, false, 0);
	run_stress(false, false, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_indirect_event),
		cmocka_unit_test(test_indirect_flags),
		cmocka_unit_test(test_direct_event),
		cmocka_unit_test(test_direct_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
