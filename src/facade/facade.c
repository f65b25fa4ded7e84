/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mount and its server, which knows next to nothing.
 *
 * The mount is never attached anywhere: there is a descriptor of its root, with
 * which this process alone opens files. A file is made by opening a name that is
 * a ticket: facade_open() registers the real file, puts ticket and backing id on
 * the desk, opens the name, and takes both off again. Whoever has a descriptor
 * and opens it anew through /proc finds no ticket and is refused, so nobody gets
 * more access than was given. After the open nothing has to be remembered:
 * every file has the same attributes, and the kernel keeps the real file.
 *
 * The kernel asks for attributes once a day. Reads and writes never come here.
 *
 * The lock is the desk's, and never held over a call that waits; the serving
 * thread asks nobody else, so an open that waits for it cannot wait for ever.
 * Backing files are registered by the broker (fusedev/broker.h).
 */
#include "facade/facade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "fusedev/broker.h"
#include "wire/fuse.h"

/* Ours of fsopen(2) and its kin; libc may be older than they are. */
#define FS_CLOEXEC 1u
#define FS_SET_FLAG 0u
#define FS_SET_STRING 1u
#define FS_CREATE 6u
#define MOUNT_NOSUID 2u
#define MOUNT_NODEV 4u
#define MOUNT_NOEXEC 8u

#define DESK_MAX 64u
#define BUFFER_BYTES 135168u /* what a kernel asks for with max_write 128 KiB */
#define ENDLESS (UINT64_C(1) << 62)
#define ONE_DAY 86400u

struct ticket {
	uint64_t number; /* 0: free */
	int backing_id;
	bool writable;
	bool used;
};

struct facade {
	int dev;     /* /dev/fuse, non-blocking */
	int mnt;     /* the root */
	int stop_fd; /* readable: the thread is to end */
	int probe;   /* a file in memory, until facade_start() tried it */
	dev_t st_dev;
	struct fuse_broker *broker;
	pthread_t thread;
	bool has_thread;
	_Atomic int passthrough; /* 0: no INIT yet; 1: agreed; -1: not known */
	pthread_mutex_t lock;
	struct ticket desk[DESK_MAX]; /* lock */
	uint64_t next_number;         /* lock */
	unsigned char buf[BUFFER_BYTES]; /* the thread's */
};

/* ------------------------------------------------------------- the desk */

/* -EBUSY: everybody opens at once. */
static int desk_put(struct facade *f, int backing_id, bool writable,
		    uint64_t *ret_number)
{
	int r = -EBUSY;
	unsigned i;

	pthread_mutex_lock(&f->lock);
	for (i = 0; i < DESK_MAX && r; i++) {
		if (f->desk[i].number)
			continue;
		f->desk[i] = (struct ticket){ .number = f->next_number++,
					      .backing_id = backing_id,
					      .writable = writable };
		*ret_number = f->desk[i].number;
		r = 0;
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

static struct ticket *desk_find_locked(struct facade *f, uint64_t number)
{
	unsigned i;

	for (i = 0; i < DESK_MAX; i++) {
		if (number && f->desk[i].number == number)
			return &f->desk[i];
	}
	return NULL;
}

static void desk_take(struct facade *f, uint64_t number)
{
	struct ticket *t;

	pthread_mutex_lock(&f->lock);
	t = desk_find_locked(f, number);
	if (t)
		t->number = 0;
	pthread_mutex_unlock(&f->lock);
}

/* The backing id for this open, once; or -EACCES. */
static int desk_use(struct facade *f, uint64_t number, uint32_t flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	struct ticket *t;
	int r = -EACCES;

	pthread_mutex_lock(&f->lock);
	t = desk_find_locked(f, number);
	if (t && !t->used && (t->writable || !writes)) {
		t->used = true;
		r = t->backing_id;
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* --------------------------------------------------------------- serving */

/* Nodeid 1 is the root; a ticket's file is its number, which starts at 2. */
static void fill_attr(uint64_t nodeid, struct fuse_attr *ret)
{
	bool root = nodeid == FUSE_ROOT_ID;

	*ret = (struct fuse_attr){
		.ino = nodeid,
		.size = root ? 0 : ENDLESS,
		.mode = root ? S_IFDIR | 0500 : S_IFREG | 0600,
		.nlink = 1,
		.blksize = 4096,
	};
}

static ssize_t serve_init(struct facade *f, const void *arg, void *out)
{
	const struct fuse_init_in *in = arg;
	struct fuse_init_out o = {
		.major = FUSE_KERNEL_VERSION,
		.minor = (uint32_t)min_u64(in->minor, 40),
		.max_background = 16,
		.congestion_threshold = 12,
		.max_write = 1u << 17,
		.time_gran = 1,
		.flags = FUSE_INIT_EXT,
	};
	uint64_t offered = in->flags;

	if (in->flags & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	if (offered & FUSE_WIRE_PASSTHROUGH) {
		o.flags2 = (uint32_t)(FUSE_WIRE_PASSTHROUGH >> 32);
		o.unused[0] = FUSE_WIRE_STACK_DEPTH;
	} else {
		o.flags = 0;
	}
	memcpy(out, &o, sizeof(o));
	atomic_store(&f->passthrough,
		     offered & FUSE_WIRE_PASSTHROUGH ? 1 : -1);
	return sizeof(o);
}

static ssize_t serve_lookup(struct facade *f, const char *name, void *out)
{
	struct fuse_entry_out e = { .attr_valid = ONE_DAY };
	uint64_t number = strtoull(name, NULL, 16);
	bool known;

	pthread_mutex_lock(&f->lock);
	known = desk_find_locked(f, number) != NULL;
	pthread_mutex_unlock(&f->lock);
	if (!known)
		return -ENOENT;
	e.nodeid = number;
	fill_attr(number, &e.attr);
	memcpy(out, &e, sizeof(e));
	return sizeof(e);
}

static ssize_t serve_getattr(uint64_t nodeid, void *out)
{
	struct fuse_attr_out o = { .attr_valid = ONE_DAY };

	fill_attr(nodeid, &o.attr);
	memcpy(out, &o, sizeof(o));
	return sizeof(o);
}

static ssize_t serve_open(struct facade *f, uint64_t nodeid, uint32_t flags,
			  void *out)
{
	int id = desk_use(f, nodeid, flags);
	struct fuse_open_out o = {
		.open_flags = FUSE_WIRE_FOPEN_PASSTHROUGH,
		.padding = (uint32_t)id,
	};

	if (id < 0)
		return id;
	memcpy(out, &o, sizeof(o));
	return sizeof(o);
}

/* Bytes of reply, -errno, or -EALREADY for those that get none. */
static ssize_t serve_one(struct facade *f, const struct fuse_in_header *h,
			 const void *arg, void *out)
{
	switch (h->opcode) {
	case FUSE_INIT:
		return serve_init(f, arg, out);
	case FUSE_LOOKUP:
		return serve_lookup(f, arg, out);
	case FUSE_GETATTR:
		return serve_getattr(h->nodeid, out);
	case FUSE_OPEN:
		return serve_open(f, h->nodeid,
				  ((const struct fuse_open_in *)arg)->flags,
				  out);
	case FUSE_RELEASE:
		return 0;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return -EALREADY;
	default:
		return -ENOSYS;
	}
}

static void reply(struct facade *f, uint64_t unique, const void *data,
		  ssize_t r)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + (r > 0 ? (size_t)r : 0)),
		.error = r < 0 ? (int32_t)r : 0,
		.unique = unique,
	};
	struct iovec iov[2] = {
		{ &h, sizeof(h) },
		{ (void *)(uintptr_t)data, h.len - sizeof(h) },
	};

	/* -ENOENT: who asked was interrupted */
	if (writev(f->dev, iov, 2) < 0 && errno != ENOENT)
		log_warn("facade: cannot answer the kernel: %s",
			 strerror(errno));
}

/* The kernel is no stranger: what it sends is whole. */
static bool take_one(struct facade *f)
{
	_Alignas(8) unsigned char out[256];
	const struct fuse_in_header *h = (const void *)f->buf;
	ssize_t n = read(f->dev, f->buf, sizeof(f->buf));
	ssize_t r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOENT;
	if ((size_t)n < sizeof(*h))
		return false;
	r = serve_one(f, h, h + 1, out);
	if (r != -EALREADY)
		reply(f, h->unique, out, r);
	return true;
}

static void *serve(void *arg)
{
	struct facade *f = arg;
	struct pollfd p[2] = {
		{ .fd = f->stop_fd, .events = POLLIN },
		{ .fd = f->dev, .events = POLLIN },
	};

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents || (p[1].revents && !take_one(f)))
			break;
	}
	return NULL;
}

/* -------------------------------------------------------------- life time */

static int set_string(int fs, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, FS_SET_STRING, key, value, 0) ?
		       -errno : 0;
}

static int configure_fs(int fs, int dev)
{
	char fd[16];
	int r;

	snprintf(fd, sizeof(fd), "%d", dev);
	r = set_string(fs, "source", "oriel-facade");
	if (!r)
		r = set_string(fs, "fd", fd);
	if (!r)
		r = set_string(fs, "rootmode", "40000");
	if (!r)
		r = set_string(fs, "user_id", "0");
	if (!r)
		r = set_string(fs, "group_id", "0");
	/* The monitor that looks at a file's size is another user. */
	if (!r && syscall(SYS_fsconfig, fs, FS_SET_FLAG, "allow_other", NULL,
			  0))
		r = -errno;
	if (!r && syscall(SYS_fsconfig, fs, FS_CREATE, NULL, NULL, 0))
		r = -errno;
	return r;
}

/* The mount, attached nowhere. Its descriptor, or -errno. */
static int make_mount(int dev)
{
	int fs = (int)syscall(SYS_fsopen, "fuse", FS_CLOEXEC);
	int r;

	if (fs < 0)
		return -errno;
	r = configure_fs(fs, dev);
	if (!r) {
		r = (int)syscall(SYS_fsmount, fs, FS_CLOEXEC, MOUNT_NOSUID |
				 MOUNT_NODEV | MOUNT_NOEXEC);
		if (r < 0)
			r = -errno;
	}
	close(fs);
	return r;
}

int facade_new(const struct facade_config *cfg, struct facade **ret)
{
	struct facade *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->dev = f->mnt = f->stop_fd = f->probe = -1;
	f->next_number = FUSE_ROOT_ID + 1;
	pthread_mutex_init(&f->lock, NULL);
	f->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (f->dev < 0) {
		r = -errno;
		goto err;
	}
	r = make_mount(f->dev);
	if (r < 0)
		goto err;
	f->mnt = r;
	f->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->probe = memfd_create("oriel-facade", MFD_CLOEXEC);
	if (f->stop_fd < 0 || f->probe < 0 || ftruncate(f->probe, 1)) {
		r = -errno;
		goto err;
	}
	r = fuse_broker_start(&(struct fuse_broker_config){
				      .dev = f->dev,
				      .confine = cfg->confine,
				      .ctx = cfg->ctx,
			      }, &f->broker);
	if (r)
		goto err;
	*ret = f;
	return 0;

err:
	facade_free(f);
	return r;
}

void facade_free(struct facade *f)
{
	uint64_t one = 1;

	if (!f)
		return;
	if (f->has_thread && write(f->stop_fd, &one, sizeof(one)) > 0)
		pthread_join(f->thread, NULL);
	fuse_broker_stop(f->broker);
	/* The connection first: closing the root would ask nobody. */
	fd_close(&f->dev);
	fd_close(&f->mnt);
	fd_close(&f->stop_fd);
	fd_close(&f->probe);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

/* Is what is mapped through the facade really the file, and endless? */
static int try_it(struct facade *f)
{
	int fd = facade_open(f, f->probe, true);
	struct stat st;
	char *p;
	int r;

	if (fd < 0)
		return fd;
	r = fstat(fd, &st) ? -errno : 0;
	if (r)
		goto out;
	f->st_dev = st.st_dev;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		r = -errno;
		goto out;
	}
	*(volatile char *)p = 'x';
	munmap(p, 4096);
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f->probe, 0);
	r = p != MAP_FAILED && *(volatile char *)p == 'x' ? 0 : -EIO;
	if (p != MAP_FAILED)
		munmap(p, 4096);
out:
	fd_close(&fd);
	fd_close(&f->probe);
	return r;
}

int facade_start(struct facade *f)
{
	struct stat st;
	int r = -pthread_create(&f->thread, NULL, serve, f);

	if (r)
		return r;
	f->has_thread = true;
	/* Waits until INIT was answered. */
	if (fstat(f->mnt, &st))
		return -errno;
	if (atomic_load(&f->passthrough) != 1)
		return -EOPNOTSUPP;
	return try_it(f);
}

dev_t facade_dev(const struct facade *f)
{
	return f->st_dev;
}

static int open_ticket(struct facade *f, int backing_id, bool writable)
{
	uint64_t number;
	char name[20];
	int fd;
	int r = desk_put(f, backing_id, writable, &number);

	if (r)
		return r;
	snprintf(name, sizeof(name), "%llx", (unsigned long long)number);
	fd = openat(f->mnt, name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	desk_take(f, number);
	return fd;
}

int facade_open(struct facade *f, int fd, bool writable)
{
	int id;
	int r;

	id = fuse_broker_open(f->broker, fd);
	if (id < 0)
		return id;
	r = open_ticket(f, id, writable);
	/* An open file keeps what it needs. */
	fuse_broker_close(f->broker, (uint32_t)id);
	return r;
}
