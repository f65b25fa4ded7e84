/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fsx FILE [--seconds=S | --ops=N] [--seed=N] [--size=BYTES]: random operations
 * on one file, compared with a model in memory after each.
 *
 * Reads, writes, appends, shared maps, truncation, holes, allocation, zeroing,
 * copies within the file, closing and opening again, through two descriptors
 * that are open at the same time. The first difference ends it with the last
 * operations, the seed, and status 1. What the file system does not have
 * (EOPNOTSUPP) is left out of the rest of the run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HISTORY 24
#define MAX_LEN (192u << 10)

static const char *path;
static uint64_t seed = 1;
static uint64_t state;
static size_t max_size = 1u << 20;
static unsigned char *model; /* max_size bytes; zeros behind "size" */
static unsigned char *temp;
static size_t size;
static int fds[2];
static uint64_t n_ops;
static char history[HISTORY][96];

#define FAIL(...)                                                          \
	do {                                                               \
		fprintf(stderr, __VA_ARGS__);                              \
		give_up();                                                 \
	} while (0)

static _Noreturn void give_up(void)
{
	uint64_t first = n_ops > HISTORY ? n_ops - HISTORY : 0;
	uint64_t i;

	fprintf(stderr, "\nseed %llu, the last operations:\n",
		(unsigned long long)seed);
	for (i = first; i <= n_ops; i++)
		fprintf(stderr, "  %llu %s\n", (unsigned long long)i,
			history[i % HISTORY]);
	exit(1);
}

static void note(const char *what, size_t off, size_t len)
{
	snprintf(history[n_ops % HISTORY], sizeof(history[0]),
		 "%s [%zu, +%zu) of %zu", what, off, len, size);
}

/* xorshift64*: the same on every machine. */
static uint64_t next_random(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

static size_t below(size_t n)
{
	return n ? (size_t)((next_random() >> 16) % n) : 0;
}

/* Where something interesting is: anywhere, on a page, or at the end. */
static size_t pick_off(size_t limit)
{
	size_t off = below(limit);

	switch (below(4)) {
	case 0:
		return off & ~(size_t)4095;
	case 1:
		return size < limit ? size : off;
	default:
		return off;
	}
}

static size_t pick_len(size_t off)
{
	size_t len = below(8) ? below(20000) : below(MAX_LEN);

	if (below(3) == 0)
		len = (len + 4095) & ~(size_t)4095;
	return len < max_size - off ? len : max_size - off;
}

static int any_fd(void)
{
	return fds[below(2)];
}

static void fill_temp(size_t len)
{
	uint64_t v = next_random();
	size_t i;

	for (i = 0; i < len; i++)
		temp[i] = (unsigned char)(v >> (i % 8 * 8)) ^
			  (unsigned char)(i >> 3);
}

static void grow(size_t to)
{
	if (to > size)
		size = to;
}

/* ------------------------------------------------------------ comparing */

static void compare(const unsigned char *got, size_t off, size_t len)
{
	size_t i;

	if (!memcmp(got, model + off, len))
		return;
	for (i = 0; got[i] == model[off + i]; i++)
		;
	FAIL("at %zu: %02x instead of %02x\n", off + i, got[i],
	     model[off + i]);
}

static void check_size(void)
{
	struct stat st;

	if (fstat(any_fd(), &st))
		FAIL("fstat: %s\n", strerror(errno));
	if ((size_t)st.st_size != size)
		FAIL("size %lld instead of %zu\n", (long long)st.st_size,
		     size);
}

static void read_range(size_t off, size_t len)
{
	size_t want = off >= size ? 0 : len < size - off ? len : size - off;
	ssize_t n = pread(any_fd(), temp, len, (off_t)off);

	if (n < 0)
		FAIL("pread: %s\n", strerror(errno));
	if ((size_t)n != want)
		FAIL("pread: %zd instead of %zu bytes\n", n, want);
	compare(temp, off, want);
}

static void check_all(void)
{
	size_t off;

	check_size();
	for (off = 0; off < size; off += MAX_LEN)
		read_range(off, MAX_LEN);
}

/* ------------------------------------------------------------ operations */

static bool op_read(void)
{
	size_t off = pick_off(max_size);
	size_t len = pick_len(off);

	note("read", off, len);
	read_range(off, len);
	return true;
}

static bool op_write(void)
{
	size_t off = pick_off(max_size);
	size_t len = pick_len(off);

	note("write", off, len);
	fill_temp(len);
	if (pwrite(any_fd(), temp, len, (off_t)off) != (ssize_t)len)
		FAIL("pwrite: %s\n", strerror(errno));
	memcpy(model + off, temp, len);
	if (len)
		grow(off + len);
	return true;
}

static bool op_append(void)
{
	size_t len = pick_len(size);
	int fd = open(path, O_WRONLY | O_APPEND);

	note("append", size, len);
	fill_temp(len);
	if (fd < 0 || write(fd, temp, len) != (ssize_t)len)
		FAIL("append: %s\n", strerror(errno));
	close(fd);
	memcpy(model + size, temp, len);
	grow(size + len);
	return true;
}

static bool op_map(void)
{
	size_t off = below(size) & ~(size_t)4095;
	size_t len = pick_len(off);
	bool writing = below(2);
	unsigned char *p;

	if (len > size - off)
		len = size - off;
	note(writing ? "map, write" : "map, read", off, len);
	if (!len)
		return true;
	p = mmap(NULL, len, PROT_READ | (writing ? PROT_WRITE : 0),
		 MAP_SHARED, any_fd(), (off_t)off);
	if (p == MAP_FAILED)
		FAIL("mmap: %s\n", strerror(errno));
	compare(p, off, len);
	if (writing) {
		fill_temp(len);
		memcpy(p, temp, len);
		memcpy(model + off, temp, len);
		if (below(2) && msync(p, len, MS_SYNC))
			FAIL("msync: %s\n", strerror(errno));
	}
	munmap(p, len);
	return true;
}

static bool op_truncate(void)
{
	size_t to = pick_off(max_size);

	note("truncate", to, 0);
	if (below(2) ? truncate(path, (off_t)to) :
		       ftruncate(any_fd(), (off_t)to))
		FAIL("truncate: %s\n", strerror(errno));
	if (to < size)
		memset(model + to, 0, size - to);
	size = to;
	return true;
}

/* False: not here. */
static bool fallocate_as(int mode, size_t off, size_t len)
{
	if (!len || !fallocate(any_fd(), mode, (off_t)off, (off_t)len))
		return true;
	if (errno != EOPNOTSUPP)
		FAIL("fallocate: %s\n", strerror(errno));
	return false;
}

static bool op_allocate(void)
{
	size_t off = pick_off(max_size);
	size_t len = pick_len(off);
	bool keep = below(2);

	note(keep ? "allocate, keep size" : "allocate", off, len);
	if (!fallocate_as(keep ? FALLOC_FL_KEEP_SIZE : 0, off, len))
		return false;
	if (!keep && len)
		grow(off + len);
	return true;
}

static void model_zero(size_t off, size_t len)
{
	if (off < size)
		memset(model + off, 0, len < size - off ? len : size - off);
}

static bool op_punch(void)
{
	size_t off = pick_off(max_size);
	size_t len = pick_len(off);

	note("punch", off, len);
	if (!fallocate_as(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			  len))
		return false;
	model_zero(off, len);
	return true;
}

static bool op_zero(void)
{
	size_t off = pick_off(max_size);
	size_t len = pick_len(off);
	bool keep = below(2);

	note(keep ? "zero, keep size" : "zero", off, len);
	if (!fallocate_as(FALLOC_FL_ZERO_RANGE |
			  (keep ? FALLOC_FL_KEEP_SIZE : 0), off, len))
		return false;
	model_zero(off, len);
	if (!keep && len)
		grow(off + len);
	return true;
}

static bool op_copy(void)
{
	size_t from = below(size);
	size_t to = pick_off(max_size);
	size_t len = pick_len(to);
	loff_t in = (loff_t)from;
	loff_t out = (loff_t)to;
	ssize_t n;

	if (len > size - from)
		len = size - from;
	if (from < to + len && to < from + len)
		return true; /* overlapping: EINVAL, tested elsewhere */
	note("copy", to, len);
	n = copy_file_range(fds[0], &in, fds[1], &out, len, 0);
	if (n < 0 && (errno == EOPNOTSUPP || errno == EXDEV))
		return false;
	if (n < 0 || (len && !n))
		FAIL("copy_file_range: %s\n", strerror(errno));
	memmove(model + to, model + from, (size_t)n);
	if (n)
		grow(to + (size_t)n);
	return true;
}

static bool op_reopen(void)
{
	unsigned i = (unsigned)below(2);

	note("open again", i, 0);
	if (close(fds[i]))
		FAIL("close: %s\n", strerror(errno));
	fds[i] = open(path, O_RDWR);
	if (fds[i] < 0)
		FAIL("open: %s\n", strerror(errno));
	return true;
}

static bool op_sync(void)
{
	note("sync", 0, 0);
	if (below(2) ? fsync(any_fd()) : fdatasync(any_fd()))
		FAIL("fsync: %s\n", strerror(errno));
	return true;
}

static bool op_check(void)
{
	note("compare all", 0, 0);
	check_all();
	return true;
}

static struct {
	bool (*run)(void);
	unsigned weight;
	uint64_t times;
} ops[] = {
	{ op_read, 20, 0 }, { op_write, 20, 0 }, { op_append, 5, 0 },
	{ op_map, 15, 0 }, { op_truncate, 8, 0 }, { op_allocate, 5, 0 },
	{ op_punch, 8, 0 }, { op_zero, 5, 0 }, { op_copy, 8, 0 },
	{ op_reopen, 5, 0 }, { op_sync, 2, 0 }, { op_check, 4, 0 },
};

static void step(void)
{
	unsigned total = 0;
	size_t pick;
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		total += ops[i].weight;
	pick = below(total);
	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	if (ops[i].run())
		ops[i].times++;
	else
		ops[i].weight = 0;
	check_size();
	n_ops++;
}

static bool number(const char *arg, const char *name, uint64_t *ret)
{
	size_t n = strlen(name);

	if (strncmp(arg, name, n))
		return false;
	*ret = strtoull(arg + n, NULL, 10);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t want_ops = 0;
	uint64_t seconds = 0;
	uint64_t bytes = max_size;
	time_t end;
	int i;

	for (i = 2; i < argc; i++) {
		if (!number(argv[i], "--seconds=", &seconds) &&
		    !number(argv[i], "--ops=", &want_ops) &&
		    !number(argv[i], "--seed=", &seed) &&
		    !number(argv[i], "--size=", &bytes))
			argc = 0;
	}
	if (argc < 2 || !seconds == !want_ops) {
		fprintf(stderr, "usage: fsx FILE --seconds=S | --ops=N"
			" [--seed=N] [--size=BYTES]\n");
		return 2;
	}
	path = argv[1];
	max_size = (size_t)bytes;
	state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	model = calloc(1, max_size + MAX_LEN);
	temp = malloc(max_size + MAX_LEN);
	fds[0] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	fds[1] = open(path, O_RDWR);
	if (!model || !temp || fds[0] < 0 || fds[1] < 0)
		FAIL("%s: %s\n", path, strerror(errno));
	end = time(NULL) + (time_t)seconds;
	while (want_ops ? n_ops < want_ops : time(NULL) < end)
		step();
	check_all();
	printf("%llu operations, seed %llu\n", (unsigned long long)n_ops,
	       (unsigned long long)seed);
	return 0;
}
