/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory table: what it refuses to map, what it refuses to translate, and
 * that each mmap goes when the last map that has it goes, and not before.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rig.h"

#define PAGE UINT64_C(4096)

static int file_of(uint64_t bytes)
{
	int fd = memfd_create("mem-map-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

/* Map and append; the descriptor is closed, the mapping stays. */
static void append(struct mem_map *m, uint64_t gpa, uint64_t uaddr,
		   uint64_t size)
{
	int fd = file_of(size);

	assert_int_equal(mem_region_map(&m->regions[m->n_regions], fd, 0, gpa,
					uaddr, size), 0);
	m->n_regions++;
	close(fd);
}

static bool is_mapped(const void *p)
{
	unsigned char v;

	return mincore((void *)align_down((uintptr_t)p, PAGE), PAGE, &v) == 0;
}

static void refuse_map(int fd, uint64_t off, uint64_t gpa, uint64_t uaddr,
		       uint64_t size)
{
	struct mem_region r, before;

	memset(&r, 0x5a, sizeof(r));
	memcpy(&before, &r, sizeof(r));
	assert_int_equal(mem_region_map(&r, fd, off, gpa, uaddr, size),
			 -EINVAL);
	assert_memory_equal(&r, &before, sizeof(r));
}

static void test_refuses(void **state)
{
	int fd = file_of(4 * PAGE);
	struct mem_region r;

	(void)state;
	refuse_map(fd, 0, 0, 0, 0);
	refuse_map(fd, 0, 0, 0, 4 * PAGE + 1);
	refuse_map(fd, PAGE, 0, 0, 4 * PAGE);
	refuse_map(fd, 4 * PAGE, 0, 0, 1);
	refuse_map(fd, 5 * PAGE, 0, 0, 1);
	refuse_map(fd, UINT64_MAX, 0, 0, 1);
	refuse_map(fd, UINT64_MAX - PAGE + 1, 0, 0, 2 * PAGE);
	refuse_map(fd, UINT64_C(1) << 63, 0, 0, PAGE);
	refuse_map(fd, 0, 0, 0, UINT64_MAX);
	refuse_map(fd, 0, UINT64_MAX - PAGE + 2, 0, PAGE);
	refuse_map(fd, 0, 0, UINT64_MAX - PAGE + 2, PAGE);
	close(fd);
	assert_int_equal(mem_region_map(&r, -1, 0, 0, 0, PAGE), -EBADF);
	/* Not a file with a size; and one we may not write. */
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	refuse_map(fd, 0, 0, 0, PAGE);
	close(fd);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(mem_region_map(&r, fd, 0, 0, 0, PAGE), -EACCES);
	close(fd);
}

/* The bytes are those of the file at the offset, aligned or not, and a region
 * that ends at the very end of the address space is fine. */
static void test_maps_the_file(void **state)
{
	static const uint64_t offs[] = { 0, PAGE, 24, PAGE + 100 };
	int fd = file_of(4 * PAGE);
	struct mem_map *m;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(offs); i++) {
		uint64_t gpa = UINT64_MAX - PAGE;
		char got[6] = "";
		char *p;

		assert_int_equal(mem_map_new(NULL, 1, &m), 0);
		assert_int_equal(mem_region_map(&m->regions[0], fd, offs[i],
						gpa, gpa, PAGE), 0);
		m->n_regions = 1;
		p = mem_map_gpa(m, gpa + 7, 5);
		assert_non_null(p);
		memcpy(p, "hello", 5);
		assert_int_equal(pread(fd, got, 5, (off_t)offs[i] + 7), 5);
		assert_string_equal(got, "hello");
		assert_null(mem_map_gpa(m, gpa + PAGE, 1));
		mem_map_unref(m);
		assert_false(is_mapped(p));
	}
	close(fd);
}

static void test_translate(void **state)
{
	struct mem_map *m;
	unsigned char *a, *b;

	(void)state;
	assert_int_equal(mem_map_new(NULL, 3, &m), 0);
	assert_int_equal(m->n_regions, 0);
	assert_null(mem_map_gpa(m, 0, 0));
	append(m, 0x10000, 0x90000, 2 * PAGE);
	append(m, 0x10000 + 2 * PAGE, 0x50000, PAGE); /* next to it */
	append(m, 0, 0x90000 + 2 * PAGE, PAGE);
	a = m->regions[0].host;
	b = m->regions[1].host;
	assert_ptr_equal(mem_map_gpa(m, 0x10000, 2 * PAGE), a);
	assert_ptr_equal(mem_map_gpa(m, 0x10000 + 2 * PAGE - 1, 1),
			 a + 2 * PAGE - 1);
	assert_ptr_equal(mem_map_gpa(m, 0x10000 + 2 * PAGE, PAGE), b);
	assert_ptr_equal(mem_map_gpa(m, 0, PAGE), m->regions[2].host);
	/* Across two regions, though neighbours; before, behind, around. */
	assert_null(mem_map_gpa(m, 0x10000 + 2 * PAGE - 1, 2));
	assert_null(mem_map_gpa(m, 0x10000 - 1, 2));
	assert_null(mem_map_gpa(m, 0x10000 + 3 * PAGE, 1));
	assert_null(mem_map_gpa(m, 0x10000, 2 * PAGE + 1));
	assert_null(mem_map_gpa(m, 0x10000, UINT64_MAX));
	assert_null(mem_map_gpa(m, 0x10001, UINT64_MAX));
	assert_null(mem_map_gpa(m, UINT64_MAX, 2));
	assert_null(mem_map_gpa(m, UINT64_MAX, UINT64_MAX));
	/* The other kind of address is another space. */
	assert_ptr_equal(mem_map_uaddr(m, 0x90000, 2 * PAGE), a);
	assert_ptr_equal(mem_map_uaddr(m, 0x50010, 16), b + 16);
	assert_null(mem_map_uaddr(m, 0x10000, 1));
	assert_null(mem_map_uaddr(m, 0x90000 + 2 * PAGE - 1, 2));
	assert_null(mem_map_uaddr(m, 0x50000, PAGE + 1));
	assert_null(mem_map_uaddr(m, UINT64_MAX, 2));
	assert_null(mem_map_gpa(m, 0x90000, 1));
	mem_map_unref(m);
}

static void test_overlaps(void **state)
{
	struct mem_map *m;

	(void)state;
	assert_int_equal(mem_map_new(NULL, 1, &m), 0);
	assert_false(mem_map_overlaps(m, 0, UINT64_MAX));
	append(m, 0x10000, 0, 0x2000);
	assert_true(mem_map_overlaps(m, 0x10000, 0x2000));
	assert_true(mem_map_overlaps(m, 0x11fff, 1));
	assert_true(mem_map_overlaps(m, 0x11000, 0x10000));
	assert_true(mem_map_overlaps(m, 0, 0x10001));
	assert_true(mem_map_overlaps(m, 0, UINT64_MAX));
	assert_true(mem_map_overlaps(m, 0xffff, 2));
	assert_false(mem_map_overlaps(m, 0, 0x10000));
	assert_false(mem_map_overlaps(m, 0x12000, UINT64_MAX - 0x12000));
	assert_false(mem_map_overlaps(m, 0xffff, 1));
	mem_map_unref(m);
}

/* Each limit by itself; what was refused is not counted. */
static void test_quota(void **state)
{
	struct mem_quota q = { .max_regions = 3, .max_bytes = 10 * PAGE };

	(void)state;
	assert_int_equal(mem_quota_take(&q, 11 * PAGE), -ENOSPC);
	assert_int_equal(mem_quota_take(&q, UINT64_MAX), -ENOSPC);
	assert_int_equal(mem_quota_take(&q, 8 * PAGE), 0);
	assert_int_equal(mem_quota_take(&q, 3 * PAGE), -ENOSPC);
	assert_int_equal(mem_quota_take(&q, PAGE), 0);
	assert_int_equal(mem_quota_take(&q, PAGE), 0);
	assert_int_equal(mem_quota_take(&q, 0), -ENOSPC);
	mem_quota_give_back(&q, PAGE);
	assert_int_equal(mem_quota_take(&q, 2 * PAGE), -ENOSPC);
	assert_int_equal(mem_quota_take(&q, PAGE), 0);
	assert_int_equal(q.regions, 3);
	assert_int_equal(q.bytes, 10 * PAGE);
}

/* A region gives back what it took when the last map with it goes. */
static void test_quota_of_regions(void **state)
{
	struct mem_quota q = { .max_regions = 2, .max_bytes = 4 * PAGE };
	struct mem_map *m, *n;

	(void)state;
	assert_int_equal(mem_quota_take(&q, 2 * PAGE), 0);
	assert_int_equal(mem_quota_take(&q, 2 * PAGE), 0);
	assert_int_equal(mem_map_new(NULL, 2, &m), 0);
	append(m, 0x10000, 0x10000, 2 * PAGE);
	append(m, 0x20000, 0x20000, 2 * PAGE);
	m->regions[0].quota = m->regions[1].quota = &q;
	assert_int_equal(mem_map_new(m, 0, &n), 0);
	mem_map_unref(m);
	assert_int_equal(q.regions, 2);
	mem_map_remove(n, 0);
	assert_int_equal(q.regions, 1);
	assert_int_equal(q.bytes, 2 * PAGE);
	mem_map_unref(n);
	assert_int_equal(q.regions, 0);
	assert_int_equal(q.bytes, 0);
}

static void test_too_many(void **state)
{
	struct mem_map *m, *n = NULL;

	(void)state;
	assert_int_equal(mem_map_new(NULL, MEM_MAP_MAX_REGIONS + 1, &n),
			 -E2BIG);
	assert_int_equal(mem_map_new(NULL, UINT32_MAX, &n), -E2BIG);
	assert_int_equal(mem_map_new(NULL, 2, &m), 0);
	append(m, 0, 0, PAGE);
	append(m, PAGE, 0, PAGE);
	assert_int_equal(mem_map_new(m, MEM_MAP_MAX_REGIONS - 1, &n), -E2BIG);
	assert_int_equal(mem_map_new(m, UINT32_MAX, &n), -E2BIG);
	assert_null(n);
	assert_int_equal(mem_map_new(m, MEM_MAP_MAX_REGIONS - 2, &n), 0);
	mem_map_unref(n);
	mem_map_unref(m);
	mem_map_unref(NULL);
}

/* A region lives as long as one of its maps does; a removed one goes at once
 * unless another map has it. */
static void test_shared_regions(void **state)
{
	struct mem_map *a, *b, *c;
	unsigned char *first, *second;

	(void)state;
	assert_int_equal(mem_map_new(NULL, 1, &a), 0);
	append(a, 0, 0, PAGE);
	first = a->regions[0].host;
	assert_int_equal(mem_map_new(a, 1, &b), 0);
	assert_int_equal(b->n_regions, 1);
	append(b, PAGE, PAGE, PAGE);
	second = b->regions[1].host;
	assert_int_equal(mem_map_new(b, 0, &c), 0);
	mem_map_remove(c, 0);
	assert_int_equal(c->n_regions, 1);
	assert_null(mem_map_gpa(c, 0, 1));
	assert_ptr_equal(mem_map_gpa(c, PAGE, 1), second);
	assert_true(is_mapped(first));
	mem_map_ref(a);
	mem_map_unref(a);
	assert_ptr_equal(mem_map_gpa(a, 0, 1), first);
	mem_map_unref(a);
	assert_true(is_mapped(first)); /* b's */
	mem_map_unref(b);
	assert_false(is_mapped(first));
	assert_true(is_mapped(second)); /* c's */
	mem_map_remove(c, 0);
	assert_false(is_mapped(second));
	mem_map_unref(c);
}

/* Memory that is not ours is left alone. */
static void test_foreign_memory(void **state)
{
	struct rig *r = rig_new(8, true, true, 64);
	struct mem_map *copy;

	(void)state;
	assert_int_equal(mem_map_new(r->map, 0, &copy), 0);
	mem_map_unref(copy);
	assert_true(is_mapped(r->mem));
	rig_free(r);
}

struct shared {
	pthread_mutex_t lock;
	struct mem_map *map;
	_Atomic bool stop;
};

static struct mem_map *get_map(struct shared *s)
{
	struct mem_map *m;

	pthread_mutex_lock(&s->lock);
	m = s->map;
	mem_map_ref(m);
	pthread_mutex_unlock(&s->lock);
	return m;
}

/* Writes through whichever map is current; crashes on one unmapped early. */
static void *user(void *arg)
{
	struct shared *s = arg;

	while (!atomic_load(&s->stop)) {
		struct mem_map *m = get_map(s);
		_Atomic uint32_t *p = mem_map_gpa(m, 0, 4);

		if (!p || mem_map_gpa(m, 0, 8192) == NULL)
			abort();
		atomic_fetch_add(p, 1);
		mem_map_unref(m);
	}
	return NULL;
}

/* Replace the map while threads use it: now and then by one that shares
 * nothing, else by one that shares all. */
static void test_replace_under_use(void **state)
{
	struct shared s = { .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t t[3];

	(void)state;
	assert_int_equal(mem_map_new(NULL, 1, &s.map), 0);
	append(s.map, 0, 0, 2 * PAGE);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, user, &s), 0);
	for (unsigned i = 0; i < 3000; i++) {
		struct mem_map *old = s.map, *m;

		assert_int_equal(mem_map_new(i % 3 ? old : NULL, 1, &m), 0);
		if (i % 3 == 0)
			append(m, 0, 0, 2 * PAGE);
		pthread_mutex_lock(&s.lock);
		s.map = m;
		pthread_mutex_unlock(&s.lock);
		mem_map_unref(old);
	}
	atomic_store(&s.stop, true);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	mem_map_unref(s.map);
}

/* A region whose file was cut reads as zeros, all of it; no other changes. */
static void test_blank(void **state)
{
	struct mem_map *m;
	unsigned char *p;
	int fd = file_of(4 * PAGE);
	int local = 7;

	(void)state;
	assert_int_equal(mem_map_new(NULL, 2, &m), 0);
	append(m, 0, 0, 2 * PAGE);
	assert_int_equal(mem_region_map(&m->regions[1], fd, PAGE + 16,
					UINT64_C(1) << 32, 0, 2 * PAGE), 0);
	m->n_regions = 2;
	memset(m->regions[0].host, 1, 2 * PAGE);
	p = m->regions[1].host;
	p[0] = 2;
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_false(mem_map_blank(&local));
	assert_false(mem_map_blank(NULL));
	assert_int_equal(local, 7);
	assert_true(mem_map_blank(p + PAGE));
	for (unsigned i = 0; i < 2 * PAGE; i++)
		assert_int_equal(p[i], 0);
	p[0] = 3;
	assert_int_equal(m->regions[0].host[PAGE], 1);
	mem_map_unref(m);
	assert_false(is_mapped(p));
	assert_false(mem_map_blank(p));
	close(fd);
}

/* No peer makes us map until there is no address left; what goes comes back. */
static void test_limits_of_the_process(void **state)
{
	const uint64_t big = MEM_MAP_MAX_LIVE_BYTES / 4;
	struct mem_region r;
	int fd = file_of(big);
	void *p = mmap(NULL, 4 * big, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_NORESERVE, -1, 0);

	(void)state;
	if (p == MAP_FAILED) {
		print_message("no address space for this (TSan has less)\n");
		close(fd);
		return;
	}
	munmap(p, 4 * big);
	for (unsigned turn = 0; turn < 2; turn++) {
		struct mem_map *m;

		assert_int_equal(mem_map_new(NULL, 4, &m), 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(mem_region_map(&m->regions[i], fd, 0,
							i * big, 0, big), 0);
		m->n_regions = 4;
		assert_int_equal(mem_region_map(&r, fd, 0, 0, 0, PAGE),
				 -ENOSPC);
		mem_map_unref(m);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_maps_the_file),
		cmocka_unit_test(test_translate),
		cmocka_unit_test(test_overlaps),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_quota_of_regions),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_shared_regions),
		cmocka_unit_test(test_foreign_memory),
		cmocka_unit_test(test_replace_under_use),
		cmocka_unit_test(test_blank),
		cmocka_unit_test(test_limits_of_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
