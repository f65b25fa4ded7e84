/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window between our two ends: what SHMEM_MAP and SHMEM_UNMAP do to the
 * front end's memory, what is refused, and how waiting for an answer ends.
 */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "vhost/vhost_msg.h"

#define CHUNK UINT64_C(65536)

static int do_map(struct pair *p, uint64_t shm_off, uint64_t fd_off,
		  uint64_t len, bool writable)
{
	const struct pair_request r = { .op = OP_MAP,
					.fd_off = fd_off,
					.shm_off = shm_off,
					.len = len,
					.writable = writable };

	return pair_do(p, 1, &r);
}

static int do_unmap(struct pair *p, uint64_t shm_off, uint64_t len)
{
	const struct pair_request r = { .op = OP_UNMAP,
					.shm_off = shm_off,
					.len = len };

	return pair_do(p, 1, &r);
}

/* Can the page at window offset @off be read? Without touching it. */
static bool is_readable(struct pair *p, uint64_t off)
{
	const unsigned char *w = vhost_frontend_info(p->fe)->window + off;
	int pipefd[2];
	bool ok;

	assert_int_equal(pipe(pipefd), 0);
	ok = write(pipefd[1], w, 1) == 1;
	if (!ok)
		assert_int_equal(errno, EFAULT);
	close(pipefd[0]);
	close(pipefd[1]);
	return ok;
}

static bool is_writable(struct pair *p, uint64_t off)
{
	unsigned char *w = vhost_frontend_info(p->fe)->window + off;
	int fd = open("/dev/zero", O_RDONLY);
	bool ok;

	assert_true(fd >= 0);
	ok = read(fd, w, 1) == 1;
	close(fd);
	return ok;
}

static uint64_t word_at(struct pair *p, uint64_t off)
{
	uint64_t v;

	memcpy(&v, vhost_frontend_info(p->fe)->window + off, sizeof(v));
	return v;
}

static void start(struct pair *p)
{
	pair_start(p, &(struct pair_options){ .server_queues = 2,
					      .client_queues = 2 });
	pair_set_file(p, 0, pattern_file(16 * CHUNK, 1000000));
	pair_set_file(p, 1, pattern_file(16 * CHUNK, 5000000));
}

static void test_map_and_unmap(void **state)
{
	struct pair p;

	(void)state;
	start(&p);
	assert_false(is_readable(&p, 0));
	assert_int_equal(do_map(&p, 2 * CHUNK, 3 * CHUNK, 2 * CHUNK, false), 0);
	assert_int_equal(vhost_frontend_mappings(p.fe), 1);
	assert_int_equal(word_at(&p, 2 * CHUNK), 1000000 + 3 * CHUNK);
	assert_int_equal(word_at(&p, 4 * CHUNK - 8),
			 1000000 + 5 * CHUNK - 8);
	assert_false(is_readable(&p, 2 * CHUNK - 1));
	assert_false(is_readable(&p, 4 * CHUNK));
	assert_false(is_writable(&p, 2 * CHUNK));

	assert_int_equal(do_unmap(&p, 2 * CHUNK, 2 * CHUNK), 0);
	assert_int_equal(vhost_frontend_mappings(p.fe), 0);
	assert_false(is_readable(&p, 2 * CHUNK));
	assert_int_equal(do_map(&p, 2 * CHUNK, 0, CHUNK, false), 0);
	assert_int_equal(word_at(&p, 2 * CHUNK), 1000000);
	pair_finish(&p, 0);
}

static void test_writable_is_shared(void **state)
{
	struct pair p;
	uint64_t v = 42;

	(void)state;
	start(&p);
	assert_int_equal(do_map(&p, 0, CHUNK, CHUNK, true), 0);
	memcpy(vhost_frontend_info(p.fe)->window + 16, &v, sizeof(v));
	v = 0;
	assert_int_equal(pread(p.files[0], &v, 8, CHUNK + 16), 8);
	assert_int_equal(v, 42);
	v = 43;
	assert_int_equal(pwrite(p.files[0], &v, 8, CHUNK + 24), 8);
	assert_int_equal(word_at(&p, 24), 43);
	pair_finish(&p, 0);
}

static void test_same_range_replaces(void **state)
{
	struct pair p;
	struct pair_request r = { .op = OP_MAP, .file = 1, .len = CHUNK };

	(void)state;
	start(&p);
	assert_int_equal(do_map(&p, 0, 0, CHUNK, false), 0);
	assert_false(is_writable(&p, 0));
	/* read-only to writable, then another file */
	assert_int_equal(do_map(&p, 0, 0, CHUNK, true), 0);
	assert_true(is_writable(&p, 8));
	assert_int_equal(pair_do(&p, 1, &r), 0);
	assert_int_equal(word_at(&p, 0), 5000000);
	assert_int_equal(vhost_frontend_mappings(p.fe), 1);
	/* one that fails leaves the old one */
	pair_set_file(&p, 2, open("/dev/null", O_RDWR));
	r.file = 2;
	assert_int_equal(pair_do(&p, 1, &r), -EINVAL);
	assert_int_equal(word_at(&p, 0), 5000000);
	assert_int_equal(do_unmap(&p, 0, CHUNK), 0);
	pair_finish(&p, 0);
}

static void test_overlap_is_refused(void **state)
{
	static const struct {
		uint64_t off, len;
	} bad[] = {
		{ 4 * CHUNK, CHUNK },     { 5 * CHUNK, CHUNK },
		{ 3 * CHUNK, 2 * CHUNK }, { 5 * CHUNK, 2 * CHUNK },
		{ 3 * CHUNK, 4 * CHUNK }, { 0, PAIR_WINDOW },
	};
	struct pair p;

	(void)state;
	start(&p);
	assert_int_equal(do_map(&p, 4 * CHUNK, 0, 2 * CHUNK, false), 0);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(do_map(&p, bad[i].off, 0, bad[i].len, false),
				 -EEXIST);
		assert_int_equal(do_unmap(&p, bad[i].off, bad[i].len),
				 -ENOENT);
	}
	assert_int_equal(do_map(&p, 3 * CHUNK, 0, CHUNK, false), 0);
	assert_int_equal(do_map(&p, 6 * CHUNK, 0, CHUNK, false), 0);
	assert_int_equal(vhost_frontend_mappings(p.fe), 3);
	assert_int_equal(word_at(&p, 4 * CHUNK), 1000000);
	assert_int_equal(do_unmap(&p, 0, CHUNK), -ENOENT);
	pair_finish(&p, 0);
}

/* Our back end does not even ask for what cannot be right. */
static void test_backend_checks_itself(void **state)
{
	struct pair p;

	(void)state;
	start(&p);
	assert_int_equal(do_map(&p, 1, 0, CHUNK, false), -EINVAL);
	assert_int_equal(do_map(&p, 0, 0, 0, false), -EINVAL);
	assert_int_equal(do_map(&p, 0, 0, 100, false), -EINVAL);
	assert_int_equal(do_map(&p, PAIR_WINDOW, 0, CHUNK, false), -EINVAL);
	assert_int_equal(do_map(&p, PAIR_WINDOW - CHUNK, 0, 2 * CHUNK, false),
			 -EINVAL);
	assert_int_equal(do_map(&p, UINT64_MAX - CHUNK + 1, 0, CHUNK, false),
			 -EINVAL);
	assert_int_equal(do_unmap(&p, 0, UINT64_MAX - 4095), -EINVAL);
	assert_int_equal(do_map(&p, PAIR_WINDOW - CHUNK, 0, CHUNK, false), 0);
	pair_finish(&p, 0);
}

static void test_kinds_of_file(void **state)
{
	struct pair_request r = { .op = OP_MAP, .file = 2, .len = CHUNK };
	char path[] = "/tmp/oriel-window-XXXXXX";
	struct pair p;
	int fd;

	(void)state;
	start(&p);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1), 0);

	pair_set_file(&p, 2, open(path, O_RDONLY));
	assert_int_equal(pair_do(&p, 1, &r), 0); /* beyond its end, too */
	r.writable = true;
	r.shm_off = CHUNK;
	assert_int_equal(pair_do(&p, 1, &r), -EACCES);
	pair_set_file(&p, 2, open(path, O_WRONLY));
	assert_int_equal(pair_do(&p, 1, &r), -EACCES);
	pair_set_file(&p, 2, open(path, O_PATH));
	r.writable = false;
	assert_int_equal(pair_do(&p, 1, &r), -EACCES);
	pair_set_file(&p, 2, eventfd(0, 0));
	assert_int_equal(pair_do(&p, 1, &r), -EINVAL);
	pair_set_file(&p, 2, open("/tmp", O_RDONLY | O_DIRECTORY));
	assert_int_equal(pair_do(&p, 1, &r), -EINVAL);
	/* at an offset that is no page, or past what a file can have */
	r.file = 0;
	r.fd_off = 1;
	assert_int_equal(pair_do(&p, 1, &r), -EINVAL);
	r.fd_off = INT64_MAX - 4095;
	assert_int_equal(pair_do(&p, 1, &r), -EINVAL);
	assert_int_equal(vhost_frontend_mappings(p.fe), 1);
	close(fd);
	unlink(path);
	pair_finish(&p, 0);
}

/* Random maps and unmaps against a table of what must be where. */
static void test_random_against_model(void **state)
{
	enum { N = 32, ROUNDS = 2000 };
	const char *env = getenv("ORIEL_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0)
			    : (unsigned)clock_now_ns();
	int64_t at[N]; /* file offset mapped in each chunk, -1: none */
	unsigned live = 0;
	struct pair p;

	(void)state;
	print_message("ORIEL_SEED=%u\n", seed);
	start(&p);
	for (unsigned i = 0; i < N; i++)
		at[i] = -1;
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned i = (unsigned)rand_r(&seed) % N;
		unsigned f = (unsigned)rand_r(&seed) % 16;

		if (rand_r(&seed) & 1) {
			assert_int_equal(do_map(&p, i * CHUNK, f * CHUNK,
						CHUNK, f & 1), 0);
			live += at[i] < 0;
			at[i] = (int64_t)(f * CHUNK);
		} else {
			assert_int_equal(do_unmap(&p, i * CHUNK, CHUNK),
					 at[i] < 0 ? -ENOENT : 0);
			live -= at[i] >= 0;
			at[i] = -1;
		}
		assert_int_equal(vhost_frontend_mappings(p.fe), live);
		i = (unsigned)rand_r(&seed) % N;
		if (at[i] < 0)
			assert_false(is_readable(&p, i * CHUNK));
		else
			assert_int_equal(word_at(&p, i * CHUNK + 4096),
					 1000000 + at[i] + 4096);
	}
	pair_finish(&p, 0);
}

/* The descriptor of a mapping goes to who wanted it: once, the right one. */
static void test_want(void **state)
{
	struct vhost_want w = { .window_off = CHUNK, .len = CHUNK };
	struct vhost_want other = { .window_off = 0, .len = 2 * CHUNK };
	unsigned fds;
	struct pair p;
	uint64_t v;

	(void)state;
	start(&p);
	assert_int_equal(do_map(&p, 4 * CHUNK, 0, CHUNK, false), 0);
	fds = count_fds();
	vhost_frontend_want(p.fe, &w);
	vhost_frontend_want(p.fe, &other);
	assert_int_equal(do_map(&p, 0, 0, CHUNK, false), 0);
	assert_int_equal(do_map(&p, CHUNK, 3 * CHUNK, CHUNK, true), 0);
	vhost_frontend_unwant(p.fe, &w);
	vhost_frontend_unwant(p.fe, &other);
	assert_int_equal(other.fd, -1);
	assert_true(w.fd >= 0);
	assert_true(w.writable);
	assert_int_equal(w.file_off, 3 * CHUNK);
	assert_int_equal(pread(w.fd, &v, sizeof(v), 8), sizeof(v));
	assert_int_equal(v, 1000008);
	assert_int_equal(count_fds(), fds + 1);
	close(w.fd);

	/* nobody wants it any more, or it was refused */
	assert_int_equal(do_map(&p, CHUNK, 0, CHUNK, false), 0);
	vhost_frontend_want(p.fe, &w);
	pair_set_file(&p, 2, open("/dev/null", O_RDWR));
	assert_int_equal(pair_do(&p, 1, &(struct pair_request){
				 .op = OP_MAP, .file = 2, .shm_off = CHUNK,
				 .len = CHUNK }), -EINVAL);
	vhost_frontend_unwant(p.fe, &w);
	assert_int_equal(w.fd, -1);
	assert_int_equal(count_fds(), fds + 1); /* /dev/null */
	pair_finish(&p, 0);
}

static int memfd_read_only(off_t size)
{
	int fd = memfd_create("r", MFD_CLOEXEC), ro;
	char path[40];

	assert_int_equal(ftruncate(fd, size), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	close(fd);
	return ro;
}

static int map_here(struct pair *p, uint64_t shm_off, uint64_t fd_off,
		    uint64_t len, bool writable)
{
	return vhost_frontend_map(p->fe, &(struct vhost_local_map){
			.fd = p->files[0], .window_off = shm_off,
			.file_off = fd_off, .len = len,
			.writable = writable });
}

/* Without the back end: the same checks, and it stays ours or becomes its. */
static void test_map_here(void **state)
{
	struct pair p;

	(void)state;
	start(&p);
	assert_int_equal(map_here(&p, CHUNK, 2 * CHUNK, CHUNK, false), 0);
	assert_int_equal(word_at(&p, CHUNK), 1000000 + 2 * CHUNK);
	assert_false(is_writable(&p, CHUNK));
	assert_false(is_readable(&p, 0));
	assert_false(is_readable(&p, 2 * CHUNK));
	assert_int_equal(map_here(&p, CHUNK, 2 * CHUNK, CHUNK, true), 0);
	assert_true(is_writable(&p, CHUNK));
	assert_int_equal(vhost_frontend_mappings(p.fe), 1);

	assert_int_equal(map_here(&p, 0, 0, 2 * CHUNK, false), -EEXIST);
	assert_int_equal(map_here(&p, PAIR_WINDOW, 0, CHUNK, false), -ERANGE);
	assert_int_equal(map_here(&p, 0, 0, UINT64_MAX - 4095, false),
			 -ERANGE);
	assert_int_equal(map_here(&p, 1, 0, CHUNK, false), -EINVAL);
	assert_int_equal(map_here(&p, 0, 0, 0, false), -EINVAL);
	assert_int_equal(vhost_frontend_unmap(p.fe, 0, 2 * CHUNK), -ENOENT);
	assert_int_equal(vhost_frontend_unmap(p.fe, 0, CHUNK), -ENOENT);
	assert_int_equal(vhost_frontend_unmap(p.fe, CHUNK, CHUNK), 0);
	assert_false(is_readable(&p, CHUNK));
	assert_int_equal(vhost_frontend_mappings(p.fe), 0);

	/* the back end over ours, ours over the back end's: it is to be asked */
	assert_int_equal(map_here(&p, 0, 0, CHUNK, false), 0);
	assert_int_equal(do_map(&p, 0, CHUNK, CHUNK, false), 0);
	assert_int_equal(vhost_frontend_unmap(p.fe, 0, CHUNK), -EREMOTE);
	assert_int_equal(map_here(&p, 0, 3 * CHUNK, CHUNK, true), 0);
	assert_int_equal(word_at(&p, 0), 1000000 + 3 * CHUNK);
	assert_int_equal(vhost_frontend_unmap(p.fe, 0, CHUNK), -EREMOTE);
	assert_int_equal(do_unmap(&p, 0, CHUNK), 0);
	assert_int_equal(vhost_frontend_mappings(p.fe), 0);
	pair_finish(&p, 0);
}

/* A failure leaves what is there, for there may be pointers to it, and what is the
 * back end's its. */
static void test_map_here_fails(void **state)
{
	struct vhost_local_map bad = { .fd = -1, .len = CHUNK };
	struct pair p;

	(void)state;
	start(&p);
	assert_int_equal(vhost_frontend_map(p.fe, &bad), -EBADF);
	assert_int_equal(vhost_frontend_mappings(p.fe), 0);
	assert_false(is_readable(&p, 0));
	assert_int_equal(map_here(&p, 0, 0, CHUNK, false), 0);
	assert_int_equal(vhost_frontend_map(p.fe, &bad), -EBADF);
	assert_int_equal(vhost_frontend_mappings(p.fe), 1);
	assert_int_equal(word_at(&p, 0), 1000000);
	/* a descriptor to read with cannot make it writable */
	pair_set_file(&p, 2, memfd_read_only(2 * CHUNK));
	bad.fd = p.files[2];
	bad.writable = true;
	assert_int_equal(vhost_frontend_map(p.fe, &bad), -EACCES);
	assert_int_equal(word_at(&p, 0), 1000000);
	assert_false(is_writable(&p, 0));
	assert_int_equal(do_map(&p, 0, CHUNK, CHUNK, false), 0);
	assert_int_equal(vhost_frontend_map(p.fe, &bad), -EACCES);
	assert_int_equal(word_at(&p, 0), 1000000 + CHUNK);
	assert_int_equal(vhost_frontend_unmap(p.fe, 0, CHUNK), -EREMOTE);
	assert_int_equal(do_unmap(&p, 0, CHUNK), 0);
	assert_int_equal(vhost_frontend_mappings(p.fe), 0);
	pair_finish(&p, 0);
}

static void submit_map(struct pair *p, unsigned queue, unsigned slot,
		       uint64_t shm_off)
{
	const struct pair_request r = { .op = OP_MAP,
					.shm_off = shm_off,
					.len = CHUNK };

	pair_submit(p, queue, slot, &r, NULL);
}

/* Two queues map at once: one request at a time, each its own answer. */
static void test_two_queues_map(void **state)
{
	struct pair p;
	uint32_t len;
	int32_t result;

	(void)state;
	start(&p);
	for (unsigned i = 0; i < 50; i++) {
		submit_map(&p, 1, 1, 0);
		submit_map(&p, 2, 2, i % 2 ? CHUNK : 4096);
		assert_int_equal(pair_wait(&p, 1, &len), 1);
		assert_int_equal(pair_wait(&p, 2, &len), 2);
		memcpy(&result, pair_answer(&p, 1), sizeof(result));
		if (i % 2) {
			assert_int_equal(result, 0);
			memcpy(&result, pair_answer(&p, 2), sizeof(result));
			assert_int_equal(result, 0);
			assert_int_equal(vhost_frontend_mappings(p.fe), 2);
			assert_int_equal(do_unmap(&p, CHUNK, CHUNK), 0);
			assert_int_equal(do_unmap(&p, 0, CHUNK), 0);
		} else if (result) {
			assert_int_equal(result, -EEXIST);
			assert_int_equal(do_unmap(&p, 4096, CHUNK), 0);
		} else {
			memcpy(&result, pair_answer(&p, 2), sizeof(result));
			assert_int_equal(result, -EEXIST);
			assert_int_equal(do_unmap(&p, 0, CHUNK), 0);
		}
	}
	pair_finish(&p, 0);
}

/* Nobody answers the map; stopping the back end ends the wait. */
static void test_stop_while_maps_are_pending(void **state)
{
	struct pair p;

	(void)state;
	start(&p);
	submit_map(&p, 1, 1, 0);
	submit_map(&p, 2, 2, CHUNK);
	wait_for(&p.waiting, 2);
	vhost_backend_stop(p.be);
	pair_join(&p);
	pair_finish(&p, -ECANCELED);
}

static void test_disconnect_while_map_is_pending(void **state)
{
	struct pair p;

	(void)state;
	start(&p);
	submit_map(&p, 1, 1, 0);
	wait_for(&p.waiting, 1);
	pair_finish(&p, 0);
}

/* The window goes with the front end, whatever is mapped. */
static void test_free_with_mappings(void **state)
{
	unsigned fds = count_fds();
	struct pair p;
	unsigned char *w;
	unsigned char vec;

	(void)state;
	start(&p);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(do_map(&p, 2 * i * CHUNK, 0, CHUNK, i & 1), 0);
	w = vhost_frontend_info(p.fe)->window;
	pair_finish(&p, 0);
	for (unsigned i = 0; i < PAIR_WINDOW / CHUNK; i++) {
		assert_int_equal(mincore(w + i * CHUNK, 4096, &vec), -1);
		assert_int_equal(errno, ENOMEM);
	}
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_and_unmap),
		cmocka_unit_test(test_writable_is_shared),
		cmocka_unit_test(test_same_range_replaces),
		cmocka_unit_test(test_overlap_is_refused),
		cmocka_unit_test(test_backend_checks_itself),
		cmocka_unit_test(test_kinds_of_file),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_want),
		cmocka_unit_test(test_map_here),
		cmocka_unit_test(test_map_here_fails),
		cmocka_unit_test(test_two_queues_map),
		cmocka_unit_test(test_stop_while_maps_are_pending),
		cmocka_unit_test(test_disconnect_while_map_is_pending),
		cmocka_unit_test(test_free_with_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
