/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The embedded daemon: an orield of our own for one directory, started as a
 * child over a socket pair. It dies with its parent and reports over a status
 * pipe whether it is ready, in which sandbox, or why not.
 *
 * The child is a fresh program (exec), not a fork of the caller: see
 * docs/adr/0003-embedded-daemon-is-exec.md. Any thread.
 */
#ifndef ORIEL_EMBED_EMBED_H
#define ORIEL_EMBED_EMBED_H

#include <sys/types.h>

#include "base/util.h"

struct embed_config {
	const char *dir;
	bool readonly;
	const char *sandbox;     /* "auto", "namespace", "chroot", "none" */
	const char *daemon_path; /* NULL: found as oriel_options says */
	uint64_t window_bytes;   /* 0: no window */
	int timeout_ms;          /* for the child to get ready */
};

struct embed_child {
	int sock;         /* connected to the daemon */
	pid_t pid;
	char sandbox[24]; /* what the child says it got */
};

/* Start. On failure -errno and a sentence in @errbuf. */
ORIEL_MUST_CHECK int embed_start(const struct embed_config *cfg,
				 struct embed_child *ret, char *errbuf,
				 size_t errlen);
/* Wait for the child to end (its socket is closed by the caller before); kill
 * it after a second. */
void embed_reap(struct embed_child *c);

#endif
