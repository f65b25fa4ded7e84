/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --share tag=NAME,path=DIR,socket=PATH,...: several shares in one process. The
 * words are options of the table that can differ from share to share; what is
 * given outside of --share, before or after it, holds for all. So the words are
 * kept until the whole command line has been read, and each share is a copy of
 * the whole with its words carried out.
 *
 * systemd's sockets go by name: FileDescriptorName= is the share's tag.
 */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *word;
	const char *option;
} short_words[] = {
	{ "path", "shared-dir" },
	{ "socket", "socket-path" },
};

/* What may differ. The rest is the process's, or has no place in several. */
static const char *const of_a_share[] = {
	"shared-dir", "socket-path", "socket-group", "fd", "tag", "readonly",
	"max-clients", "translate-uid", "translate-gid", "window",
	"request-queues", "poll-us", "thread-pool-size", "notify",
};
static const char *const groups_of_a_share[] = {
	"Caching", "What the file system offers",
};

int option_set_share(struct orield_options *opt, const char *arg,
		     struct orield_error *err)
{
	if (opt->n_shares == ORIELD_SHARES_MAX)
		return orield_fail(err, -E2BIG, "--share: more than %u",
				   ORIELD_SHARES_MAX);
	opt->share_words[opt->n_shares++] = arg;
	return 0;
}

int option_set_max_clients(struct orield_options *opt, const char *arg,
			   struct orield_error *err)
{
	uint64_t v;

	if (option_parse_u64(arg, 1024, &v) || !v)
		return -EINVAL;
	opt->max_clients = (unsigned)v;
	return 0;
}

/* ------------------------------------------------------------------ words */

/* Cut @word at its comma, of which "\," is none; what follows, or NULL. */
static char *cut(char *word)
{
	char *to = word;

	for (; *word; word++) {
		if (word[0] == '\\' && word[1] == ',')
			word++;
		else if (*word == ',')
			break;
		*to++ = *word;
	}
	if (!*word) {
		*to = '\0';
		return NULL;
	}
	*to = '\0';
	return word + 1;
}

static const struct option_row *find_row(const char *word)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(short_words); i++) {
		if (!strcmp(word, short_words[i].word))
			word = short_words[i].option;
	}
	return option_find(word, strlen(word));
}

static bool may_differ(const struct option_row *row)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(of_a_share); i++) {
		if (!strcmp(row->name, of_a_share[i]))
			return true;
	}
	while (!row->group) /* the first row has one */
		row--;
	for (i = 0; i < ARRAY_LEN(groups_of_a_share); i++) {
		if (!strcmp(row->group, groups_of_a_share[i]))
			return true;
	}
	return false;
}

static int apply_word(struct orield_options *share, char *word,
		      struct orield_error *err)
{
	char *value = strchr(word, '=');
	const struct option_row *row;

	if (value)
		*value++ = '\0';
	row = find_row(word);
	if (!row)
		return orield_fail(err, -EINVAL, "unknown option '%s'", word);
	if (!may_differ(row))
		return orield_fail(err, -EINVAL, "--%s is for the whole daemon,"
				   " or for one that has no --share",
				   row->name);
	if (!value != !row->metavar)
		return orield_fail(err, -EINVAL, "%s %s value", word,
				   value ? "takes no" : "needs a");
	return option_apply(row, share, value, err);
}

/* Its tag, so that what is wrong with the rest can be said of it. */
static void find_tag(struct orield_options *share, const char *words)
{
	const char *at = words;
	size_t len;

	while (at && strncmp(at, "tag=", 4)) {
		at = strchr(at, ',');
		if (at)
			at++;
	}
	len = at ? strcspn(at + 4, ",") : 0;
	if (!len || len >= sizeof(share->tag))
		return;
	memcpy(share->tag, at + 4, len);
	share->tag[len] = '\0';
}

static int apply_words(struct orield_options *share, const char *words,
		       struct orield_error *err)
{
	/* argv is ours to cut, and lives as long as the values must */
	char *word = (char *)(uintptr_t)words;
	int r = 0;

	while (!r && word) {
		char *next = cut(word);

		if (*word)
			r = apply_word(share, word, err);
		word = next;
	}
	if (!r && !share->own_tag)
		return orield_fail(err, -EINVAL, "tag=NAME is missing");
	if (!r && !share->shared_dir)
		return orield_fail(err, -EINVAL, "path=DIR is missing");
	if (!r && share->socket_path && share->listen_fd >= 0)
		return orield_fail(err, -EINVAL, "either socket or fd");
	return r;
}

/* Rules of its own, which can become more. */
static int copy_xattrmap(struct orield_options *share,
			 const struct orield_options *whole)
{
	share->xattrmap = NULL;
	if (!whole->xattrmap)
		return 0;
	share->xattrmap = malloc(sizeof(*share->xattrmap));
	if (!share->xattrmap)
		return -ENOMEM;
	*share->xattrmap = *whole->xattrmap;
	return 0;
}

static int make_share(const struct orield_options *whole, unsigned i,
		      struct orield_error *err)
{
	struct orield_options *share = &whole->shares[i];
	const char *words = whole->share_words[i];
	char text[sizeof(err->text)];
	int r;

	*share = *whole;
	share->shares = NULL;
	share->n_shares = 0;
	share->several = true;
	strcpy(share->tag, "?");
	r = copy_xattrmap(share, whole);
	if (r)
		return orield_fail(err, r, "no memory");
	find_tag(share, words);
	r = apply_words(share, words, err);
	if (!r)
		r = option_check_share(share, err);
	if (!r)
		return 0;
	memcpy(text, err->text, sizeof(text));
	return orield_fail(err, r, "--share, tag %s: %s", share->tag, text);
}

/* --------------------------------------------------------------- together */

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static int check_pair(const struct orield_options *a,
		      const struct orield_options *b, struct orield_error *err)
{
	if (!strcmp(a->tag, b->tag))
		return orield_fail(err, -EEXIST, "--share: there are two with"
				   " tag %s", a->tag);
	if (same(a->socket_path, b->socket_path) ||
	    (a->listen_fd >= 0 && a->listen_fd == b->listen_fd))
		return orield_fail(err, -EEXIST, "--share: %s and %s have the"
				   " same socket", a->tag, b->tag);
	return 0;
}

static int check_pairs(const struct orield_options *whole,
		       struct orield_error *err)
{
	unsigned i;
	unsigned k;
	int r;

	for (i = 0; i < whole->n_shares; i++) {
		for (k = 0; k < i; k++) {
			r = check_pair(&whole->shares[k], &whole->shares[i],
				       err);
			if (r)
				return r;
		}
	}
	return 0;
}

/* What only makes sense without --share. */
static int check_alone(const struct orield_options *whole,
		       struct orield_error *err)
{
	const struct {
		const char *name;
		bool given;
	} single[] = {
		{ "shared-dir", whole->shared_dir },
		{ "socket-path", whole->socket_path },
		{ "tag", whole->own_tag },
		{ "fd", whole->listen_fd >= 0 },
		{ "connected-fd", whole->connected_fd >= 0 },
		{ "mount", whole->mount_dir },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(single); i++) {
		if (single[i].given)
			return orield_fail(err, -EINVAL, "--%s and --share are"
					   " not to be used together: it"
					   " belongs into a --share",
					   single[i].name);
	}
	return 0;
}

/* ---------------------------------------------------------------- systemd */

int option_systemd_sockets(struct orield_error *err)
{
	const char *pid = getenv("LISTEN_PID");
	const char *fds = getenv("LISTEN_FDS");
	uint64_t v;

	/* the variables are for this process only if they name it */
	if (!pid || !fds || option_parse_u64(pid, INT32_MAX, &v) ||
	    v != (uint64_t)getpid())
		return 0;
	if (option_parse_u64(fds, 1024, &v))
		return orield_fail(err, -EINVAL, "LISTEN_FDS=%s: that is no"
				   " number of sockets", fds);
	return (int)v;
}

static struct orield_options *find_share(const struct orield_options *whole,
					 const char *tag, size_t len)
{
	unsigned i;

	for (i = 0; i < whole->n_shares; i++) {
		struct orield_options *share = &whole->shares[i];

		if (strlen(share->tag) == len && !memcmp(share->tag, tag, len))
			return share;
	}
	return NULL;
}

/* The @n sockets, by their names; one that nobody serves would never answer. */
static int take_sockets(struct orield_options *whole, int n,
			struct orield_error *err)
{
	const char *name = getenv("LISTEN_FDNAMES");
	int i;

	for (i = 0; i < n; i++) {
		size_t len = name ? strcspn(name, ":") : 0;
		struct orield_options *share = find_share(whole, name, len);

		if (!share)
			return orield_fail(err, -EINVAL, "no --share has the"
					   " tag '%.*s', which is the name of"
					   " socket %d of systemd"
					   " (FileDescriptorName=)", (int)len,
					   name ? name : "", i + 1);
		if (share->socket_path || share->listen_fd >= 0)
			return orield_fail(err, -EINVAL, "share %s: it has a"
					   " socket besides that of systemd",
					   share->tag);
		share->listen_fd = OPTION_LISTEN_FDS + i;
		whole->systemd_socket = true;
		if (name)
			name += len + (name[len] == ':');
	}
	return 0;
}

static int check_sockets(struct orield_options *whole,
			 struct orield_error *err)
{
	int n = option_systemd_sockets(err);
	int r = n < 0 ? n : take_sockets(whole, n, err);
	unsigned i;

	for (i = 0; !r && i < whole->n_shares; i++) {
		const struct orield_options *share = &whole->shares[i];

		if (!share->socket_path && share->listen_fd < 0)
			r = orield_fail(err, -EINVAL, "--share, tag %s:"
					" socket=PATH is missing", share->tag);
		else if (share->socket_group && !share->socket_path)
			r = orield_fail(err, -EINVAL, "--share, tag %s:"
					" socket-group needs socket",
					share->tag);
	}
	return r;
}

int option_make_shares(struct orield_options *whole, struct orield_error *err)
{
	unsigned i;
	int r = check_alone(whole, err);

	if (r)
		return r;
	whole->shares = calloc(whole->n_shares, sizeof(*whole->shares));
	if (!whole->shares)
		return orield_fail(err, -ENOMEM, "no memory");
	for (i = 0; !r && i < whole->n_shares; i++)
		r = make_share(whole, i, err);
	if (!r)
		r = check_pairs(whole, err);
	if (!r)
		r = check_sockets(whole, err);
	return r;
}
