/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded copy: a memcpy to or from shared file memory that another process may
 * truncate, or a bad peer unmap, under us. The SIGBUS or SIGSEGV that follows is
 * turned into a short count; any other goes to the handler that was there before
 * (or kills, as it would have). Rows B7 of the contract.
 *
 * A handler for each is installed once per process, chained to the previous one, and put
 * back in place if the application has replaced it since (looked at on set-up
 * of a range, not on hits; an application handler that calls the one it found
 * is recognised and does not loop). Any thread; not async-signal-safe.
 */
#ifndef ORIEL_DAX_GUARD_H
#define ORIEL_DAX_GUARD_H

#include "base/util.h"

/* Install or re-install the handler. 0 or -errno. Cheap when in place. */
ORIEL_MUST_CHECK int guard_install(void);

/*
 * Copy @len bytes; only the shared side may fault. Returns the number of bytes
 * surely copied from the start: @len, or less when a page was not there.
 * A fault on the other side (the caller's buffer) is the caller's and kills.
 */
size_t guard_copy_from(void *dst, const void *shared_src, size_t len);
size_t guard_copy_to(void *shared_dst, const void *src, size_t len);

#endif
