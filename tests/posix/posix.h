/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A conformance program for file systems: what POSIX and the Linux manual say
 * of each call, errno by errno. It knows nothing of what it runs on.
 *
 * Each case runs in a child process whose working directory is a fresh empty
 * directory, as root where there is one. A failed check is reported and the
 * case goes on; what cannot be gone on from ends the case by posix_die().
 */
#ifndef ORIEL_TESTS_POSIX_H
#define ORIEL_TESTS_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum posix_needs {
	NEEDS_ROOT = 1 << 0,
};

struct posix_case {
	const char *name;
	void (*run)(void);
	unsigned needs;
};

/* One table a file, ended by a row without a name. */
extern const struct posix_case cases_open[], cases_name[], cases_attr[];
extern const struct posix_case cases_perm[], cases_data[], cases_space[];
extern const struct posix_case cases_dir[], cases_lock[], cases_xattr[];
extern const struct posix_case cases_link[], cases_map[];

void posix_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What is tested does not exist here. Ends the case. */
_Noreturn void posix_skip(const char *why);
_Noreturn void posix_die(const char *file, int line, const char *what);
/* Does @name belong to what was switched off by --without? */
bool posix_without(const char *name);

long posix_must(long r, const char *what, const char *file, int line);
long posix_ok(long r, const char *what, const char *file, int line);
void posix_err(long r, int want, const char *what, const char *file, int line);
void posix_eq(long long got, long long want, const char *what,
	      const char *file, int line);

/* The call succeeds; its value. */
#define OK(call) posix_ok((long)(call), #call, __FILE__, __LINE__)
/* The same, and nothing after makes sense without. */
#define MUST(call) posix_must((long)(call), #call, __FILE__, __LINE__)
/* The call fails with this errno. */
#define ERR(want, call) \
	posix_err((long)(call), want, #call, __FILE__, __LINE__)
#define EQ(got, want) \
	posix_eq((long long)(got), (long long)(want), #got, __FILE__, __LINE__)
#define TRUE(x)                                                             \
	do {                                                               \
		if (!(x))                                                  \
			posix_fail(__FILE__, __LINE__, "not true: %s", #x);\
	} while (0)

/* A second user and group, and a third, that nobody has. */
#define USER_A 4001
#define USER_B 4002
#define GROUP_A 5001
#define GROUP_B 5002

/* Run @fn as that user, with that group alone; its failures count. */
void posix_as(uid_t uid, gid_t gid, void (*fn)(void));
/* Run @fn in a child. */
void posix_fork(void (*fn)(void));

/* Make a file of these bytes (NULL: empty) and mode, whatever the umask. */
void posix_put(const char *name, const char *text, mode_t mode);
void posix_mkdir(const char *name, mode_t mode);
/* Does the file hold exactly @text? */
bool posix_holds(const char *name, const char *text);
mode_t posix_mode(const char *name); /* with type; 0: not there */
long long posix_size(const char *name);
long posix_nlink(const char *name);
bool posix_is_there(const char *name);

#endif
