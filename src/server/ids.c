/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Translation of user and group numbers, and its hooks: the header of each
 * request (who asks), SETATTR (to whom a file is given) and attributes (whose
 * it is). Lists are short and searched from the front; an empty one costs a
 * comparison. Constant once the share exists: no locks.
 */
#include "server/ids.h"

#include <errno.h>

#include "server/internal.h"

/* (uint32_t)-1 is nobody: chown(2) takes it for "leave it as it is". */
static bool in_range(uint32_t first, uint32_t count)
{
	return count && range_fits(first, count, UINT32_MAX);
}

static bool overlaps(const struct server_id_list *list, uint32_t first,
		     uint32_t count)
{
	unsigned i;

	for (i = 0; i < list->n; i++) {
		const struct server_id_range *r = &list->range[i];

		if (first < r->first ? r->first - first < count :
				       first - r->first < r->count)
			return true;
	}
	return false;
}

static int check(const struct server_id_list *list,
		 const struct server_id_range *r)
{
	if (!in_range(r->first, r->count) ||
	    (!r->forbid && !in_range(r->target, r->squash ? 1 : r->count)))
		return -EINVAL;
	if (overlaps(list, r->first, r->count))
		return -EEXIST;
	return list->n < SERVER_ID_RANGES ? 0 : -ENOSPC;
}

int server_ids_add(struct server_ids *ids, const struct server_id_rule *rule)
{
	struct server_id_range there = {
		.first = rule->from,
		.count = rule->count,
		.target = rule->to,
		.squash = rule->kind == SERVER_ID_SQUASH_GUEST ||
			  rule->kind == SERVER_ID_SQUASH_HOST,
		.forbid = rule->kind == SERVER_ID_FORBID_GUEST,
	};
	struct server_id_range back = {
		.first = rule->to,
		.count = rule->count,
		.target = rule->from,
	};
	struct server_id_list *list = &ids->to_host;
	int r;

	if (rule->kind == SERVER_ID_HOST || rule->kind == SERVER_ID_SQUASH_HOST)
		list = &ids->to_guest;
	r = check(list, &there);
	if (!r && rule->kind == SERVER_ID_MAP)
		r = check(&ids->to_guest, &back);
	if (r)
		return r;
	list->range[list->n++] = there;
	if (rule->kind == SERVER_ID_MAP)
		ids->to_guest.range[ids->to_guest.n++] = back;
	return 0;
}

bool server_ids_empty(const struct server_ids *ids)
{
	return !ids->to_host.n && !ids->to_guest.n;
}

static int translate(const struct server_id_list *list, uint32_t id,
		     uint32_t *ret)
{
	unsigned i;

	for (i = 0; i < list->n; i++) {
		const struct server_id_range *r = &list->range[i];

		if (id < r->first || id - r->first >= r->count)
			continue;
		if (r->forbid)
			return -EPERM;
		*ret = r->target + (r->squash ? 0 : id - r->first);
		return 0;
	}
	*ret = id;
	return 0;
}

int server_id_to_host(const struct server_ids *ids, uint32_t guest,
		      uint32_t *ret)
{
	return translate(&ids->to_host, guest, ret);
}

uint32_t server_id_to_guest(const struct server_ids *ids, uint32_t host)
{
	uint32_t id = host;

	/* nothing is forbidden in this direction */
	if (translate(&ids->to_guest, host, &id))
		return host;
	return id;
}

/* ----------------------------------------------------------------- hooks */

/* Requests that make something, which then belongs to who asks. */
static bool is_creation(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		return true;
	default:
		return false;
	}
}

/*
 * The one group of the client's user, besides its own, that matters: that of
 * the directory. A client says its users' numbers as it likes, here, too.
 */
static int take_group(struct server_req *req)
{
	uint32_t group;
	int r = fuse_take_group(req->t->ext, req->ext_len, &group);

	if (r <= 0)
		return r;
	r = server_id_to_host(&req->share->cfg.gids, group, &req->group);
	req->has_group = !r;
	return r;
}

/* What a request that makes something has besides its arguments. */
static int extensions_of_creation(struct server_req *req)
{
	uint64_t agreed = atomic_load_explicit(&req->s->flags,
					       memory_order_relaxed);
	int r = 0;

	if (!req->ext_len || !(agreed & (FUSE_WIRE_CREATE_SUPP_GROUP |
					 FUSE_SECURITY_CTX)))
		return 0;
	if (req->ext_len > sizeof(req->t->ext))
		return -E2BIG;
	server_iov_read(req->out, req->n_out, req->ext_off, req->t->ext,
			req->ext_len);
	if (agreed & FUSE_WIRE_CREATE_SUPP_GROUP)
		r = take_group(req);
	if (!r && (agreed & FUSE_SECURITY_CTX))
		r = fuse_take_label(req->t->ext, req->ext_len, &req->label);
	return r < 0 ? r : 0;
}

int server_ids_of_request(struct server_req *req)
{
	const struct server_share_config *cfg = &req->share->cfg;
	int r = server_id_to_host(&cfg->uids, req->hdr.uid, &req->hdr.uid);

	if (!r)
		r = server_id_to_host(&cfg->gids, req->hdr.gid, &req->hdr.gid);
	if (!r && is_creation(req->hdr.opcode))
		return extensions_of_creation(req);
	/* who may make nothing may still read: its number is not used there */
	if (r && !is_creation(req->hdr.opcode) &&
	    req->hdr.opcode != FUSE_ACCESS)
		return 0;
	return r;
}
