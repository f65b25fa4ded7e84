/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that take their memory away. A front end can shrink the file behind
 * its memory at any time; our next access to it is a SIGBUS, which would end
 * the daemon and with it everybody else's sessions.
 *
 * The handler puts a page of zeros where the missing one was, so that the
 * access completes, and stops the connection the thread works for. The only
 * files mapped here are clients' memory and program text; for the latter the
 * new page is not executable, so a damaged program still ends.
 */
#include "orield.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost/backend.h"

/* Whom this thread works for; NULL: the daemon itself. */
static __thread struct vhost_backend *current
	__attribute__((tls_model("initial-exec")));

void orield_guard_thread(struct vhost_backend *be)
{
	current = be;
}

/* Zeros over the page, or over the huge page, that holds @addr. */
static bool fill_hole(uintptr_t addr)
{
	static const uintptr_t sizes[] = { 4096, 65536, 2u << 20, 1u << 30 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(sizes); i++) {
		void *page = (void *)(addr & ~(sizes[i] - 1));

		if (mmap(page, sizes[i], PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    MAP_FAILED)
			return true;
	}
	return false;
}

/* Only calls that are async-signal-safe. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (current && info->si_code == BUS_ADRERR &&
	    fill_hole((uintptr_t)info->si_addr)) {
		vhost_backend_stop(current);
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
