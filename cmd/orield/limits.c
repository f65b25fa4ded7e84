/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the process may at most: open files, capabilities. Runs while it has one
 * thread; threads inherit it.
 */
#include "orield.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOFILE_WANTED 1000000u

bool orield_have_cap(unsigned cap)
{
	capng_get_caps_process();
	return capng_have_capability(CAPNG_EFFECTIVE, cap);
}

int orield_raise_nofile(uint64_t want, struct orield_error *err)
{
	uint64_t goal = want ? want : NOFILE_WANTED;
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return orield_fail(err, -errno, "cannot read the file limit");
	if (rl.rlim_max < goal) {
		struct rlimit more = { goal, goal };

		if (!setrlimit(RLIMIT_NOFILE, &more))
			return 0;
		if (want)
			return orield_fail(err, -errno, "--rlimit-nofile: the"
					   " hard limit is %llu",
					   (unsigned long long)rl.rlim_max);
		goal = rl.rlim_max;
	}
	rl.rlim_cur = goal;
	if (setrlimit(RLIMIT_NOFILE, &rl))
		return orield_fail(err, -errno, "cannot raise the file limit:"
				   " %s", strerror(errno));
	return 0;
}

/*
 * What the server does for its clients' users: give files away, ignore modes
 * (the client has checked them), change what it does not own, keep set-gid
 * bits, become a user, make device nodes, remove file capabilities.
 */
static const unsigned kept_caps[] = {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETGID,
	CAP_SETUID, CAP_MKNOD, CAP_SETFCAP,
};

static uint64_t caps_wanted(const struct orield_options *opt)
{
	uint64_t wanted = opt->caps_added;
	size_t i;

	for (i = 0; i < ARRAY_LEN(kept_caps); i++)
		wanted |= UINT64_C(1) << kept_caps[i];
	/* open_by_handle_at(2) */
	if (orield_file_handles(opt))
		wanted |= UINT64_C(1) << CAP_DAC_READ_SEARCH;
	return wanted & ~opt->caps_dropped;
}

/* The wanted ones that we have now. */
static uint64_t caps_had(uint64_t wanted)
{
	uint64_t had = 0;
	unsigned cap;

	for (cap = 0; cap < 64; cap++) {
		if ((wanted >> cap & 1) &&
		    capng_have_capability(CAPNG_PERMITTED, cap))
			had |= UINT64_C(1) << cap;
	}
	return had;
}

static int check_added(const struct orield_options *opt, uint64_t had,
		       struct orield_error *err)
{
	uint64_t missing = opt->caps_added & ~had;

	if (!missing)
		return 0;
	return orield_fail(err, -EPERM, "--modcaps: there is no CAP_%s to keep",
			   capng_capability_to_name(
				   (unsigned)__builtin_ctzll(missing)));
}

int orield_drop_capabilities(const struct orield_options *opt,
			     struct orield_error *err)
{
	/* Capabilities of a user name space of our own are worth nothing. */
	bool keep = geteuid() == 0;
	bool bounding = orield_have_cap(CAP_SETPCAP);
	capng_select_t what = bounding ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS;
	uint64_t had;
	unsigned cap;
	int r;

	/*
	 * Root's groups would count for the users it acts as. In a user name
	 * space of our own it is not allowed, and they are nobody's.
	 */
	if (keep && orield_have_cap(CAP_SETGID) && setgroups(0, NULL) &&
	    errno != EPERM)
		return orield_fail(err, -errno, "cannot drop groups: %s",
				   strerror(errno));
	had = keep ? caps_had(caps_wanted(opt)) : 0;
	r = check_added(opt, had, err);
	if (r)
		return r;
	capng_clear(what);
	for (cap = 0; cap < 64; cap++) {
		if (had >> cap & 1)
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE |
				     CAPNG_PERMITTED, cap);
	}
	if (capng_apply(what))
		return orield_fail(err, -EPERM, "cannot drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return orield_fail(err, -errno, "cannot set no_new_privs");
	return 0;
}
