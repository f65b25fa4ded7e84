/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * -o a,b=c,...: how the first virtiofsd took its options, and how libvirt and
 * Kata still give them. Each word is another spelling of a row of the table
 * ('_' for '-'), or of one of these.
 */
#include "options.h"

#include <errno.h>
#include <string.h>

struct spelling {
	const char *word;
	const char *option;  /* NULL: refused, or nothing to do */
	const char *refused; /* what to do instead */
};

static const struct spelling spellings[] = {
	{ "source", "shared-dir", NULL },
	{ "no_xattr", "no-xattr", NULL },
	{ "debug", NULL, NULL },
	{ "auto_unmount", NULL, NULL },
	{ "no_writeback", NULL, NULL },
	{ "no_posix_lock", "no-posix-lock", NULL },
	{ "no_flock", "no-flock", NULL },
	{ "no_allow_direct_io", NULL, NULL },
	{ "readdirplus", NULL, NULL },
	{ "no_readdirplus", "no-readdirplus", NULL },
	{ "no_killpriv_v2", "no-killpriv-v2", NULL },
	{ "flock", NULL, NULL },
	{ "posix_lock", NULL, NULL },
	{ "norace", NULL, "leave it out" },
};

static const struct spelling *find_spelling(const char *word, size_t len)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(spellings); i++) {
		if (strlen(spellings[i].word) == len &&
		    !strncmp(spellings[i].word, word, len))
			return &spellings[i];
	}
	return NULL;
}

/* The option that @word, of which '_' becomes '-', is a spelling of. */
static const struct option_row *find_row(char *word, const char *option)
{
	char *p;

	if (option)
		return option_find(option, strlen(option));
	for (p = word; *p; p++) {
		if (*p == '_')
			*p = '-';
	}
	return option_find(word, strlen(word));
}

static int set_timeout(struct orield_options *opt, const char *value,
		       struct orield_error *err)
{
	uint64_t v;

	if (!value || option_parse_u64(value, UINT32_MAX, &v))
		return orield_fail(err, -EINVAL, "-o timeout: '%s' is not a"
				   " whole number of seconds",
				   value ? value : "");
	opt->own_timeout = true;
	opt->timeout_s = (uint32_t)v;
	return 0;
}

static int set_word(struct orield_options *opt, char *word, char *value,
		    struct orield_error *err)
{
	const struct spelling *s = find_spelling(word, strlen(word));
	const struct option_row *row;
	const char *instead;

	if (!strcmp(word, "timeout"))
		return set_timeout(opt, value, err);
	if (!strcmp(word, "debug"))
		return option_set_debug(opt, NULL, err);
	if (s && s->refused)
		return orield_fail(err, -ENOTSUP, "-o %s is not implemented"
				   " here: %s", word, s->refused);
	if (s && !s->option)
		return 0;
	row = find_row(word, s ? s->option : NULL);
	instead = row ? NULL : option_refused(word, strlen(word));
	if (instead)
		return orield_fail(err, -ENOTSUP, "-o %s of virtiofsd is not"
				   " implemented here: %s", word, instead);
	if (!row || row->kind == OPTION_PRINT)
		return orield_fail(err, -EINVAL, "-o: unknown option '%s'",
				   word);
	if (!value != !row->metavar)
		return orield_fail(err, -EINVAL, "-o %s %s value", word,
				   value ? "takes no" : "needs a");
	return option_apply(row, opt, value, err);
}

int option_set_o(struct orield_options *opt, const char *arg,
		 struct orield_error *err)
{
	/* argv is ours to cut, and lives as long as the values must */
	char *word = (char *)(uintptr_t)arg;
	int r = 0;

	while (!r && word) {
		char *next = strchr(word, ',');
		char *value;

		if (next)
			*next++ = '\0';
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (*word)
			r = set_word(opt, word, value, err);
		word = next;
	}
	return r;
}
