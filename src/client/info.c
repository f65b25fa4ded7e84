/* SPDX-License-Identifier: BSD-2-Clause */
/* What a session says of itself. */
#include "client/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static void fill_counters(struct oriel_session *s, struct oriel_info *i)
{
	i->requests = atomic_load(&s->n_requests);
	i->forgets = atomic_load(&s->n_forgotten);
	i->sleeps = atomic_load(&s->n_sleeps);
	i->message_read_bytes = atomic_load(&s->msg_read_bytes);
	i->message_write_bytes = atomic_load(&s->msg_write_bytes);
	i->held_read_bytes = atomic_load(&s->held_read_bytes);
	i->held_written_bytes = atomic_load(&s->held_written_bytes);
	pthread_mutex_lock(&s->held_lock);
	i->held_files = s->n_held;
	pthread_mutex_unlock(&s->held_lock);
	pthread_mutex_lock(&s->table_lock);
	i->inodes = s->n_inodes;
	i->open_files = s->n_files;
	pthread_mutex_unlock(&s->table_lock);
	pthread_mutex_lock(&s->submit_lock);
	i->in_flight = ring_driver_in_flight(s->rq);
	i->max_in_flight = s->max_in_flight;
	pthread_mutex_unlock(&s->submit_lock);
}

static void fill_window(struct oriel_session *s, struct oriel_info *i)
{
	struct dax_stats d;

	i->range_bytes = s->opts.range_bytes;
	if (!s->dax)
		return;
	dax_window_stats(s->dax, &d);
	i->window_bytes = d.ranges * i->range_bytes;
	i->ranges = d.ranges;
	i->free_ranges = d.free_ranges;
	i->mappings = d.mappings;
	i->pinned_ranges = d.pinned;
	i->hits = d.hits;
	i->misses = d.misses;
	i->setups = d.setups;
	i->setup_errors = d.setup_errors;
	i->upgrades = d.upgrades;
	i->reclaimed = d.reclaimed;
	i->prefetched = d.prefetched;
	i->bypassed = d.bypassed;
	i->faults = d.faults;
	i->window_read_bytes = d.bytes_read;
	i->window_write_bytes = d.bytes_written;
}

/* DAX is on unless there is no window or the daemon refused to map. */
static void fill_dax(struct oriel_session *s, struct oriel_info *i)
{
	i->dax = s->dax && !client_is_nosys(s, FUSE_SETUPMAPPING);
	if (i->dax)
		return;
	snprintf(i->dax_why, sizeof(i->dax_why), "%s",
		 s->dax ? "the daemon answers ENOSYS to SETUPMAPPING" :
			  s->dax_why);
}

int oriel_info(struct oriel_session *s, struct oriel_info *info)
{
	struct oriel_info i = { 0 };
	size_t size = info->size;

	if (!size)
		return client_fail(-EINVAL, "info: size is 0");
	memcpy(i.tag, s->fi->tag, sizeof(i.tag));
	i.proto_major = FUSE_KERNEL_VERSION;
	i.proto_minor = s->minor;
	i.fuse_flags = s->fuse_flags;
	i.virtio_features = s->fi->virtio_features;
	i.vhost_features = s->fi->protocol_features;
	i.request_queues = s->fi->n_queues - 1;
	i.max_read_bytes = s->max_read;
	i.max_write_bytes = s->max_write;
	i.embedded = s->child.pid != 0;
	memcpy(i.sandbox, s->child.sandbox, sizeof(i.sandbox));
	i.readonly = i.embedded && s->opts.readonly;
	i.daemon_pid = s->peer_pid;
	i.alive = !client_is_dead(s);
	fill_dax(s, &i);
	fill_window(s, &i);
	fill_counters(s, &i);
	i.size = min_u64(size, sizeof(i));
	memcpy(info, &i, i.size);
	if (size > sizeof(i))
		memset((char *)info + sizeof(i), 0, size - sizeof(i));
	return 0;
}

size_t oriel_window_picture(struct oriel_session *s, char *buf, size_t len)
{
	return s->dax ? dax_window_picture(s->dax, buf, len) : 0;
}

const char *oriel_fuse_flag_name(unsigned bit)
{
	static const char *const names[64] = {
		"ASYNC_READ", "POSIX_LOCKS", "FILE_OPS", "ATOMIC_O_TRUNC",
		"EXPORT_SUPPORT", "BIG_WRITES", "DONT_MASK", "SPLICE_WRITE",
		"SPLICE_MOVE", "SPLICE_READ", "FLOCK_LOCKS", "HAS_IOCTL_DIR",
		"AUTO_INVAL_DATA", "DO_READDIRPLUS", "READDIRPLUS_AUTO",
		"ASYNC_DIO", "WRITEBACK_CACHE", "NO_OPEN_SUPPORT",
		"PARALLEL_DIROPS", "HANDLE_KILLPRIV", "POSIX_ACL",
		"ABORT_ERROR", "MAX_PAGES", "CACHE_SYMLINKS",
		"NO_OPENDIR_SUPPORT", "EXPLICIT_INVAL_DATA", "MAP_ALIGNMENT",
		"SUBMOUNTS", "HANDLE_KILLPRIV_V2", "SETXATTR_EXT", "INIT_EXT",
		"INIT_RESERVED", "SECURITY_CTX", "HAS_INODE_DAX",
		"CREATE_SUPP_GROUP", "HAS_EXPIRE_ONLY",
		"DIRECT_IO_ALLOW_MMAP", "PASSTHROUGH", "NO_EXPORT_SUPPORT",
		"HAS_RESEND", "ALLOW_IDMAP", "OVER_IO_URING",
		"REQUEST_TIMEOUT",
	};

	return bit < ARRAY_LEN(names) ? names[bit] : NULL;
}

/* The public callback behind the internal one. */
static void (*user_log)(void *ctx, int level, const char *text);

static void log_forward(void *ctx, enum log_level level, const char *text)
{
	user_log(ctx, (int)level, text);
}

void oriel_set_log(int level, void (*fn)(void *ctx, int level, const char *text),
		   void *ctx)
{
	if (level < LOG_LEVEL_OFF)
		level = LOG_LEVEL_OFF;
	if (level > LOG_LEVEL_TRACE)
		level = LOG_LEVEL_TRACE;
	user_log = fn;
	log_set((enum log_level)level, fn ? log_forward : NULL, ctx);
}
