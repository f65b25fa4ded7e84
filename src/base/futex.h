/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleep on a word of this process until somebody changes and wakes it. The
 * word itself carries the happens-before edge (acquire load after waking,
 * release store before waking); the system call does not.
 */
#ifndef ORIEL_BASE_FUTEX_H
#define ORIEL_BASE_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Sleep while *@word == @expected, at most @timeout_ns nanoseconds
 * (UINT64_MAX: no limit). Returns 0 when woken (also spuriously), -EAGAIN when
 * the word differed, -ETIMEDOUT, or -EINTR.
 */
int futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);

/* Wake at most @count sleepers. */
void futex_wake(_Atomic uint32_t *word, int count);

/* The same in memory that processes share; the two kinds do not meet. */
int futex_wait_shared(uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void futex_wake_shared(uint32_t *word, int count);

#endif
