/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues and a daemon that lies: what it says it wrote is changed after the
 * answer was checked for its form, and before anybody believes it. A whole answer
 * of wrong form never gets there (client_slot_decode()).
 */
#include "client/call.h"

#undef MIB /* a number in tests */

#include "queue_fixture.h"

#define TRUTH UINT32_MAX

static _Atomic uint32_t lie = TRUTH;
static _Atomic unsigned n_lies;

int __real_client_slot_decode(struct oriel_session *on,
			      const struct client_slot *slot,
			      struct client_call *c);
int __wrap_client_slot_decode(struct oriel_session *on,
			      const struct client_slot *slot,
			      struct client_call *c);

int __wrap_client_slot_decode(struct oriel_session *on,
			      const struct client_slot *slot,
			      struct client_call *c)
{
	int err = __real_client_slot_decode(on, slot, c);

	if (!err && c->opcode == FUSE_WRITE && lie != TRUTH) {
		((struct fuse_write_out *)c->out)->size = lie;
		n_lies++;
	}
	return err;
}

static void test_wrote_more(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 4);
	static unsigned char buf[1000];
	struct oriel_file *f;

	native_pattern(dir, "more", 1000, 21);
	f = must_open(m, "more", O_RDWR);
	lie = 1001;
	equals(one(q, write_of(f, buf, 1000, 500, 0)), -EPROTO);
	lie = TRUTH;
	/* who lies is not talked to any more */
	equals(one(q, read_of(f, buf, 10, 0, 0)), -EPROTO);
	equals(oriel_pread(f, buf, 10, 0), -EPROTO);
	oriel_queue_free(q);
	oriel_close(f);
	oriel_disconnect(m);
}

/* No progress for no reason: an error, not a loop; and the session lives. */
static void test_wrote_nothing(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 4);
	static unsigned char buf[1000];
	struct oriel_request r;
	struct oriel_file *f;

	native_pattern(dir, "nothing", 1000, 22);
	f = must_open(m, "nothing", O_RDWR);
	lie = 0;
	n_lies = 0;
	/* the second is held until the first is over */
	for (unsigned i = 0; i < 2; i++) {
		r = write_of(f, buf, 1000, 1000, i);
		ok(oriel_queue_prepare(q, &r));
	}
	equals(oriel_queue_submit(q), 2);
	all_of(q, 2, -EIO);
	equals(n_lies, 2);
	lie = TRUTH;
	equals(one(q, write_of(f, buf, 1000, 1000, 0)), 1000);
	oriel_queue_free(q);
	ok(oriel_close(f));
	oriel_disconnect(m);
}

/* Less than was asked: the rest is asked for, and all is there in the end. */
static void test_wrote_less(void **state)
{
	struct oriel_session *m = no_window(0);
	struct oriel_queue *q = must_queue(m, 4);
	unsigned char buf[1000], back[1000];
	struct oriel_file *f;

	native_pattern(dir, "less", 1000, 23);
	f = must_open(m, "less", O_RDWR);
	equals(oriel_pread(f, buf, 1000, 0), 1000);
	lie = 250;
	n_lies = 0;
	equals(one(q, write_of(f, buf, 1000, 1000, 0)), 1000);
	equals(n_lies, 4);
	lie = TRUTH;
	equals(one(q, read_of(f, back, 1000, 1000, 0)), 1000);
	assert_memory_equal(back, buf, 1000);
	oriel_queue_free(q);
	ok(oriel_close(f));
	oriel_disconnect(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrote_more),
		cmocka_unit_test(test_wrote_nothing),
		cmocka_unit_test(test_wrote_less),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
