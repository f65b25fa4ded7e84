/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session, and the way of one request through it.
 *
 * The client's memory is hostile and shared: the header and the arguments are
 * copied once into the thread's buffer and only the copy is looked at; the
 * table below says how many bytes each request must have and how much room its
 * reply needs, so that a request that could not be answered is not begun.
 */
#include "server/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HDR_IN sizeof(struct fuse_in_header)
#define HDR_OUT sizeof(struct fuse_out_header)

enum op_flags {
	OP_NODE = 1 << 0,     /* hdr.nodeid must be known */
	OP_CHANGE = 1 << 1,   /* refused on a read-only share */
	OP_NO_REPLY = 1 << 2,
	OP_EARLY = 1 << 3,    /* allowed before INIT */
	OP_DATA = 1 << 4,     /* data follow the arguments; not copied */
};

struct op {
	server_op_fn *fn;
	uint16_t min_arg; /* bytes behind the header */
	uint16_t reply;   /* room its reply needs, header not counted */
	unsigned flags;
};

#define ENTRY sizeof(struct fuse_entry_out)
#define ATTR sizeof(struct fuse_attr_out)
#define OPENED sizeof(struct fuse_open_out)
#define ARG(x) sizeof(struct fuse_##x)

static const struct op ops[] = {
	[FUSE_LOOKUP] = { server_op_lookup, 1, ENTRY, OP_NODE },
	[FUSE_FORGET] = { server_op_forget, ARG(forget_in), 0, OP_NO_REPLY },
	[FUSE_GETATTR] = { server_op_getattr, 0, ATTR, OP_NODE },
	[FUSE_SETATTR] = { server_op_setattr, ARG(setattr_in), ATTR,
			   OP_NODE | OP_CHANGE },
	[FUSE_READLINK] = { server_op_readlink, 0, 0, OP_NODE },
	[FUSE_SYMLINK] = { server_op_symlink, 2, ENTRY, OP_NODE | OP_CHANGE },
	[FUSE_MKNOD] = { server_op_mknod, ARG(mknod_in) + 1, ENTRY,
			 OP_NODE | OP_CHANGE },
	[FUSE_MKDIR] = { server_op_mkdir, ARG(mkdir_in) + 1, ENTRY,
			 OP_NODE | OP_CHANGE },
	[FUSE_UNLINK] = { server_op_unlink, 1, 0, OP_NODE | OP_CHANGE },
	[FUSE_RMDIR] = { server_op_rmdir, 1, 0, OP_NODE | OP_CHANGE },
	[FUSE_RENAME] = { server_op_rename, ARG(rename_in) + 2, 0,
			  OP_NODE | OP_CHANGE },
	[FUSE_LINK] = { server_op_link, ARG(link_in) + 1, ENTRY,
			OP_NODE | OP_CHANGE },
	[FUSE_OPEN] = { server_op_open, ARG(open_in), OPENED, OP_NODE },
	[FUSE_READ] = { server_op_read, ARG(read_in), 0, 0 },
	[FUSE_WRITE] = { server_op_write, ARG(write_in), ARG(write_out),
			 OP_CHANGE | OP_DATA },
	[FUSE_STATFS] = { server_op_statfs, 0, ARG(statfs_out), OP_NODE },
	[FUSE_RELEASE] = { server_op_release, ARG(release_in), 0, 0 },
	[FUSE_FSYNC] = { server_op_fsync, ARG(fsync_in), 0, 0 },
	[FUSE_SETXATTR] = { server_op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE,
			    0, OP_NODE | OP_CHANGE },
	[FUSE_GETXATTR] = { server_op_getxattr, ARG(getxattr_in) + 1, 0,
			    OP_NODE },
	[FUSE_LISTXATTR] = { server_op_listxattr, ARG(getxattr_in), 0,
			     OP_NODE },
	[FUSE_REMOVEXATTR] = { server_op_removexattr, 1, 0,
			       OP_NODE | OP_CHANGE },
	[FUSE_FLUSH] = { server_op_flush, ARG(flush_in), 0, 0 },
	[FUSE_INIT] = { server_op_init, 8, 8, OP_EARLY },
	[FUSE_OPENDIR] = { server_op_opendir, ARG(open_in), OPENED, OP_NODE },
	[FUSE_READDIR] = { server_op_readdir, ARG(read_in), 0, 0 },
	[FUSE_RELEASEDIR] = { server_op_releasedir, ARG(release_in), 0, 0 },
	[FUSE_FSYNCDIR] = { server_op_fsyncdir, ARG(fsync_in), 0, 0 },
	[FUSE_ACCESS] = { server_op_access, ARG(access_in), 0, OP_NODE },
	[FUSE_CREATE] = { server_op_create, ARG(create_in) + 1,
			  ENTRY + OPENED, OP_NODE | OP_CHANGE },
	[FUSE_INTERRUPT] = { server_op_interrupt, ARG(interrupt_in), 0,
			     OP_NO_REPLY },
	[FUSE_GETLK] = { server_op_getlk, ARG(lk_in), ARG(lk_out), 0 },
	[FUSE_SETLK] = { server_op_setlk, ARG(lk_in), 0, 0 },
	[FUSE_SETLKW] = { server_op_setlkw, ARG(lk_in), 0, 0 },
	[FUSE_DESTROY] = { server_op_destroy, 0, 0, 0 },
	[FUSE_BATCH_FORGET] = { server_op_batch_forget, ARG(batch_forget_in),
				0, OP_NO_REPLY },
	[FUSE_FALLOCATE] = { server_op_fallocate, ARG(fallocate_in), 0,
			     OP_CHANGE },
	[FUSE_READDIRPLUS] = { server_op_readdirplus, ARG(read_in), 0, 0 },
	[FUSE_RENAME2] = { server_op_rename2, ARG(rename2_in) + 2, 0,
			   OP_NODE | OP_CHANGE },
	[FUSE_LSEEK] = { server_op_lseek, ARG(lseek_in), ARG(lseek_out), 0 },
	[FUSE_COPY_FILE_RANGE] = { server_op_copy_file_range,
				   ARG(copy_file_range_in), ARG(write_out),
				   OP_CHANGE },
	[FUSE_WIRE_COPY_FILE_RANGE_64] = {
		server_op_copy_file_range_64, ARG(copy_file_range_in),
		sizeof(struct fuse_wire_copy_file_range_out), OP_CHANGE },
	[FUSE_SETUPMAPPING] = { server_op_setupmapping, ARG(setupmapping_in),
				0, OP_NODE },
	[FUSE_REMOVEMAPPING] = { server_op_removemapping,
				 ARG(removemapping_in), 0, 0 },
	[FUSE_IOCTL] = { server_op_ioctl, ARG(ioctl_in), ARG(ioctl_out),
			 OP_NODE },
	[FUSE_SYNCFS] = { server_op_syncfs, 0, 0, OP_NODE },
	[FUSE_WIRE_STATX] = { server_op_statx,
			      sizeof(struct fuse_wire_statx_in),
			      sizeof(struct fuse_wire_statx_out), OP_NODE },
	[FUSE_TMPFILE] = { server_op_tmpfile, ARG(create_in), ENTRY + OPENED,
			   OP_NODE | OP_CHANGE },
};

static const struct op unknown_op = { NULL, 0, 0, 0 };

/* ------------------------------------------------------- client memory */

size_t server_iov_len(const struct iovec *iov, unsigned n)
{
	size_t len = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		if (iov[i].iov_len > SIZE_MAX - len)
			return SIZE_MAX;
		len += iov[i].iov_len;
	}
	return len;
}

unsigned server_iov_slice(const struct iovec *iov, unsigned n, size_t off,
			  size_t len, struct iovec *dst)
{
	unsigned used = 0;
	unsigned i;

	for (i = 0; i < n && len && used < SERVER_IOV_MAX; i++) {
		size_t here;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		here = min_u64(iov[i].iov_len - off, len);
		dst[used].iov_base = (char *)iov[i].iov_base + off;
		dst[used].iov_len = here;
		used++;
		off = 0;
		len -= here;
	}
	return used;
}

/* Copy between @buf and [@off, @off + @len) of @iov. Returns bytes copied. */
static size_t iov_copy(const struct iovec *iov, unsigned n, size_t off,
		       unsigned char *buf, size_t len, bool to_iov)
{
	size_t done = 0;
	unsigned i;

	for (i = 0; i < n && done < len; i++) {
		unsigned char *p = iov[i].iov_base;
		size_t here;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		here = min_u64(iov[i].iov_len - off, len - done);
		if (to_iov)
			memcpy(p + off, buf + done, here);
		else
			memcpy(buf + done, p + off, here);
		done += here;
		off = 0;
	}
	return done;
}

size_t server_iov_read(const struct iovec *iov, unsigned n, size_t off,
		       void *dst, size_t len)
{
	return iov_copy(iov, n, off, dst, len, false);
}

size_t server_iov_write(const struct iovec *iov, unsigned n, size_t off,
			const void *src, size_t len)
{
	/* iov_copy() only reads it in this direction */
	return iov_copy(iov, n, off, (unsigned char *)(uintptr_t)src, len,
			true);
}

int server_arg_name(const struct server_req *req, size_t *pos,
		    const char **ret)
{
	const char *name;
	int r = fuse_take_string((const char *)req->t->arg, req->arg_len, pos,
				 &name);

	if (!r)
		r = fuse_check_name(name);
	if (!r)
		*ret = name;
	return r;
}

/* ------------------------------------------------------------ a request */

static ssize_t reply(struct server_req *req, ssize_t payload)
{
	struct fuse_out_header h = { .unique = req->hdr.unique };
	size_t len = 0;

	if (payload < 0)
		h.error = (int32_t)payload;
	else
		len = (size_t)payload;
	h.len = (uint32_t)(HDR_OUT + len);
	if (len && !req->direct)
		server_iov_write(req->in, req->n_in, HDR_OUT, req->t->reply,
				 len);
	server_iov_write(req->in, req->n_in, 0, &h, sizeof(h));
	return h.len;
}

/* Copy the arguments; the extensions stay where they are. */
static int take_args(struct server_req *req, const struct op *op,
		     size_t out_len)
{
	size_t ext = (size_t)req->hdr.total_extlen * 8;
	size_t len;

	if (req->hdr.len < HDR_IN || req->hdr.len > out_len)
		return -EINVAL;
	len = req->hdr.len - HDR_IN;
	if (ext > len)
		return -EINVAL;
	len -= ext;
	req->ext_off = HDR_IN + len;
	req->ext_len = ext;
	if (len < op->min_arg)
		return -EINVAL;
	if (op->flags & OP_DATA) {
		req->data_len = len - op->min_arg;
		len = op->min_arg;
	}
	if (len > SERVER_ARG_MAX)
		return -E2BIG;
	req->arg_len = server_iov_read(req->out, req->n_out, HDR_IN,
				       req->t->arg, len);
	return 0;
}

static ssize_t run_op(struct server_req *req, const struct op *op,
		      size_t out_len)
{
	ssize_t r;

	if (!(op->flags & OP_EARLY) &&
	    /* pairs with the release in server_op_init() */
	    !atomic_load_explicit(&req->s->ready, memory_order_acquire))
		return -EIO;
	if (!op->fn)
		return -ENOSYS;
	r = take_args(req, op, out_len);
	if (r)
		return r;
	if (!(op->flags & OP_NO_REPLY) && req->in_len - HDR_OUT < op->reply)
		return -EINVAL;
	if ((op->flags & OP_CHANGE) && req->share->cfg.readonly)
		return -EROFS;
	r = server_ids_of_request(req);
	if (r)
		return r;
	if (!(op->flags & OP_NODE))
		return op->fn(req);
	r = server_node_get(req->s, req->hdr.nodeid, &req->inode);
	if (r)
		return r;
	r = op->fn(req);
	server_node_put(req->s, req->inode);
	return r;
}

static void count(struct server_session *s, uint32_t opcode, unsigned queue)
{
	const unsigned last = ARRAY_LEN(s->queues) - 1;

	if (queue > last)
		queue = last;
	atomic_fetch_add_explicit(&s->queues[queue], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->ops[opcode < 63 ? opcode : 63], 1,
				  memory_order_relaxed);
}

ssize_t server_session_handle(struct server_session *s, unsigned queue,
			      const struct iovec *out, unsigned n_out,
			      const struct iovec *in, unsigned n_in)
{
	struct server_req req = {
		.s = s, .share = s->share, .out = out, .n_out = n_out,
		.in = in, .n_in = n_in, .queue = queue,
	};
	const struct op *op = &unknown_op;
	ssize_t r;

	if (server_iov_read(out, n_out, 0, &req.hdr, HDR_IN) < HDR_IN)
		return -EPROTO;
	if (req.hdr.opcode < ARRAY_LEN(ops))
		op = &ops[req.hdr.opcode];
	req.in_len = server_iov_len(in, n_in);
	if (!(op->flags & OP_NO_REPLY) && req.in_len < HDR_OUT)
		return -EPROTO;
	count(s, req.hdr.opcode, queue);
	req.t = server_thread_get();
	if (ORIEL_UNLIKELY(req.t && req.t->after.s))
		server_after(false); /* it was not called */
	if (ORIEL_UNLIKELY(!req.t))
		r = -ENOMEM;
	else
		r = run_op(&req, op, server_iov_len(out, n_out));
	if (ORIEL_UNLIKELY(r == SERVER_LATER))
		return r;
	return op->flags & OP_NO_REPLY ? 0 : reply(&req, r);
}

ssize_t server_refuse(const struct iovec *out, const struct iovec *in, int err)
{
	struct server_req req = { .in = in, .n_in = 1 };
	uint32_t opcode;

	if (server_iov_read(out, 1, 0, &req.hdr, HDR_IN) < HDR_IN)
		return -EPROTO;
	opcode = req.hdr.opcode;
	if (opcode < ARRAY_LEN(ops) && ops[opcode].flags & OP_NO_REPLY)
		return 0;
	return in->iov_len < HDR_OUT ? -EPROTO : reply(&req, err);
}

/* ------------------------------------------------------------ life time */

int server_session_new(struct server_share *sh,
		       const struct server_session_config *cfg,
		       struct server_session **ret)
{
	struct server_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = hash_table_init(&s->nodes);
	if (r)
		goto err_free;
	r = hash_table_init(&s->handles);
	if (r)
		goto err_nodes;
	r = hash_table_init(&s->backings);
	if (r)
		goto err_handles;
	r = server_maps_init(s);
	if (r)
		goto err_backings;
	list_init(&s->idle);
	pthread_mutex_init(&s->backing_lock, NULL);
	if (cfg)
		s->cfg = *cfg;
	s->share = sh;
	server_share_ref(sh);
	pthread_mutex_init(&s->lock, NULL);
	server_locks_init(s);
	server_subs_init(s);
	atomic_fetch_add_explicit(&sh->n.sessions, 1, memory_order_relaxed);
	server_watch_enter(s);
	server_peer_enter(s);
	*ret = s;
	return 0;

err_backings:
	hash_table_done(&s->backings);
err_handles:
	hash_table_done(&s->handles);
err_nodes:
	hash_table_done(&s->nodes);
err_free:
	free(s);
	return r;
}

static void unready(struct server_session *s)
{
	atomic_store_explicit(&s->ready, false, memory_order_relaxed);
	atomic_store_explicit(&s->flags, 0, memory_order_relaxed);
	atomic_store_explicit(&s->gauge_gpa, 0, memory_order_relaxed);
}

/* All but the mappings. */
static void clear_rest(struct server_session *s)
{
	server_locks_clear(s);
	server_subs_clear(s);
	server_handles_clear(s);
	server_backings_clear(s);
	server_nodes_clear(s);
}

static void clear(struct server_session *s, bool tell)
{
	unready(s);
	server_maps_clear(s, tell);
	clear_rest(s);
}

void server_session_restart(struct server_session *s)
{
	unready(s);
	clear_rest(s);
}

void server_session_reset(struct server_session *s)
{
	clear(s, false);
}

void server_session_free(struct server_session *s)
{
	if (!s)
		return;
	server_peer_leave(s);
	server_watch_leave(s);
	clear(s, false);
	hash_table_done(&s->backings);
	hash_table_done(&s->handles);
	hash_table_done(&s->nodes);
	pthread_mutex_destroy(&s->backing_lock);
	server_locks_done(s);
	server_subs_done(s);
	server_maps_done(s);
	pthread_mutex_destroy(&s->lock);
	atomic_fetch_sub_explicit(&s->share->n.sessions, 1,
				  memory_order_relaxed);
	server_share_unref(s->share);
	free(s);
}

/* ------------------------------------------------------ INIT and DESTROY */

#define OFFERED                                                              \
	((uint64_t)FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC |  \
	 FUSE_PARALLEL_DIROPS | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | \
	 FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO |             \
	 FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT)
#define OFFERED_WITH_WINDOW ((uint64_t)FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX)

static uint16_t page_shift(void)
{
	return (uint16_t)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
}

static uint64_t agree(const struct server_session *s,
		      const struct fuse_init_in *in, bool may_group)
{
	const struct server_share_config *cfg = &s->share->cfg;
	uint64_t wanted = in->flags;
	uint64_t offered = OFFERED;

	if (wanted & FUSE_INIT_EXT)
		wanted |= (uint64_t)in->flags2 << 32;
	if (server_has_window(s))
		offered |= OFFERED_WITH_WINDOW;
	/* each name of a listing would be looked up to be forgotten at once */
	if (cfg->no_readdirplus || cfg->cache == SERVER_CACHE_NEVER)
		offered &= ~((uint64_t)FUSE_DO_READDIRPLUS |
			     FUSE_READDIRPLUS_AUTO);
	if (may_group)
		offered |= FUSE_WIRE_CREATE_SUPP_GROUP;
	if (cfg->security_label)
		offered |= FUSE_SECURITY_CTX;
	if (cfg->posix_acl)
		offered |= FUSE_POSIX_ACL | FUSE_DONT_MASK;
	if (!cfg->no_submounts)
		offered |= FUSE_SUBMOUNTS;
	if (cfg->writeback)
		offered |= FUSE_WRITEBACK_CACHE;
	/* the kernel writes at once then, or not by itself */
	if (s->cfg.backing_ops && !cfg->writeback)
		offered |= FUSE_WIRE_PASSTHROUGH;
	if (cfg->allow_mmap)
		offered |= FUSE_WIRE_DIRECT_IO_ALLOW_MMAP;
	if (s->cfg.later_ops && !cfg->no_posix_locks)
		offered |= FUSE_POSIX_LOCKS;
	if (s->cfg.later_ops && !cfg->no_flock)
		offered |= FUSE_FLOCK_LOCKS;
	if (cfg->no_killpriv)
		offered &= ~(uint64_t)FUSE_HANDLE_KILLPRIV_V2;
	return wanted & offered;
}

static void fill_init(const struct fuse_init_in *in, uint64_t flags,
		      struct fuse_init_out *ret)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = (uint32_t)min_u64(in->minor, FUSE_WIRE_MINOR),
		.max_readahead = in->max_readahead,
		.flags = (uint32_t)flags,
		.flags2 = (uint32_t)(flags >> 32),
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = FUSE_WIRE_MAX_WRITE,
		.time_gran = 1,
		.max_pages = FUSE_WIRE_MAX_WRITE / 4096,
		.map_alignment = flags & FUSE_MAP_ALIGNMENT ? page_shift() : 0,
	};

	/* shares that are not themselves stacked on another file system */
	if (flags & FUSE_WIRE_PASSTHROUGH)
		out.unused[FUSE_WIRE_INIT_OUT_STACK_DEPTH] = 1;
	if (in->unused[0] == FUSE_WIRE_INIT_MAGIC) {
		out.unused[FUSE_WIRE_INIT_OUT_MAGIC] = FUSE_WIRE_INIT_MAGIC;
		out.unused[FUSE_WIRE_INIT_OUT_CAN] = FUSE_WIRE_CAN_WALK;
	}
	*ret = out;
}

/* Older minors have other layouts; none of them knew virtio-fs. */
#define MIN_MINOR 23u

static bool is_guest(const struct server_session *s)
{
	const struct server_window_ops *win = s->cfg.window_ops;

	return win && win->is_guest && win->is_guest(s->cfg.window_ctx);
}

ssize_t server_op_init(struct server_req *req)
{
	struct fuse_init_in in = { 0 };
	struct fuse_init_out out;
	uint64_t flags;

	memcpy(&in, req->t->arg, min_u64(req->arg_len, sizeof(in)));
	if (in.major > FUSE_KERNEL_VERSION) {
		/* It will ask again with ours. */
		uint32_t ours[2] = { FUSE_KERNEL_VERSION, FUSE_WIRE_MINOR };

		memcpy(req->t->reply, ours, sizeof(ours));
		return sizeof(ours);
	}
	if (in.major < FUSE_KERNEL_VERSION || in.minor < MIN_MINOR)
		return -EPROTO;
	if (req->in_len - HDR_OUT < sizeof(out))
		return -EINVAL;
	clear(req->s, true);
	flags = agree(req->s, &in,
		      req->t->can_switch && req->t->n_groups >= 0);
	fill_init(&in, flags, &out);
	memcpy(req->t->reply, &out, sizeof(out));
	atomic_store_explicit(&req->s->is_oriel,
			      in.unused[0] == FUSE_WIRE_INIT_MAGIC,
			      memory_order_relaxed);
	atomic_store_explicit(&req->s->is_guest, is_guest(req->s),
			      memory_order_relaxed);
	atomic_store_explicit(&req->s->flags, flags, memory_order_relaxed);
	server_peer_gauge(req->s, &in);
	/* pairs with the acquire in run_op() */
	atomic_store_explicit(&req->s->ready, true, memory_order_release);
	return sizeof(out);
}

ssize_t server_op_destroy(struct server_req *req)
{
	clear(req->s, true);
	return 0;
}
