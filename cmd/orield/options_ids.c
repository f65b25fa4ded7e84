/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges of users and groups: those of a user name space (--uid-map), and those
 * the daemon translates itself (--translate-uid).
 */
#include "options.h"

#include <errno.h>
#include <string.h>

int option_parse_numbers(const char *arg, unsigned n, uint32_t *ret)
{
	uint32_t got[4];
	unsigned i;

	if (n > ARRAY_LEN(got))
		return -EINVAL;
	if (*arg == ':')
		arg++;
	for (i = 0; i < n; i++) {
		size_t len = strcspn(arg, ":");
		char num[12];
		uint64_t v;

		if (len >= sizeof(num))
			return -EINVAL;
		memcpy(num, arg, len);
		num[len] = '\0';
		if (option_parse_u64(num, UINT32_MAX, &v))
			return -EINVAL;
		got[i] = (uint32_t)v;
		arg += len;
		if (*arg == ':')
			arg++;
		else if (i + 1 < n)
			return -EINVAL;
	}
	if (*arg)
		return -EINVAL;
	memcpy(ret, got, n * sizeof(*ret));
	return 0;
}

/* ------------------------------------------------------- user name space */

static int add_ns_range(struct orield_id_ranges *to, const char *arg)
{
	struct orield_id_range r;
	uint32_t v[3];

	if (option_parse_numbers(arg, 3, v) || !v[2] ||
	    !range_fits(v[0], v[2], UINT32_MAX) ||
	    !range_fits(v[1], v[2], UINT32_MAX) ||
	    to->n == ARRAY_LEN(to->range))
		return -EINVAL;
	r.inside = v[0];
	r.outside = v[1];
	r.count = v[2];
	to->range[to->n++] = r;
	return 0;
}

int option_set_uid_map(struct orield_options *opt, const char *arg,
		       struct orield_error *err)
{
	return add_ns_range(&opt->uid_map, arg);
}

int option_set_gid_map(struct orield_options *opt, const char *arg,
		       struct orield_error *err)
{
	return add_ns_range(&opt->gid_map, arg);
}

/* ----------------------------------------------------------- translation */

static int parse_rule(const char *arg, struct server_id_rule *ret)
{
	size_t len = strcspn(arg, ":");
	/* in the order of enum server_id_kind */
	int kind = option_word_index("guest|host|squash-guest|squash-host|"
				     "forbid-guest|map", arg, len);
	uint32_t v[3];
	bool forbid;

	if (kind < 0 || arg[len] != ':')
		return -EINVAL;
	forbid = kind == SERVER_ID_FORBID_GUEST;
	if (option_parse_numbers(arg + len + 1, forbid ? 2 : 3, v))
		return -EINVAL;
	ret->kind = (enum server_id_kind)kind;
	ret->from = v[0];
	ret->to = forbid ? 0 : v[1];
	ret->count = forbid ? v[1] : v[2];
	return 0;
}

static int add_rule(struct server_ids *ids, const char *name, const char *arg,
		    struct orield_error *err)
{
	struct server_id_rule rule;
	int r = parse_rule(arg, &rule);

	if (r)
		return r;
	r = server_ids_add(ids, &rule);
	if (r == -EEXIST)
		return orield_fail(err, r, "--%s: '%s' overlaps an earlier one",
				   name, arg);
	if (r == -ENOSPC)
		return orield_fail(err, r, "--%s: more than %u", name,
				   SERVER_ID_RANGES);
	return r;
}

int option_set_translate_uid(struct orield_options *opt, const char *arg,
			     struct orield_error *err)
{
	return add_rule(&opt->uids, "translate-uid", arg, err);
}

int option_set_translate_gid(struct orield_options *opt, const char *arg,
			     struct orield_error *err)
{
	return add_rule(&opt->gids, "translate-gid", arg, err);
}
