/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at sessions: who sees whom, pages that lie anywhere in a client's
 * memory or outside of it, names that are nobody's business.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wire/gauge.h"

/* ------------------------------------------------- the memory of a client */

#define GPA 0x100000u
#define PAGE_AT 0x2000u

static struct {
	_Alignas(4096) unsigned char bytes[0x8000];
	unsigned held;
} memory;

static void *hold(void *ctx, uint64_t gpa, uint64_t len, void **ret)
{
	if (gpa < GPA || !range_fits(gpa - GPA, len, sizeof(memory.bytes)))
		return NULL;
	memory.held++;
	*ret = memory.bytes + (gpa - GPA);
	return &memory;
}

static void drop(void *token)
{
	assert_ptr_equal(token, &memory);
	memory.held--;
}

static void touch(bool begin)
{
}

static void *keep(void *ctx, unsigned queue)
{
	return NULL;
}

static void answer(void *ctx, void *token, const void *data, size_t len)
{
	fail();
}

static const struct server_memory_ops memory_ops = { hold, drop, touch };
static const struct server_later_ops later_ops = { keep, answer };

/* ---------------------------------------------------------------- sessions */

struct gauge_at {
	uint64_t gpa;
	uint32_t bytes;
	uint32_t below;
	uint32_t flags;
};

static const struct gauge_at good = { GPA + PAGE_AT, GAUGE_BYTES, 0x1000, 0 };

static struct server_session *connect_as(struct rig *r, uint32_t uid,
					 const struct gauge_at *at)
{
	const struct server_session_config cfg = {
		.later_ops = &later_ops,
		.memory_ops = &memory_ops,
		.cred = { .known = uid != UINT32_MAX, .pid = 7, .uid = uid,
			  .gid = uid },
	};
	struct fuse_init_in in = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_WIRE_MINOR,
		.unused[0] = FUSE_WIRE_INIT_MAGIC,
	};
	struct fuse_init_out out;
	struct rig_who who = { .uid = uid, .gid = uid };

	in.unused[FUSE_WIRE_INIT_GAUGE_BYTES] = at->bytes;
	in.unused[FUSE_WIRE_INIT_GAUGE_LOW] = (uint32_t)at->gpa;
	in.unused[FUSE_WIRE_INIT_GAUGE_HIGH] = (uint32_t)(at->gpa >> 32);
	in.unused[FUSE_WIRE_INIT_GAUGE_ASK] = at->below;
	in.unused[FUSE_WIRE_INIT_GAUGE_FLAGS] = at->flags;
	assert_int_equal(server_session_new(r->share, &cfg, &who.s), 0);
	assert_true(rig_call_as(r, &who, FUSE_INIT, 0, &in, sizeof(in), &out,
				sizeof(out)) > 0);
	return who.s;
}

static ssize_t ask(struct rig *r, struct server_session *s, uint32_t cmd,
		   const void *arg, void *ret, size_t room)
{
	struct {
		struct fuse_ioctl_in in;
		unsigned char arg[16];
	} in = { .in = { .fh = FUSE_WIRE_NO_FH, .cmd = cmd, .in_size = 16,
			 .out_size = (uint32_t)(room -
					sizeof(struct fuse_ioctl_out)) } };
	const struct rig_who who = { .s = s };

	memcpy(in.arg, arg, sizeof(in.arg));
	return rig_call_as(r, &who, FUSE_IOCTL, FUSE_ROOT_ID, &in, sizeof(in),
			   ret, room);
}

struct peer_reply {
	struct fuse_ioctl_out out;
	struct fuse_wire_peer p;
};

static struct fuse_wire_peer next(struct rig *r, struct server_session *s,
				  uint64_t after)
{
	struct fuse_wire_peer_in in = { .id = after };
	struct peer_reply a;

	assert_int_equal(ask(r, s, FUSE_WIRE_IOC_PEER_NEXT, &in, &a,
			     sizeof(a)), sizeof(a));
	return a.p;
}

struct stats_reply {
	struct fuse_ioctl_out out;
	struct fuse_wire_peer p;
	uint64_t ops[FUSE_WIRE_PEER_OPS];
	_Alignas(8) unsigned char page[GAUGE_BYTES];
};

static ssize_t stats(struct rig *r, struct server_session *s, uint64_t id,
		     struct stats_reply *ret)
{
	struct fuse_wire_peer_in in = { .id = id, .ask = 1 };

	memset(ret, 0, sizeof(*ret));
	return ask(r, s, FUSE_WIRE_IOC_PEER_STATS, &in, ret, sizeof(*ret));
}

/* "name", or NULL and *@ret_err. */
static const char *name_of(struct rig *r, struct server_session *s,
			   uint64_t id, uint64_t node, int *ret_err)
{
	static struct {
		struct fuse_ioctl_out out;
		char name[PATH_MAX + 1];
	} a;
	struct fuse_wire_peer_name_in in = { id, node };
	ssize_t n = ask(r, s, FUSE_WIRE_IOC_PEER_NAME, &in, &a,
			sizeof(a) - sizeof(a.name) + PATH_MAX);

	*ret_err = (int)(n < 0 ? n : 0);
	if (n < 0)
		return NULL;
	assert_true(n >= (ssize_t)sizeof(a.out));
	a.name[(size_t)n - sizeof(a.out)] = 0;
	return a.name;
}

static void start(struct rig *r)
{
	const struct rig_config cfg = { .later_ops = &later_ops };

	memset(&memory, 0, sizeof(memory));
	rig_start(r, &cfg);
}

static void end(struct rig *r, struct server_session **s, unsigned n)
{
	while (n--)
		server_session_free(s[n]);
	assert_int_equal(memory.held, 0);
	rig_stop(r);
}

/* ------------------------------------------------------------------ tests */

/* How many sessions it is shown, and how many it is told are hidden. */
static unsigned count(struct rig *r, struct server_session *s,
		      uint32_t *ret_hidden)
{
	struct fuse_wire_peer p = { 0 };
	unsigned n = 0, self = 0;

	while ((p = next(r, s, p.id)).id) {
		n++;
		self += !!(p.flags & FUSE_WIRE_PEER_SELF);
		assert_true(n < 20);
	}
	assert_int_equal(self, 1);
	*ret_hidden = p.hidden;
	return n;
}

/* The rig's own session, whose user is not known, is one of all. */
static void test_who_sees_whom(void **state)
{
	static const struct {
		uint32_t uid;
		unsigned sees;
	} who[] = {
		{ 5000, 2 }, { 5000, 2 }, { 5001, 1 }, { 0, 8 },
		{ 65534, 1 }, { 65534, 1 }, { UINT32_MAX, 1 },
	};
	struct server_session *s[ARRAY_LEN(who)];
	static struct stats_reply a;
	uint32_t hidden;
	struct rig r;
	unsigned i, k, seen;

	start(&r);
	for (i = 0; i < ARRAY_LEN(who); i++)
		s[i] = connect_as(&r, who[i].uid, &good);
	for (i = 0; i < ARRAY_LEN(who); i++) {
		assert_int_equal(count(&r, s[i], &hidden), who[i].sees);
		assert_int_equal(hidden, 8 - who[i].sees);
		/* the same without the list, by guessing */
		for (k = 1, seen = 0; k <= 8; k++) {
			ssize_t n = stats(&r, s[i], k, &a);

			assert_true(n > 0 || n == -EACCES);
			seen += n > 0;
		}
		assert_int_equal(seen, who[i].sees);
	}
	assert_int_equal(stats(&r, s[3], 9, &a), -ENOENT);
	assert_int_equal(stats(&r, s[3], 0, &a), -ENOENT);
	end(&r, s, ARRAY_LEN(who));
}

/* A question is a change of the word, the answer what the page is now. */
static void test_page(void **state)
{
	struct server_session *s[1];
	uint32_t *word = (uint32_t *)(void *)(memory.bytes + PAGE_AT - 0x1000);
	unsigned char *page = memory.bytes + PAGE_AT;
	static struct stats_reply a;
	struct rig r;

	start(&r);
	s[0] = connect_as(&r, 0, &good);
	*word = UINT32_MAX;
	for (unsigned i = 0; i < GAUGE_BYTES; i++)
		page[i] = (unsigned char)(i * 7);
	assert_int_equal(stats(&r, s[0], 2, &a), sizeof(a));
	assert_int_equal(a.p.asked, 0);
	assert_int_equal(*word, 0);
	assert_int_equal(a.ops[FUSE_INIT], 1);
	/* all but the two words that say whether it is whole */
	assert_memory_equal(a.page, page, offsetof(struct gauge_page, tail));
	/* without room for it */
	assert_int_equal(ask(&r, s[0], FUSE_WIRE_IOC_PEER_STATS,
			     &(struct fuse_wire_peer_in){ .id = 2 }, &a,
			     sizeof(a) - 1), -EINVAL);
	assert_int_equal(*word, 0);
	end(&r, s, 1);
}

static void test_pages_that_are_none(void **state)
{
	static const struct gauge_at bad[] = {
		{ GPA + PAGE_AT, GAUGE_BYTES - 1, 0x1000, 0 },
		{ GPA + PAGE_AT, 0, 0x1000, 0 },
		{ GPA + PAGE_AT + 64, GAUGE_BYTES, 0x1000, 0 },
		{ GPA + PAGE_AT, GAUGE_BYTES, 0, 0 },
		{ GPA + PAGE_AT, GAUGE_BYTES, 0x1004, 0 },
		{ GPA + PAGE_AT, GAUGE_BYTES, UINT32_MAX - 63, 0 },
		{ GPA + PAGE_AT, GAUGE_BYTES, PAGE_AT + 64, 0 },
		{ GPA + 0x5000, GAUGE_BYTES, 0x1000, 0 },
		{ GPA - 0x1000, GAUGE_BYTES, 0x40, 0 },
		{ UINT64_MAX - 0xfff, GAUGE_BYTES, 0x1000, 0 },
		{ 0, GAUGE_BYTES, 0x1000, 0 },
	};
	struct server_session *s[ARRAY_LEN(bad)];
	static struct stats_reply a;
	struct rig r;
	unsigned i;

	start(&r);
	for (i = 0; i < ARRAY_LEN(bad); i++)
		s[i] = connect_as(&r, 0, &bad[i]);
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(stats(&r, s[0], i + 2, &a),
				 offsetof(struct stats_reply, page));
		assert_int_equal(a.p.asked, 0);
	}
	for (i = 0; i < sizeof(memory.bytes); i++)
		assert_int_equal(memory.bytes[i], 0);
	end(&r, s, ARRAY_LEN(bad));
}

static uint64_t node_of(struct rig *r, struct server_session *s,
			const char *name)
{
	const struct rig_who who = { .s = s };
	struct fuse_entry_out e;

	assert_true(rig_call_as(r, &who, FUSE_LOOKUP, FUSE_ROOT_ID, name,
				strlen(name) + 1, &e, sizeof(e)) > 0);
	return e.nodeid;
}

static void test_names(void **state)
{
	struct gauge_at private = good, none = good;
	struct server_session *s[4];
	uint64_t node, other;
	struct rig r;
	int err;

	private.flags = FUSE_WIRE_GAUGE_NO_NAMES;
	none.bytes = 0;
	start(&r);
	rig_file(&r, "file", "text", 0600);
	s[0] = connect_as(&r, 5000, &good);
	s[1] = connect_as(&r, 5001, &good);
	s[2] = connect_as(&r, 5000, &private);
	s[3] = connect_as(&r, 5000, &none);
	node = node_of(&r, s[0], "file");
	assert_string_equal(name_of(&r, s[0], 2, node, &err), "file");
	assert_string_equal(name_of(&r, s[0], 2, FUSE_ROOT_ID, &err), "");
	assert_null(name_of(&r, s[0], 2, node + 1000, &err));
	assert_int_equal(err, -ESTALE);
	assert_null(name_of(&r, s[0], 99, node, &err));
	assert_int_equal(err, -ENOENT);
	/* another user's; a node that the session does not use; private */
	assert_null(name_of(&r, s[1], 2, node, &err));
	assert_int_equal(err, -EACCES);
	assert_null(name_of(&r, s[0], 3, FUSE_ROOT_ID, &err));
	assert_int_equal(err, -EACCES);
	for (unsigned i = 2; i < 4; i++) {
		other = node_of(&r, s[i], "file");
		assert_null(name_of(&r, s[0], i + 2, other, &err));
		assert_int_equal(err, -EACCES);
	}
	/* it follows the file, until that has none */
	assert_int_equal(renameat(r.dir_fd, "file", r.dir_fd, "new"), 0);
	assert_string_equal(name_of(&r, s[0], 2, node, &err), "new");
	end(&r, s, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_sees_whom),
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_pages_that_are_none),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
