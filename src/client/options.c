/* SPDX-License-Identifier: BSD-2-Clause */
/* Connect options: sizes across library versions, defaults, and limits. */
#include "client/options.h"

#include <errno.h>
#include <string.h>

#include "client/client.h"

#define DEFAULT_WINDOW GIB(64)
#define DEFAULT_RANGE MIB(2)
#define MIN_RANGE KIB(64)
#define MAX_RANGE GIB(1)
/* 64 slots for queues, some more for other calls, and FORGETs. */
#define DEFAULT_ARENA (uint32_t)MIB(74)
#define MIN_ARENA (uint32_t)MIB(1)
/* Nothing else is looked at while polling: not the time-out, not the socket. */
#define MAX_POLL_US 10000u

/* Fields past what we know must be zero: somebody counts on them. */
static int copy_known(const struct oriel_options *in, struct oriel_options *out)
{
	const unsigned char *p = (const unsigned char *)in;

	if (in->size == 0)
		return client_connect_fail(-EINVAL,
					   "options: size is 0; set it to "
					   "sizeof(struct oriel_options)");
	for (size_t i = sizeof(*out); i < in->size; i++)
		if (p[i])
			return client_connect_fail(
				-E2BIG,
				"options: this library (%s) does not know the "
				"option at byte %zu of %zu",
				ORIEL_VERSION_STRING, i, in->size);
	memcpy(out, in, (size_t)min_u64(in->size, sizeof(*out)));
	return 0;
}

static int check(const struct oriel_options *o)
{
	if ((unsigned)o->dax > ORIEL_DAX_ALWAYS)
		return client_connect_fail(-EINVAL, "options: dax is %d",
					   (int)o->dax);
	if ((unsigned)o->sandbox > ORIEL_SANDBOX_NONE)
		return client_connect_fail(-EINVAL, "options: sandbox is %d",
					   (int)o->sandbox);
	if (!is_pow2(o->range_bytes) || o->range_bytes < MIN_RANGE ||
	    o->range_bytes > MAX_RANGE)
		return client_connect_fail(
			-EINVAL,
			"options: range_bytes is %llu; it must be a power of "
			"two from 65536 to 1073741824",
			(unsigned long long)o->range_bytes);
	if (o->window_bytes < o->range_bytes)
		return client_connect_fail(
			-EINVAL,
			"options: window_bytes (%llu) is less than one range "
			"(%llu)",
			(unsigned long long)o->window_bytes,
			(unsigned long long)o->range_bytes);
	if (o->poll_us > MAX_POLL_US)
		return client_connect_fail(
			-EINVAL, "options: poll_us is %u; the most is %u",
			o->poll_us, MAX_POLL_US);
	if (o->arena_bytes < MIN_ARENA)
		return client_connect_fail(
			-EINVAL, "options: arena_bytes is %u; the least is %u",
			o->arena_bytes, MIN_ARENA);
	return 0;
}

static void or_default(uint32_t *v, uint32_t dflt, uint32_t none)
{
	if (*v == 0)
		*v = dflt;
	else if (*v == none)
		*v = 0;
}

int client_options_fill(const struct oriel_options *in,
			struct oriel_options *out)
{
	struct oriel_options o = { 0 };
	int err;

	if (in) {
		err = copy_known(in, &o);
		if (err)
			return err;
	}
	o.size = sizeof(o);
	if (!o.window_bytes)
		o.window_bytes = DEFAULT_WINDOW;
	if (!o.range_bytes)
		o.range_bytes = DEFAULT_RANGE;
	or_default(&o.timeout_ms, 30000, 0);
	or_default(&o.attr_ttl_ms, 1000, ORIEL_NO_TTL);
	or_default(&o.inode_cache, 4096, 0);
	or_default(&o.small_file_bytes, (uint32_t)KIB(64), ORIEL_MAP_ALL);
	or_default(&o.poll_us, 50, ORIEL_NO_POLL);
	or_default(&o.arena_bytes, DEFAULT_ARENA, 0);
	or_default(&o.admit_touches, 2, ORIEL_MAP_ALL);
	err = check(&o);
	if (err)
		return err;
	*out = o;
	return 0;
}

const char *client_sandbox_name(enum oriel_sandbox sandbox)
{
	static const char *const names[] = {
		[ORIEL_SANDBOX_AUTO] = "auto",
		[ORIEL_SANDBOX_NAMESPACE] = "namespace",
		[ORIEL_SANDBOX_CHROOT] = "chroot",
		[ORIEL_SANDBOX_NONE] = "none",
	};

	return names[sandbox];
}
