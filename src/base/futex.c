/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int wait_on(void *word, int op, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / NS_PER_S),
		.tv_nsec = (long)(timeout_ns % NS_PER_S),
	};

	if (syscall(SYS_futex, word, op, expected,
		    timeout_ns == UINT64_MAX ? NULL : &ts, NULL, 0) == 0)
		return 0;
	return -errno;
}

int futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	return wait_on(word, FUTEX_WAIT_PRIVATE, expected, timeout_ns);
}

void futex_wake(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

int futex_wait_shared(uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	return wait_on(word, FUTEX_WAIT, expected, timeout_ns);
}

void futex_wake_shared(uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}
