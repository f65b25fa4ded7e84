/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User or group numbers as the client knows them and as the share has them.
 * Each direction is a list of ranges that do not overlap; what is in none of
 * them is the same on both sides. Built before the share is, then only read:
 * any thread.
 */
#ifndef ORIEL_SERVER_IDS_H
#define ORIEL_SERVER_IDS_H

#include "base/util.h"

#define SERVER_ID_RANGES 64u

enum server_id_kind {
	SERVER_ID_GUEST,        /* guest's range to the host's, one way */
	SERVER_ID_HOST,         /* host's range to the guest's, one way */
	SERVER_ID_SQUASH_GUEST, /* guest's range to one number of the host */
	SERVER_ID_SQUASH_HOST,  /* host's range to one number of the guest */
	SERVER_ID_FORBID_GUEST, /* requests with these are refused */
	SERVER_ID_MAP,          /* both ways */
};

struct server_id_range {
	uint32_t first;
	uint32_t count;  /* > 0 */
	uint32_t target; /* of first */
	bool squash;     /* all of them become target */
	bool forbid;
};

struct server_id_list {
	unsigned n;
	struct server_id_range range[SERVER_ID_RANGES];
};

struct server_ids {
	struct server_id_list to_host;
	struct server_id_list to_guest;
};

/* @from and @to are numbers of the side that @kind starts and ends at (map:
 * guest and host; forbid: @to does not matter). */
struct server_id_rule {
	enum server_id_kind kind;
	uint32_t from;
	uint32_t to;
	uint32_t count;
};

/*
 * Add @rule. -EINVAL: no number in it, or beyond 32 bits (of which the last
 * means nobody); -EEXIST: overlaps another in the same direction; -ENOSPC:
 * too many. Unchanged on failure.
 */
ORIEL_MUST_CHECK int server_ids_add(struct server_ids *ids,
				    const struct server_id_rule *rule);
bool server_ids_empty(const struct server_ids *ids);
/* -EPERM: a forbidden one. */
ORIEL_MUST_CHECK int server_id_to_host(const struct server_ids *ids,
				       uint32_t guest, uint32_t *ret);
uint32_t server_id_to_guest(const struct server_ids *ids, uint32_t host);

#endif
