/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Held files: descriptors that came with mappings, kept.
 *
 * A daemon hands over a descriptor of the file with each SHMEM_MAP. The first
 * one of an inode for reading, and the first for writing, are kept here. With
 * them further ranges of the file are mapped without a round trip (3 us in place
 * of 12), and what the window does not serve is read, overwritten and appended by
 * a system call in place of a message. It is the same page cache, so nothing changes in
 * what anybody sees; nor in what we may do, since whoever is given a mapping is
 * given the descriptor.
 *
 * Only a descriptor that is beyond doubt is kept: of a regular file with the
 * inode number that the daemon gave for it, whose offsets are the file's. A
 * daemon that hands over something else (a copy in memory, a piece of a larger
 * file) is asked for every range, as before.
 *
 * Session->n_held descriptors at most; then the inode that was not used lately
 * loses its ones. An inode is in session->held as long as it has any.
 *
 * INVARIANT: a descriptor is closed only after it was taken out of inode->held[]
 * and every read section that may have found it has ended. Mapping happens under
 * held_lock instead, which whoever takes descriptors out holds too.
 *
 * Lock: session->held_lock, below the inode's dax lock; mmap(2) is called under
 * it, nothing is sent. Sections: a read or write by descriptor is one, and may
 * wait for the disk as a page fault in a copy may.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/epoch.h"

#define HELD_MAX 1024u
#define HELD_SHARE 8u /* of the descriptors this process may have */

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* Ours of cachestat(2), Linux 6.5. */
struct cache_range {
	uint64_t off;
	uint64_t len;
};

struct cache_stat {
	uint64_t cached; /* pages, all of them */
	uint64_t dirty;
	uint64_t writeback;
	uint64_t evicted;
	uint64_t recently_evicted;
};

void client_held_init(struct oriel_session *s)
{
	struct rlimit r;
	uint64_t max = HELD_MAX;

	pthread_mutex_init(&s->held_lock, NULL);
	list_init(&s->held);
	if (s->opts.held_files == ORIEL_HOLD_NONE)
		max = 0;
	else if (s->opts.held_files)
		max = s->opts.held_files;
	else if (!getrlimit(RLIMIT_NOFILE, &r))
		max = min_u64(max, r.rlim_cur / HELD_SHARE);
	s->max_held = (unsigned)min_u64(max, UINT32_MAX - 2);
	/* past such a limit pwrite(2) raises a signal, which is not ours to do */
	s->holds_for_writes = !getrlimit(RLIMIT_FSIZE, &r) &&
			      r.rlim_cur == RLIM_INFINITY;
}

void client_held_done(struct oriel_session *s)
{
	pthread_mutex_destroy(&s->held_lock);
}

void client_held_inode_init(struct client_inode *ino)
{
	for (unsigned i = 0; i < CLIENT_HELD; i++)
		atomic_init(&ino->held[i], -1);
	list_init(&ino->held_node);
}

static bool has_any(struct client_inode *ino)
{
	return !list_is_empty(&ino->held_node);
}

/* Out of the list; *@fds are the caller's to close after a grace period. */
static void take_out_locked(struct client_inode *ino, int fds[CLIENT_HELD])
{
	struct oriel_session *s = ino->s;

	list_del(&ino->held_node);
	for (unsigned i = 0; i < CLIENT_HELD; i++) {
		fds[i] = atomic_exchange_explicit(&ino->held[i], -1,
						  memory_order_acq_rel);
		s->n_held -= fds[i] >= 0;
	}
}

static void close_both(const int fds[CLIENT_HELD])
{
	for (unsigned i = 0; i < CLIENT_HELD; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void client_held_drop(struct client_inode *ino)
{
	int fds[CLIENT_HELD];

	pthread_mutex_lock(&ino->s->held_lock);
	if (!has_any(ino)) {
		pthread_mutex_unlock(&ino->s->held_lock);
		return;
	}
	take_out_locked(ino, fds);
	pthread_mutex_unlock(&ino->s->held_lock);
	close_both(fds);
}

/* Whose turn it is: the oldest that was not used since it was last its turn. */
static struct client_inode *victim_locked(struct oriel_session *s)
{
	struct client_inode *ino = NULL;

	for (unsigned i = 0; i <= s->max_held; i++) {
		ino = list_entry(s->held.next, struct client_inode, held_node);
		if (!atomic_load_explicit(&ino->held_used,
					  memory_order_relaxed))
			break;
		atomic_store_explicit(&ino->held_used, false,
				      memory_order_relaxed);
		list_del(&ino->held_node);
		list_add_tail(&s->held, &ino->held_node);
	}
	return ino;
}

/* Is it the file that the daemon speaks of? */
static bool is_the_file(struct client_inode *ino, int fd, bool writable)
{
	struct stat st;
	uint64_t number;

	pthread_mutex_lock(&ino->attr_lock);
	number = ino->attr.ino;
	pthread_mutex_unlock(&ino->attr_lock);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_ino != number)
		return false;
	/* whose writes go elsewhere than they are told to, or wait */
	return !writable || !(fcntl(fd, F_GETFL) &
			      (O_APPEND | O_DIRECT | O_SYNC | O_DSYNC));
}

void client_held_adopt(struct client_inode *ino, int fd, bool writable)
{
	struct oriel_session *s = ino->s;
	int old[CLIENT_HELD] = { -1, -1 };
	struct client_inode *victim = NULL;

	if (!is_the_file(ino, fd, writable)) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&s->held_lock);
	if (atomic_load(&ino->held[writable]) < 0 && s->max_held > 0) {
		if (s->n_held >= s->max_held) {
			victim = victim_locked(s);
			take_out_locked(victim, old);
		}
		if (!has_any(ino))
			list_add_tail(&s->held, &ino->held_node);
		/* release: pairs with the acquire in held_get() */
		atomic_store_explicit(&ino->held[writable], fd,
				      memory_order_release);
		s->n_held++;
		fd = -1;
	}
	pthread_mutex_unlock(&s->held_lock);
	if (victim) {
		epoch_synchronize();
		close_both(old);
	}
	if (fd >= 0)
		close(fd);
}

/* A descriptor for this, or -1. In a read section, or under held_lock. */
static int held_get(struct client_inode *ino, bool writes)
{
	int fd = -1;

	/* acquire: pairs with the release in client_held_adopt() */
	if (!writes)
		fd = atomic_load_explicit(&ino->held[CLIENT_HELD_READ],
					  memory_order_acquire);
	if (fd < 0)
		fd = atomic_load_explicit(&ino->held[CLIENT_HELD_WRITE],
					  memory_order_acquire);
	if (fd >= 0 && !atomic_load_explicit(&ino->held_used,
					     memory_order_relaxed))
		atomic_store_explicit(&ino->held_used, true,
				      memory_order_relaxed);
	return fd;
}

bool client_held_has(struct client_inode *ino, bool writes)
{
	/* relaxed: a hint */
	return (!writes && atomic_load_explicit(&ino->held[CLIENT_HELD_READ],
						memory_order_relaxed) >= 0) ||
	       atomic_load_explicit(&ino->held[CLIENT_HELD_WRITE],
				    memory_order_relaxed) >= 0;
}

int client_held_map(struct client_inode *ino,
		    const struct dax_map_request *req)
{
	struct oriel_session *s = ino->s;
	struct vhost_local_map p = {
		.file_off = req->file_off,
		.window_off = req->window_off,
		.len = req->len,
		.writable = req->writable,
	};
	int err = -ENOENT;

	pthread_mutex_lock(&s->held_lock);
	p.fd = held_get(ino, req->writable);
	if (p.fd >= 0)
		err = vhost_frontend_map(s->fe, &p);
	pthread_mutex_unlock(&s->held_lock);
	return err;
}

ssize_t client_held_read(struct client_inode *ino, void *buf, size_t len,
			 uint64_t pos)
{
	ssize_t n = -ENOENT;
	int fd;

	if (!client_held_has(ino, false) || !epoch_enter())
		return -ENOENT;
	fd = held_get(ino, false);
	if (fd >= 0) {
		n = pread(fd, buf, len, (off_t)pos);
		n = n < 0 ? -errno : n;
	}
	epoch_exit();
	if (n > 0)
		atomic_fetch_add_explicit(&ino->s->held_read_bytes, (uint64_t)n,
					  memory_order_relaxed);
	return n;
}

ssize_t client_held_write(struct client_inode *ino, const void *buf, size_t len,
			  uint64_t pos)
{
	ssize_t n = -ENOENT;
	int fd;

	if (!ino->s->holds_for_writes || !client_held_has(ino, true) ||
	    !epoch_enter())
		return -ENOENT;
	fd = held_get(ino, true);
	if (fd >= 0) {
		n = pwrite(fd, buf, len, (off_t)pos);
		n = n < 0 ? -errno : n;
	}
	epoch_exit();
	if (n > 0)
		atomic_fetch_add_explicit(&ino->s->held_written_bytes,
					  (uint64_t)n, memory_order_relaxed);
	return n;
}

bool client_held_writes(struct client_inode *ino)
{
	return ino->s->holds_for_writes && client_held_has(ino, true);
}

/* One system call: nobody sees a part of it, nor the size without the data. */
static ssize_t extend_by(int fd, const struct iovec *iov, unsigned n_iov,
			 uint64_t pos, uint64_t *ret_end)
{
	struct stat st;
	ssize_t n;

	if (pos != CLIENT_AT_END) {
		n = n_iov == 1 ?
			    pwrite(fd, iov->iov_base, iov->iov_len, (off_t)pos) :
			    pwritev(fd, iov, (int)n_iov, (off_t)pos);
		*ret_end = pos + (uint64_t)(n > 0 ? n : 0);
		return n < 0 ? -errno : n;
	}
	n = pwritev2(fd, iov, (int)n_iov, 0, RWF_APPEND);
	if (n < 0)
		return -errno;
	/* never fails on a descriptor of a regular file; 0 would be believed */
	*ret_end = fstat(fd, &st) ? CLIENT_AT_END : (uint64_t)st.st_size;
	return n;
}

ssize_t client_held_extend(struct client_inode *ino, const struct iovec *iov,
			   unsigned n_iov, uint64_t pos, uint64_t *ret_end)
{
	ssize_t n = -ENOENT;
	int fd;

	if (!client_held_writes(ino) || !epoch_enter())
		return -ENOENT;
	fd = held_get(ino, true);
	if (fd >= 0)
		n = extend_by(fd, iov, n_iov, pos, ret_end);
	epoch_exit();
	if (n > 0)
		atomic_fetch_add_explicit(&ino->s->held_written_bytes,
					  (uint64_t)n, memory_order_relaxed);
	return n;
}

bool client_held_is_resident(struct client_inode *ino, uint64_t off,
			     uint64_t len)
{
	struct cache_range range = { off, len };
	struct cache_stat st;
	uint64_t pages = len / (uint64_t)sysconf(_SC_PAGESIZE);
	bool ret = true;
	int fd;

	if (!epoch_enter())
		return true;
	fd = held_get(ino, false);
	if (fd >= 0 && !syscall(SYS_cachestat, fd, &range, &st, 0u))
		ret = st.cached >= pages - pages / 8;
	epoch_exit();
	return ret;
}
