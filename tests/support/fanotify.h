/* SPDX-License-Identifier: BSD-2-Clause */
/* Has this machine what watches need? Containers may forbid fanotify(7), and
 * older file systems of theirs have no handles. */
#ifndef ORIEL_TESTS_FANOTIFY_H
#define ORIEL_TESTS_FANOTIFY_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/fanotify.h>
#include <unistd.h>

static inline bool has_fanotify(const char *where)
{
	/* FAN_REPORT_DFID_NAME_TARGET */
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | 0x1e00u, 0);
	bool r = fd >= 0 && !fanotify_mark(fd, FAN_MARK_ADD, FAN_CREATE,
					   AT_FDCWD, where);

	if (fd >= 0)
		close(fd);
	return r;
}

#endif
