/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that take their memory away. A front end can shrink the file behind
 * its memory at any time; our next access to it is a SIGBUS, which would end
 * the daemon and with it everybody else's sessions.
 *
 * The handler puts zeros in the place of the whole region (mem_map_blank()), so
 * that the access completes, and stops the connection the thread works for. It
 * is only done for what lies in a client's memory: a damaged program, whose
 * files are mapped too, still ends.
 */
#include "orield.h"

#include <errno.h>
#include <signal.h>

#include "ring/mem_map.h"
#include "vhost/backend.h"

/* Whom this thread works for; NULL: the daemon itself. */
static __thread struct vhost_backend *current
	__attribute__((tls_model("initial-exec")));

/* It is in memory of some other client, which has threads of its own to fall. */
static __thread volatile sig_atomic_t in_others
	__attribute__((tls_model("initial-exec")));

void orield_guard_others(bool begin)
{
	in_others = begin;
}

void orield_guard_thread(struct vhost_backend *be)
{
	current = be;
}

/* Only calls that are async-signal-safe. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	const int saved = errno;

	if (current && info->si_code == BUS_ADRERR &&
	    mem_map_blank(info->si_addr)) {
		if (!in_others)
			vhost_backend_stop(current);
		errno = saved;
		return;
	}
	/* Ours to die of: the access repeats, and now it counts. */
	signal(SIGBUS, SIG_DFL);
}

int orield_guard_start(void)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO };

	sa.sa_sigaction = on_sigbus;
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL);
}
