/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Security labels that a client sends with the request that makes something: an
 * extended attribute (security.selinux), set before the client hears of it. What
 * cannot be labelled is removed again: to the client it never was.
 *
 * Others on the host can see it without its label for a moment, and a name can
 * be taken away and given to something else between two steps here; then that is
 * labelled, or the removal takes it. Who can do that can label and remove what is
 * in the share anyway.
 *
 * Any thread; on the share's behalf, not as the client's user.
 */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

int server_label_fd(struct server_req *req, int fd)
{
	const struct server_xattrmap *map = req->share->cfg.xattrmap;
	const struct fuse_label_view *l = &req->label;
	const char *name = l->name;
	char host[SERVER_XATTR_NAME];
	char buf[12];
	int r = 0;

	if (!name)
		return 0;
	if (map)
		r = server_xattrmap_to_host(map, name, host, &name);
	if (!r && server_thread_enter_proc(req->t, req->share->cfg.proc_fd))
		r = -EOPNOTSUPP;
	if (r)
		return r;
	return setxattr(server_fd_name(fd, buf), name, l->value, l->len, 0) ?
		       -errno : 0;
}

int server_label_name(struct server_req *req, const char *name, bool is_dir)
{
	const int dir = req->inode->fd;
	int fd;
	int r;

	if (!req->label.name)
		return 0;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : server_label_fd(req, fd);
	if (fd >= 0)
		close(fd);
	if (r)
		(void)unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0);
	return r;
}
