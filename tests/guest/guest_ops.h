/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program that runs inside the guests: static, one binary, one command per
 * concern. Whatever is not as it should be ends it with a line
 * "@fail FILE:LINE WHAT (errno)" and status 1.
 */
#ifndef ORIEL_GUEST_OPS_H
#define ORIEL_GUEST_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must(x) ((x) ? (void)0 : guest_fail(__FILE__, __LINE__, #x))
/* @x is -1 with errno @err. */
#define must_fail(x, err) must((x) == -1 && errno == (err))

_Noreturn void guest_fail(const char *file, int line, const char *what);
/* The byte at @pos of the pattern numbered @seed; the host knows it too. */
unsigned char guest_byte(uint64_t seed, uint64_t pos);
void guest_fill(unsigned char *buf, size_t len, uint64_t seed, uint64_t pos);
bool guest_same(const unsigned char *buf, size_t len, uint64_t seed,
		uint64_t pos);

/* Each gets what follows the command's name. */
int guest_files(int argc, char **argv);   /* guest_ops.c */
int guest_names(int argc, char **argv);
int guest_xattr(int argc, char **argv);
int guest_locks(int argc, char **argv);   /* guest_locks.c */
int guest_try_lock(int argc, char **argv);
int guest_hold_lock(int argc, char **argv);
int guest_turns(int argc, char **argv);   /* guest_maps.c */
int guest_hammer(int argc, char **argv);
int guest_bench(int argc, char **argv);   /* guest_bench.c */

#endif
