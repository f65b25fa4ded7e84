/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: every spelling of an option, and what a bad one leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"

#define MAX_WORDS 16

static struct orield_options opt;
static struct orield_error err;

/* Parse @words after a share and a socket; they are cut, so from a copy. */
static int parse(const char *const *words)
{
	static char *argv[MAX_WORDS + 4]; /* values point into it */
	int argc = 3;
	int i;

	for (i = 0; argv[i]; i++)
		free(argv[i]);
	memset(argv, 0, sizeof(argv));
	orield_options_free(&opt);
	argv[0] = strdup("orield");
	argv[1] = strdup("--shared-dir=/d");
	argv[2] = strdup("--socket-path=/s");
	while (*words)
		argv[argc++] = strdup(*words++);
	optind = 0;
	err.text[0] = '\0';
	return orield_options_parse(&opt, argc, argv, &err);
}

#define OK(...) \
	assert_int_equal(parse((const char *[]){ __VA_ARGS__, NULL }), \
			 ORIELD_PARSE_RUN)
#define BAD(...) \
	assert_int_equal(parse((const char *[]){ __VA_ARGS__, NULL }), \
			 ORIELD_PARSE_BAD)

static void defaults_are_those_documented(void **state)
{
	OK("-f");
	assert_string_equal(opt.shared_dir, "/d");
	assert_string_equal(opt.tag, "oriel");
	assert_int_equal(opt.cache, SERVER_CACHE_AUTO);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_AUTO);
	assert_int_equal(opt.seccomp, ORIELD_SECCOMP_KILL);
	assert_int_equal(opt.log_level, LOG_LEVEL_INFO);
	assert_true(opt.xattr);
	assert_false(opt.writeback || opt.allow_mmap || opt.no_killpriv ||
		     opt.readonly || opt.own_timeout);
	assert_true(server_ids_empty(&opt.uids));
}

static void words_of_enums(void **state)
{
	OK("--seccomp=trap", "--sandbox=chroot", "--cache=metadata");
	assert_int_equal(opt.seccomp, ORIELD_SECCOMP_TRAP);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_CHROOT);
	assert_int_equal(opt.cache, SERVER_CACHE_METADATA);
	OK("--seccomp", "none", "--sandbox", "none", "--cache", "never");
	assert_int_equal(opt.seccomp, ORIELD_SECCOMP_NONE);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_NONE);
	assert_int_equal(opt.cache, SERVER_CACHE_NEVER);
	OK("--seccomp=log", "--sandbox=namespace", "--cache=always");
	assert_int_equal(opt.seccomp, ORIELD_SECCOMP_LOG);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_NAMESPACE);
	assert_int_equal(opt.cache, SERVER_CACHE_ALWAYS);
	BAD("--seccomp=tra");
	BAD("--sandbox=");
	BAD("--cache=auto|always");
}

static void o_is_another_spelling(void **state)
{
	OK("-o", "source=/other,cache=none,no_xattr,writeback,cache=always",
	   "-o", "log_level=err,sandbox=chroot,allow_direct_io,timeout=3");
	assert_string_equal(opt.shared_dir, "/other");
	assert_int_equal(opt.cache, SERVER_CACHE_ALWAYS);
	assert_false(opt.xattr);
	assert_true(opt.writeback);
	assert_true(opt.allow_direct_io);
	assert_int_equal(opt.log_level, LOG_LEVEL_ERROR);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_CHROOT);
	assert_true(opt.own_timeout);
	assert_int_equal(opt.timeout_s, 3);
	OK("-ono_flock,,no_posix_lock,no_writeback,", "-d");
	assert_false(opt.writeback);
	assert_int_equal(opt.log_level, LOG_LEVEL_DEBUG);
	OK("-o", "debug");
	assert_int_equal(opt.log_level, LOG_LEVEL_DEBUG);
	OK("-o", "no_readdirplus,no_killpriv_v2,modcaps=+kill:-mknod");
	assert_true(opt.no_readdirplus);
	assert_true(opt.no_killpriv);
	assert_int_equal(opt.caps_added, UINT64_C(1) << 5);
	assert_int_equal(opt.caps_dropped, UINT64_C(1) << 27);
}

static void o_refuses_by_name(void **state)
{
	static const struct {
		const char *text;
		const char *says;
	} bad[] = {
		{ "cache=fast", "'fast'" },
		{ "cache", "needs a value" },
		{ "xattr=yes", "takes no value" },
		{ "nonsense=1", "'nonsense'" },
		{ "xattrmap=ok:all", "xattrmap" },
		{ "timeout=-1", "'-1'" },
		{ "timeout", "timeout" },
		{ "modcaps=+nothing", "+nothing" },
		{ "help", "'help'" },
		{ "source=", "--shared-dir" },
		{ "xattr,fly,readonly", "'fly'" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		BAD("-o", bad[i].text);
		if (!strstr(err.text, bad[i].says))
			fail_msg("%s: %s", bad[i].text, err.text);
	}
}

static void ranges(void **state)
{
	uint32_t v[3] = { 9, 9, 9 };
	uint32_t host;

	assert_int_equal(option_parse_numbers("1:2:3", 3, v), 0);
	assert_int_equal(v[0] * 100 + v[1] * 10 + v[2], 123);
	assert_int_equal(option_parse_numbers(":4:5:6:", 3, v), 0);
	assert_int_equal(v[0] * 100 + v[1] * 10 + v[2], 456);
	assert_int_equal(option_parse_numbers("4294967295:0", 2, v), 0);
	assert_int_equal(v[0], UINT32_MAX);
	v[0] = 7;
	for (const char *const *p = (const char *const[]){
		     "", ":", "1", "1:2", "1:2:", "1:2:3:4", "1::3", "1:2:3::",
		     "-1:2:3", "1:2:x", "4294967296:2:3", "1:2: 3", NULL };
	     *p; p++) {
		if (!option_parse_numbers(*p, 3, v))
			fail_msg("'%s' is taken", *p);
	}
	assert_int_equal(v[0], 7);

	OK("--translate-uid=forbid-guest:3:1", "--translate-uid=map:10:20:2",
	   "--translate-gid=squash-host:0:1:5");
	assert_int_equal(server_id_to_host(&opt.uids, 3, &host), -EPERM);
	assert_int_equal(server_id_to_host(&opt.uids, 11, &host), 0);
	assert_int_equal(host, 21);
	assert_int_equal(server_id_to_guest(&opt.gids, 4), 1);
	BAD("--translate-uid=map:0:0:0");
	BAD("--translate-uid=map:4294967295:0:1");
	BAD("--translate-uid=forbid-guest:1:2:3");
	BAD("--translate-uid=map");
	BAD("--uid-map=:0:0:0:", "--gid-map=:0:0:1:");
	OK("--uid-map=:0:5:1:", "--uid-map=1:100:8", "--gid-map=:0:6:1:");
	assert_int_equal(opt.uid_map.n, 2);
	assert_int_equal(opt.uid_map.range[1].outside, 100);
	assert_int_equal(opt.sandbox, ORIELD_SANDBOX_NAMESPACE);
}

static const char *host_name(const char *client)
{
	static char buf[SERVER_XATTR_NAME];
	const char *ret = NULL;
	int r = server_xattrmap_to_host(opt.xattrmap, client, buf, &ret);

	return r == -EPERM ? "EPERM" : r == -EOPNOTSUPP ? "ENOTSUP" :
	       r ? "other" : ret;
}

static const char *client_name(const char *host)
{
	const char *r = server_xattrmap_to_client(opt.xattrmap, host);

	return r ? r : "hidden";
}

static void rules_for_attributes(void **state)
{
	OK("--no-xattr", "--xattrmap= :prefix:all:trusted.:user.virtiofs.: "
	   "!unsupported!client!system.!! /bad/all/trusted./trusted./"
	   ":ok:all:::");
	assert_true(opt.xattr);
	assert_int_equal(opt.xattrmap->n, 4);
	assert_string_equal(host_name("trusted.a"), "user.virtiofs.trusted.a");
	assert_string_equal(host_name("system.a"), "ENOTSUP");
	assert_string_equal(host_name("user.a"), "user.a");
	assert_string_equal(client_name("user.virtiofs.trusted.a"),
			    "trusted.a");
	assert_string_equal(client_name("user.virtiofs.a"), "user.virtiofs.a");
	assert_string_equal(client_name("trusted.a"), "hidden");
	assert_string_equal(client_name("system.a"), "system.a");

	OK("--xattrmap=:map::user.v.:");
	assert_string_equal(host_name("security.x"), "user.v.security.x");
	assert_string_equal(client_name("user.v.security.x"), "security.x");
	assert_string_equal(client_name("user.v."), "hidden");
	assert_string_equal(client_name("security.x"), "hidden");

	OK("--xattrmap=|map|trusted.|user.v.|");
	assert_string_equal(host_name("trusted.x"), "user.v.trusted.x");
	assert_string_equal(host_name("user.v.trusted.x"), "EPERM");
	assert_string_equal(client_name("trusted.x"), "hidden");
	assert_string_equal(host_name("user.x"), "user.x");

	OK("--xattrmap=:ok:client:user.::");
	assert_string_equal(host_name("trusted.x"), "EPERM");
	assert_string_equal(client_name("user.x"), "hidden");
	BAD("--xattrmap=");
	BAD("--xattrmap=:map:a:b::ok:all:::");
	BAD("--xattrmap=:ok:some:::");
	BAD("--xattrmap=:fine:all:::");
	BAD("--xattrmap=:ok:all::");
}

static void long_names_and_lists(void **state)
{
	char name[SERVER_XATTR_NAME];
	char list[] = "user.v.trusted.a\0security.b\0user.v.trusted.c\0user.d";
	size_t n;

	OK("--xattrmap=:map:trusted.:user.v.:");
	memset(name, 'x', sizeof(name));
	memcpy(name, "trusted.", 8);
	name[255] = '\0';
	assert_string_equal(host_name(name), "other");
	name[255 - 7] = '\0';
	assert_int_equal(strlen(host_name(name)), 255);

	OK("--xattrmap=:bad:server::security.: :map:trusted.:user.v.:");
	n = server_xattrmap_list(opt.xattrmap, list, sizeof(list));
	assert_int_equal(n, 10 + 10 + 7);
	assert_memory_equal(list, "trusted.a\0trusted.c\0user.d", n);
}

/* Every row can be given, by itself, and has something to say for itself. */
static void table(void **state)
{
	unsigned i;

	for (i = 0; i < option_n_rows; i++) {
		const struct option_row *row = &option_rows[i];

		assert_ptr_equal(option_find(row->name, strlen(row->name)),
				 row);
		assert_true(strlen(row->help) > 5);
		assert_null(option_refused(row->name, strlen(row->name)));
		assert_int_equal(row->kind == OPTION_SET, row->set != NULL);
		if (row->kind == OPTION_TRUE || row->kind == OPTION_FALSE ||
		    row->kind == OPTION_PRINT || row->kind == OPTION_NOTHING)
			assert_null(row->metavar);
		else
			assert_non_null(row->metavar);
	}
	assert_null(option_find("tagg", 4));
	assert_null(option_find("ta", 2));
}

/* The last one's words, and rules. */
static int tear_down(void **state)
{
	parse((const char *[]){ NULL });
	return 0;
}

static void what_does_not_go_together(void **state)
{
	BAD("--posix-acl", "--no-xattr");
	BAD("--security-label", "--no-xattr");
	BAD("--posix-acl", "--translate-uid=map:1:2:1");
	BAD("--posix-acl", "--translate-gid=map:1:2:1");
	OK("--posix-acl", "--security-label");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_documented),
		cmocka_unit_test(words_of_enums),
		cmocka_unit_test(what_does_not_go_together),
		cmocka_unit_test(o_is_another_spelling),
		cmocka_unit_test(o_refuses_by_name),
		cmocka_unit_test(ranges),
		cmocka_unit_test(rules_for_attributes),
		cmocka_unit_test(long_names_and_lists),
		cmocka_unit_test(table),
	};

	unsetenv("LISTEN_PID");
	return cmocka_run_group_tests(tests, NULL, tear_down);
}
