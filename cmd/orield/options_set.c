/* SPDX-License-Identifier: BSD-2-Clause */
/* Option values that are more than a word: sizes, bounds, capabilities. */
#include "options.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WINDOW_MAX (UINT64_C(1) << 46)

int option_parse_u64(const char *arg, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || *arg < '0' || *arg > '9' || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* "64G", "512M", "0". */
static int parse_size(const char *arg, uint64_t *ret)
{
	static const char units[] = "KMGT";
	char num[24];
	size_t len = strlen(arg);
	const char *unit = len ? strchr(units, arg[len - 1]) : NULL;
	unsigned shift = 0;
	uint64_t v;

	if (!len || len >= sizeof(num))
		return -EINVAL;
	memcpy(num, arg, len + 1);
	if (unit && *unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		num[len - 1] = '\0';
	}
	if (option_parse_u64(num, UINT64_MAX >> shift, &v))
		return -EINVAL;
	*ret = v << shift;
	return 0;
}

int option_set_tag(struct orield_options *opt, const char *arg,
		   struct orield_error *err)
{
	if (!*arg || strlen(arg) >= sizeof(opt->tag))
		return -EINVAL;
	strcpy(opt->tag, arg);
	opt->own_tag = true;
	return 0;
}

int option_set_cache(struct orield_options *opt, const char *arg,
		     struct orield_error *err)
{
	static const enum server_cache values[] = {
		SERVER_CACHE_AUTO, SERVER_CACHE_ALWAYS, SERVER_CACHE_METADATA,
		SERVER_CACHE_NEVER, SERVER_CACHE_NEVER,
	};
	/* "none" is how the older virtiofsd says never */
	int i = option_word_index("auto|always|metadata|never|none", arg,
				  strlen(arg));

	if (i < 0)
		return i;
	opt->cache = values[i];
	return 0;
}

int option_set_passthrough(struct orield_options *opt, const char *arg,
			   struct orield_error *err)
{
	int i = option_word_index("never|auto", arg, strlen(arg));

	if (i < 0)
		return i;
	opt->passthrough = i;
	return 0;
}

int option_set_notify(struct orield_options *opt, const char *arg,
		      struct orield_error *err)
{
	int i = option_word_index("never|auto", arg, strlen(arg));

	if (i < 0)
		return i;
	opt->notify = i;
	return 0;
}

int option_set_rlimit_nofile(struct orield_options *opt, const char *arg,
			     struct orield_error *err)
{
	return option_parse_u64(arg, 1u << 30, &opt->rlimit_nofile);
}

int option_set_log_level(struct orield_options *opt, const char *arg,
			 struct orield_error *err)
{
	/* "err" is how the older virtiofsd says it */
	return log_level_parse(!strcmp(arg, "err") ? "error" : arg,
			       &opt->log_level);
}

int option_set_debug(struct orield_options *opt, const char *arg,
		     struct orield_error *err)
{
	opt->log_level = LOG_LEVEL_DEBUG;
	return 0;
}

int option_set_window(struct orield_options *opt, const char *arg,
		      struct orield_error *err)
{
	uint64_t v;

	if (parse_size(arg, &v) || v > WINDOW_MAX || !is_aligned(v, MIB(2)))
		return -EINVAL;
	opt->window_bytes = v;
	return 0;
}

int option_set_guest_window(struct orield_options *opt, const char *arg,
			    struct orield_error *err)
{
	uint64_t v;

	if (parse_size(arg, &v) || v > ORIELD_GUEST_WINDOW_MAX ||
	    v < MIB(2) || !is_pow2(v))
		return -EINVAL;
	opt->guest_window_bytes = v;
	return 0;
}

int option_set_poll_us(struct orield_options *opt, const char *arg,
		       struct orield_error *err)
{
	return option_parse_u64(arg, 1000000, &opt->poll_us);
}

int option_set_request_queues(struct orield_options *opt, const char *arg,
			      struct orield_error *err)
{
	uint64_t v;

	if (option_parse_u64(arg, 64, &v) || !v)
		return -EINVAL;
	opt->request_queues = (unsigned)v;
	return 0;
}

int option_set_pool_size(struct orield_options *opt, const char *arg,
			 struct orield_error *err)
{
	uint64_t v;

	if (option_parse_u64(arg, 64, &v))
		return -EINVAL;
	opt->thread_pool_size = (unsigned)v;
	return 0;
}

/* --------------------------------------------------------- capabilities */

/* "+sys_admin", @len bytes with the sign. */
static int modify_cap(struct orield_options *opt, const char *word, size_t len,
		      struct orield_error *err)
{
	char name[64];
	int cap = -1;

	if (len > 1 && len < sizeof(name) && strchr("+-", word[0])) {
		memcpy(name, word + 1, len - 1);
		name[len - 1] = '\0';
		cap = capng_name_to_capability(
			strncasecmp(name, "cap_", 4) ? name : name + 4);
	}
	if (cap < 0 || cap > 63)
		return orield_fail(err, -EINVAL, "--modcaps: '%.*s' is not + or"
				   " - and a capability", (int)len, word);
	opt->caps_added &= ~(UINT64_C(1) << cap);
	opt->caps_dropped &= ~(UINT64_C(1) << cap);
	if (word[0] == '+')
		opt->caps_added |= UINT64_C(1) << cap;
	else
		opt->caps_dropped |= UINT64_C(1) << cap;
	return 0;
}

int option_set_modcaps(struct orield_options *opt, const char *arg,
		       struct orield_error *err)
{
	int r = 0;

	for (;;) {
		size_t len = strcspn(arg, ":");

		r = modify_cap(opt, arg, len, err);
		if (r || !arg[len])
			return r;
		arg += len + 1;
	}
}
