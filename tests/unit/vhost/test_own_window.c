/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests whose buffers lie in the guest's own window: files, of which the
 * memory table says only where one of them is.
 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define NEED_REPLY VHOST_USER_F_NEED_REPLY
#define WINDOW_GPA UINT64_C(0x80000000) /* a multiple of PAIR_WINDOW */
#define PIECE KIB(64)
#define FIRST MIB(2) /* window offset of the first piece; the other is next */

struct rig {
	struct pair p;
	struct raw r;
	unsigned fds;
};

/* Not a memfd: the guest's memory is one, and the device tells them apart. */
static int piece_file(unsigned char seed)
{
	char name[] = "own-window-XXXXXX";
	static unsigned char data[PIECE];
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	for (unsigned i = 0; i < PIECE; i++)
		data[i] = (unsigned char)(seed + i * 7 + i / 256);
	assert_int_equal(write(fd, data, PIECE), PIECE);
	return fd;
}

static void rig_start(struct rig *g)
{
	struct pair_options o = { .server_queues = 2 };
	int files[2] = { piece_file(1), piece_file(100) };
	struct stat st;
	int s[2];

	assert_int_equal(fstat(files[0], &st), 0);
	o.window_dev = st.st_dev;
	g->fds = count_fds() - 2;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	pair_start_backend(&g->p, s[0], &o);
	raw_init(&g->r, s[1]);
	raw_connect(&g->r);
	for (unsigned i = 0; i < 2; i++) {
		pair_set_file(&g->p, i, files[i]);
		g->p.pieces[i] = (struct vhost_piece){
			.start = FIRST + i * PIECE, .len = PIECE,
			.fd = files[i],
		};
	}
}

static void rig_finish(struct rig *g)
{
	raw_done(&g->r);
	pair_finish(&g->p, 0);
	assert_int_equal(count_fds(), g->fds);
}

/* ADD_MEM_REG or REM_MEM_REG of the first piece, acknowledged. */
static void tell(struct rig *g, uint32_t request)
{
	const struct vhost_user_one_region a = {
		.region = { .gpa = WINDOW_GPA + FIRST, .size = PIECE,
			    .uaddr = 0x1000 },
	};
	int fd = g->p.files[0];
	struct raw_msg m;

	raw_send_fds(g->r.sock, request, NEED_REPLY, &a, sizeof(a), &fd, 1);
	raw_recv(g->r.sock, &m);
	assert_int_equal(m.hdr.request, request);
	assert_int_equal(m.u.u64, 0);
}

/*
 * Have @len bytes echoed from window offset @from, or to it if @to; the other
 * side is the guest's memory. What the device wrote.
 */
static uint32_t echo(struct rig *g, uint64_t off, uint32_t len, bool to,
		     unsigned char *ram)
{
	const struct pair_request req = { .op = OP_ECHO, .len = len };
	const uint64_t at = RAW_REQ;
	struct ring_seg segs[3] = {
		{ RAW_GPA + at, sizeof(req) },
		{ RAW_GPA + at + 4096, len },
		{ WINDOW_GPA + off, len },
	};
	uint32_t written = 0;

	if (!to) {
		segs[1].gpa = WINDOW_GPA + off;
		segs[2].gpa = RAW_GPA + at + 4096;
	}
	memcpy(g->r.mem + at, &req, sizeof(req));
	if (to)
		memcpy(g->r.mem + at + 4096, ram, len);
	raw_offer(&g->r, 1, segs, 2, 1, &g->r);
	assert_ptr_equal(raw_wait(&g->r, 1, &written), &g->r);
	if (!to)
		memcpy(ram, g->r.mem + at + 4096, len);
	return written;
}

/* @len bytes of the two files, one behind the other, from @off. */
static void from_files(const struct rig *g, uint64_t off, size_t len,
		       unsigned char *ret)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = off - FIRST + i;

		assert_int_equal(pread(g->p.files[at / PIECE], &ret[i], 1,
				       (off_t)(at % PIECE)), 1);
	}
}

static void test_both_ways(void **state)
{
	static const uint64_t offs[] = { FIRST, FIRST + 5000,
					 FIRST + PIECE - 1500,
					 FIRST + 2 * PIECE - 3000 };
	unsigned char got[3000], want[3000];
	struct rig g;

	(void)state;
	rig_start(&g);
	tell(&g, VHOST_USER_ADD_MEM_REG);
	for (unsigned i = 0; i < ARRAY_LEN(offs); i++) {
		from_files(&g, offs[i], sizeof(want), want);
		assert_int_equal(echo(&g, offs[i], sizeof(got), false, got),
				 sizeof(got));
		assert_memory_equal(got, want, sizeof(want));
		memset(want, (int)i + 1, sizeof(want));
		assert_int_equal(echo(&g, offs[i], sizeof(want), true, want),
				 sizeof(want));
		from_files(&g, offs[i], sizeof(got), got);
		assert_memory_equal(got, want, sizeof(want));
	}
	rig_finish(&g);
}

/* What the monitor told us of is not what counts. */
static void test_known_for_good(void **state)
{
	unsigned char got[100], want[100];
	struct rig g;

	(void)state;
	rig_start(&g);
	tell(&g, VHOST_USER_ADD_MEM_REG);
	tell(&g, VHOST_USER_REM_MEM_REG);
	raw_mem_table(&g.r);
	assert_int_equal(raw_get(&g.r, VHOST_USER_GET_QUEUE_NUM), 3);
	from_files(&g, FIRST + PIECE - 50, sizeof(want), want);
	assert_int_equal(echo(&g, FIRST + PIECE - 50, sizeof(got), false, got),
			 sizeof(got));
	assert_memory_equal(got, want, sizeof(want));
	rig_finish(&g);
}

static void expect_refused(struct rig *g, uint64_t off)
{
	unsigned char got[64];
	int32_t result;

	assert_int_equal(echo(g, off, sizeof(got), false, got),
			 sizeof(result));
	memcpy(&result, got, sizeof(result));
	assert_int_equal(result, -EFAULT);
	raw_echo(&g->r, 1);
}

static void test_nothing_mapped(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	tell(&g, VHOST_USER_ADD_MEM_REG);
	expect_refused(&g, 0);
	expect_refused(&g, FIRST - 8);             /* begins before */
	expect_refused(&g, FIRST + 2 * PIECE - 8); /* ends behind */
	/* The file is shorter than its mapping. */
	assert_int_equal(ftruncate(g.p.files[0], 4096), 0);
	expect_refused(&g, FIRST);
	rig_finish(&g);
}

/* The first segment of a direction has to be there. */
static void test_no_header(void **state)
{
	const struct pair_request req = { .op = OP_ECHO, .len = 8 };
	const struct ring_seg segs[3] = {
		{ RAW_GPA + RAW_REQ, sizeof(req) + 8 },
		{ WINDOW_GPA, 8 },
	};
	struct rig g;

	(void)state;
	rig_start(&g);
	tell(&g, VHOST_USER_ADD_MEM_REG);
	memcpy(g.r.mem + RAW_REQ, &req, sizeof(req));
	raw_offer(&g.r, 1, segs, 1, 1, &g.r);
	wait_for(&g.p.stops, 1);
	raw_echo(&g.r, 2);
	rig_finish(&g);
}

/* As long as nobody has said where the window is, it is nowhere. */
static void test_not_known(void **state)
{
	const struct ring_seg segs[3] = {
		{ RAW_GPA + RAW_REQ, sizeof(struct pair_request) },
		{ WINDOW_GPA + FIRST, 8 },
		{ RAW_GPA + RAW_REQ + 4096, 8 },
	};
	struct rig g;

	(void)state;
	rig_start(&g);
	raw_offer(&g.r, 1, segs, 2, 1, &g.r);
	wait_for(&g.p.stops, 1);
	raw_echo(&g.r, 2);
	rig_finish(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_known_for_good),
		cmocka_unit_test(test_nothing_mapped),
		cmocka_unit_test(test_no_header),
		cmocka_unit_test(test_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
