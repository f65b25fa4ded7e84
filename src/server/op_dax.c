/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SETUPMAPPING and REMOVEMAPPING. The handle in the message is not looked at:
 * the file is the nodeid's, opened anew with the access asked for, so a mapping
 * outlives every handle. No flags at all mean reading. Mapping beyond the end
 * of the file is allowed: the pages become usable when the file grows.
 */
#include "server/internal.h"

#include <errno.h>
#include <string.h>

ssize_t server_op_setupmapping(struct server_req *req)
{
	struct fuse_setupmapping_in in;

	memcpy(&in, req->t->arg, sizeof(in));
	if (!server_has_window(req->s))
		return -ENOSYS;
	if (!S_ISREG(req->inode->type))
		return -EINVAL;
	if ((in.flags & FUSE_SETUPMAPPING_FLAG_WRITE) &&
	    req->share->cfg.readonly)
		return -EROFS;
	return server_map_setup(req->s, req->inode, &in);
}

ssize_t server_op_removemapping(struct server_req *req)
{
	struct fuse_removemapping_in in;
	struct fuse_removemapping_one one;
	size_t pos = sizeof(in);
	uint32_t i;
	int r;

	memcpy(&in, req->t->arg, sizeof(in));
	if (!server_has_window(req->s))
		return -ENOSYS;
	if (in.count > (req->arg_len - pos) / sizeof(one))
		return -EINVAL;
	for (i = 0; i < in.count; i++) {
		/* the records are not aligned in the message */
		memcpy(&one, req->t->arg + pos, sizeof(one));
		pos += sizeof(one);
		r = server_map_remove(req->s, one.moffset, one.len);
		if (r)
			return r;
	}
	return 0;
}
