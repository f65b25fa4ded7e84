/* SPDX-License-Identifier: BSD-2-Clause */
/* mmap(2): shared and private, across truncation, with read and write. */
#include "posix.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define LEN 65536

static sigjmp_buf on_bus;

static void bus(int sig)
{
	siglongjmp(on_bus, 1);
}

static char *map(int fd, int prot, int flags)
{
	char *p = mmap(NULL, LEN, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		posix_die(__FILE__, __LINE__, "mmap");
	return p;
}

static int make(const char *name)
{
	static char buf[LEN];
	int fd = (int)MUST(open(name, O_RDWR | O_CREAT, 0644));

	memset(buf, 'a', sizeof(buf));
	EQ(write(fd, buf, sizeof(buf)), LEN);
	return fd;
}

static void shared_and_io(void)
{
	char c = 0;
	int fd = make("f");
	char *p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	EQ(p[100], 'a');
	/* write(2) is seen by the map, the map by read(2) */
	EQ(pwrite(fd, "b", 1, 100), 1);
	EQ(p[100], 'b');
	p[200] = 'c';
	EQ(pread(fd, &c, 1, 200), 1);
	EQ(c, 'c');
	p[LEN - 1] = 'e';
	OK(msync(p, LEN, MS_SYNC));
	OK(munmap(p, LEN));
	OK(close(fd));
	fd = (int)OK(open("f", O_RDONLY));
	EQ(pread(fd, &c, 1, LEN - 1), 1);
	EQ(c, 'e');
	OK(close(fd));
}

static void shared_two(void)
{
	int a = make("f");
	int b = (int)OK(open("f", O_RDWR));
	char *p = map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *q = map(b, PROT_READ, MAP_SHARED);

	OK(close(a));
	OK(close(b));
	p[5000] = 'Q';
	EQ(q[5000], 'Q');
	OK(munmap(p, LEN));
	EQ(q[5000], 'Q');
	OK(unlink("f"));
	EQ(q[5000], 'Q');
	OK(munmap(q, LEN));
}

static void private_map(void)
{
	char c = 0;
	int fd = make("f");
	char *p = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	p[10] = 'x';
	EQ(pread(fd, &c, 1, 10), 1);
	EQ(c, 'a');
	EQ(p[10], 'x');
	OK(munmap(p, LEN));
	OK(close(fd));
	fd = (int)OK(open("f", O_RDONLY));
	p = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	p[0] = 'y';
	OK(munmap(p, LEN));
	OK(close(fd));
	fd = (int)OK(open("f", O_RDONLY));
	EQ(pread(fd, &c, 1, 0), 1);
	EQ(c, 'a');
	OK(close(fd));
}

static void map_errors(void)
{
	int fd = make("f");
	int ro = (int)OK(open("f", O_RDONLY));
	int wo = (int)OK(open("f", O_WRONLY));
	int dir = (int)OK(open(".", O_RDONLY));

	TRUE(mmap(NULL, LEN, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED);
	EQ(errno, EACCES);
	TRUE(mmap(NULL, LEN, PROT_READ, MAP_SHARED, wo, 0) == MAP_FAILED);
	EQ(errno, EACCES);
	TRUE(mmap(NULL, LEN, PROT_READ, MAP_PRIVATE, dir, 0) == MAP_FAILED);
	EQ(errno, ENODEV);
	TRUE(mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 1) == MAP_FAILED);
	EQ(errno, EINVAL);
	OK(close(fd));
	OK(close(ro));
	OK(close(wo));
	OK(close(dir));
}

static void map_past_end(void)
{
	int fd = make("f");
	volatile char *p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	signal(SIGBUS, bus);
	OK(ftruncate(fd, 5000));
	EQ(p[4999], 'a');
	/* the rest of the last page is zeros, and never reaches the file */
	EQ(p[5001], 0);
	p[5001] = 'z';
	if (!sigsetjmp(on_bus, 1)) {
		(void)p[8192];
		posix_fail(__FILE__, __LINE__, "no SIGBUS past the end");
	}
	OK(ftruncate(fd, LEN));
	EQ(p[8192], 0);
	p[8192] = 'n';
	EQ(pread(fd, (char *)(uintptr_t)&p[0], 1, 8192), 1);
	EQ(p[0], 'n');
	EQ(p[5000], 0);
	OK(munmap((void *)(uintptr_t)p, LEN));
	OK(close(fd));
}

static void map_and_punch(void)
{
	int fd = make("f");
	char *p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	EQ(p[20000], 'a');
	if (fallocate(fd, 3, 16384, 16384) && errno == EOPNOTSUPP)
		posix_skip("no holes");
	EQ(p[20000], 0);
	p[20000] = 'b';
	EQ(p[16383], 'a');
	EQ(p[32768], 'a');
	OK(msync(p, LEN, MS_SYNC));
	OK(munmap(p, LEN));
	OK(close(fd));
}

static void map_grown_by_other(void)
{
	int fd = (int)OK(open("f", O_WRONLY | O_APPEND));

	EQ(write(fd, "tail", 4), 4);
	OK(close(fd));
}

static void map_growing(void)
{
	int fd = (int)MUST(open("f", O_RDWR | O_CREAT, 0644));
	char *p;

	OK(ftruncate(fd, 100));
	p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	p[99] = 'e';
	posix_fork(map_grown_by_other);
	EQ(memcmp(p + 99, "etail", 5), 0);
	EQ(posix_size("f"), 104);
	OK(munmap(p, LEN));
	OK(close(fd));
}

static void child_writes(void)
{
	int fd = (int)OK(open("f", O_RDWR));
	char *p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	EQ(p[0], 'P');
	p[LEN / 2] = 'C';
	OK(munmap(p, LEN));
	OK(close(fd));
}

static void map_processes(void)
{
	int fd = make("f");
	char *p = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	p[0] = 'P';
	posix_fork(child_writes);
	EQ(p[LEN / 2], 'C');
	OK(munmap(p, LEN));
	OK(close(fd));
}

const struct posix_case cases_map[] = {
	{ "map-shared-io", shared_and_io, 0 },
	{ "map-shared-two", shared_two, 0 },
	{ "map-private", private_map, 0 },
	{ "map-errors", map_errors, 0 },
	{ "map-past-end", map_past_end, 0 },
	{ "map-punch", map_and_punch, 0 },
	{ "map-growing", map_growing, 0 },
	{ "map-processes", map_processes, 0 },
	{ NULL, NULL, 0 },
};
