/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the client's kernel is told, in the messages that FUSE has for it: an
 * answer to nobody (unique 0) whose error is the kind. On the watch's thread
 * only, with targets_lock held; the kernel may wait for its own locks in it,
 * and whoever has them for our answers.
 *
 * That the client does not know what we speak of (-ENOENT) is the usual case.
 */
#include "server/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>

#include "base/log.h"

#define NOTIFY_INC_EPOCH 8 /* since 7.44 */

#define NEW_NAME (FAN_CREATE | FAN_MOVED_TO)
#define OLD_NAME (FAN_DELETE | FAN_MOVED_FROM)

struct message {
	struct fuse_out_header h;
	union {
		struct fuse_notify_inval_inode_out inode;
		struct fuse_notify_inval_entry_out entry;
		struct fuse_notify_delete_out gone;
	} u;
	char name[FUSE_WIRE_NAME_MAX + 1];
};

/* @size bytes of u, then @name. */
static int send(struct server_session *s, int kind, struct message *m,
		size_t size, const char *name)
{
	size_t len = name ? strlen(name) + 1 : 0;
	unsigned char buf[sizeof(*m)];

	if (len > sizeof(m->name))
		return -ENAMETOOLONG;
	memset(&m->h, 0, sizeof(m->h));
	m->h.error = kind;
	m->h.len = (uint32_t)(sizeof(m->h) + size + len);
	memcpy(buf, &m->h, sizeof(m->h));
	memcpy(buf + sizeof(m->h), &m->u, size);
	if (name)
		memcpy(buf + sizeof(m->h) + size, name, len);
	return s->cfg.notify_ops->send(s->cfg.notify_ctx, buf, m->h.len);
}

static void inval_inode(struct server_session *s, uint64_t nodeid,
			bool data_too)
{
	struct message m = { .u.inode = {
		.ino = nodeid,
		.off = data_too ? 0 : -1,
	} };

	(void)send(s, FUSE_NOTIFY_INVAL_INODE, &m, sizeof(m.u.inode), NULL);
}

static void inval_entry(struct server_session *s, uint64_t dir,
			const char *name)
{
	struct message m = { .u.entry = {
		.parent = dir,
		.namelen = (uint32_t)strlen(name),
	} };

	(void)send(s, FUSE_NOTIFY_INVAL_ENTRY, &m, sizeof(m.u.entry), name);
}

static void gone(struct server_session *s, uint64_t dir, uint64_t child,
		 const char *name)
{
	struct message m = { .u.gone = {
		.parent = dir,
		.child = child,
		.namelen = (uint32_t)strlen(name),
	} };

	(void)send(s, FUSE_NOTIFY_DELETE, &m, sizeof(m.u.gone), name);
}

/* Has it lost its last name? The kernel takes DELETE for that. */
static bool is_gone(struct server_share *sh, struct server_inode *ino)
{
	struct statx stx;
	int r = server_inode_pin(sh, ino);

	if (r)
		return r == -ESTALE;
	r = server_inode_stat(ino, &stx);
	server_inode_unpin(sh, ino);
	return r == -ESTALE || (!r && stx.stx_nlink == 0) ||
	       /* some file systems leave directories their links */
	       (!r && S_ISDIR(ino->type) && stx.stx_nlink < 2);
}

static void tell_name(struct server_session *s, const struct watch_event *e,
		      const struct server_inode *dir)
{
	unsigned i;

	if (e->mask & FAN_DELETE && !(e->mask & NEW_NAME)) {
		for (i = 0; i < e->n_files; i++) {
			if (is_gone(s->share, e->files[i]))
				gone(s, dir->nodeid, e->files[i]->nodeid,
				     e->name);
		}
	}
	inval_entry(s, dir->nodeid, e->name);
	inval_inode(s, dir->nodeid, true);
}

void watch_tell(struct server_session *s, const struct watch_event *e)
{
	const bool is_self = !strcmp(e->name, ".");
	unsigned i;

	if (!atomic_load_explicit(&s->ready, memory_order_acquire))
		return;
	for (i = 0; i < e->n_dirs; i++) {
		if (is_self)
			inval_inode(s, e->dirs[i]->nodeid, false);
		else if (e->mask & (NEW_NAME | OLD_NAME))
			tell_name(s, e, e->dirs[i]);
	}
	for (i = 0; i < e->n_files; i++)
		inval_inode(s, e->files[i]->nodeid, e->mask & FAN_MODIFY);
}

/* ------------------------------------------------------------ everything */

struct ids {
	uint64_t *id;
	size_t n;
};

static void collect(struct hash_node *n, void *ctx)
{
	struct server_node *node = container_of(n, struct server_node, by_id);
	struct ids *ids = ctx;

	ids->id[ids->n++] = node->inode->nodeid;
}

void watch_tell_all(struct server_session *s)
{
	struct message m;
	struct ids ids = { NULL, 0 };
	size_t i;
	int r;

	if (!atomic_load_explicit(&s->ready, memory_order_acquire))
		return;
	memset(&m, 0, sizeof(m));
	r = send(s, NOTIFY_INC_EPOCH, &m, 0, NULL);
	if (r)
		log_warn("names that the kernel knows cannot be made void (%s):"
			 " changes may be seen late", strerror(-r));
	pthread_mutex_lock(&s->lock);
	ids.id = calloc(s->nodes.count + 1, sizeof(*ids.id));
	if (ids.id)
		hash_table_each(&s->nodes, collect, &ids);
	pthread_mutex_unlock(&s->lock);
	inval_inode(s, FUSE_ROOT_ID, true);
	for (i = 0; i < ids.n; i++)
		inval_inode(s, ids.id[i], true);
	free(ids.id);
}
