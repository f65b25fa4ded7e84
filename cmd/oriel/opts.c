/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The option parser: walks the words once, looks each up in the tables, stores
 * the value by the kind of the entry. It never prints or exits.
 */
#include "opts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "fmt.h"

struct opt_parser {
	const struct opt_set *sets;
	size_t n_sets;
	int argc;
	char **argv;
	int at; /* the next word */
	char *err;
	size_t errlen;
};

__attribute__((format(printf, 2, 3)))
static int opt_fail(struct opt_parser *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool opt_matches(const struct opt *o, char letter, const char *name,
			size_t len)
{
	if (letter)
		return o->letter == letter;
	return o->name && strlen(o->name) == len &&
	       memcmp(o->name, name, len) == 0;
}

/* By letter, or when that is 0 by name. */
static const struct opt *opt_find(const struct opt_parser *p, char letter,
				  const char *name, size_t len, void **ret_base)
{
	for (size_t i = 0; i < p->n_sets; i++) {
		const struct opt *o = p->sets[i].opts;

		for (; o && o->kind != OPT_END; o++) {
			if (!opt_matches(o, letter, name, len))
				continue;
			*ret_base = p->sets[i].base;
			return o;
		}
	}
	return NULL;
}

static bool opt_takes_value(const struct opt *o)
{
	return o->kind != OPT_FLAG && o->kind != OPT_COUNT;
}

/* The place of @value among "a|b|c", or -1. */
static int opt_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);
	int i = 0;

	for (const char *p = choices;; i++) {
		size_t n = strcspn(p, "|");

		if (n == len && memcmp(p, value, n) == 0)
			return i;
		if (!p[n])
			return -1;
		p += n + 1;
	}
}

static int opt_store(struct opt_parser *p, const struct opt *o, void *base,
		     const char *word, const char *value)
{
	void *dst = (char *)base + o->off;
	uint64_t v;
	int i;

	switch (o->kind) {
	case OPT_FLAG:
		*(int *)dst = o->value;
		return 0;
	case OPT_COUNT:
		++*(int *)dst;
		return 0;
	case OPT_STR:
	case OPT_MAYBE:
		*(const char **)dst = value;
		return 0;
	case OPT_SIZE:
		if (fmt_parse_size(value, &v) < 0)
			return opt_fail(p, "%s: '%s' is not a size (4096, 64K,"
					" 2MiB, 1GB)", word, value);
		*(uint64_t *)dst = v;
		return 0;
	case OPT_SECONDS:
		if (fmt_parse_seconds(value, (uint32_t *)dst) < 0)
			return opt_fail(p, "%s: '%s' is not a number of "
					"seconds", word, value);
		return 0;
	case OPT_CHOICE:
		i = opt_choice(o->arg, value);
		if (i < 0)
			return opt_fail(p, "%s: '%s' is none of %s", word,
					value, o->arg);
		*(int *)dst = i;
		return 0;
	case OPT_END:
		break;
	}
	return opt_fail(p, "%s: broken option table", word);
}

/* Takes the next word as a value. */
static int opt_next_value(struct opt_parser *p, const char *word,
			  const char **ret)
{
	if (p->at >= p->argc)
		return opt_fail(p, "option '%s' needs a value", word);
	*ret = p->argv[p->at++];
	return 0;
}

static void opt_collect_names(const struct opt_parser *p, const char **names,
			      size_t max, size_t *ret_n)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_sets; i++) {
		const struct opt *o = p->sets[i].opts;

		for (; o && o->kind != OPT_END && n < max; o++)
			if (o->name)
				names[n++] = o->name;
	}
	*ret_n = n;
}

static int opt_unknown_long(struct opt_parser *p, const char *name, size_t len)
{
	const char *names[64];
	const char *near;
	char word[64];
	size_t n;

	opt_collect_names(p, names, 64, &n);
	snprintf(word, sizeof(word), "%.*s", (int)(len > 60 ? 60 : len), name);
	near = opts_nearest(word, names, n);
	if (near)
		return opt_fail(p, "unknown option '--%s'; did you mean "
				"'--%s'?", word, near);
	return opt_fail(p, "unknown option '--%s'", word);
}

static int opt_long(struct opt_parser *p, const char *arg)
{
	const char *name = arg + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct opt *o;
	char word[72];
	void *base;
	int r;

	o = opt_find(p, 0, name, len, &base);
	if (!o)
		return opt_unknown_long(p, name, len);
	snprintf(word, sizeof(word), "--%s", o->name);
	if (!opt_takes_value(o) && value)
		return opt_fail(p, "option '%s' takes no value", word);
	if (o->kind == OPT_MAYBE && !value)
		value = "";
	if (opt_takes_value(o) && !value) {
		r = opt_next_value(p, word, &value);
		if (r < 0)
			return r;
	}
	return opt_store(p, o, base, word, value);
}

/* "-abc" and "-sVALUE". */
static int opt_short(struct opt_parser *p, const char *arg)
{
	for (const char *s = arg + 1; *s; s++) {
		char word[3] = { '-', *s, 0 };
		const char *value = NULL;
		const struct opt *o;
		void *base;
		bool rest;
		int r;

		o = opt_find(p, *s, NULL, 0, &base);
		if (!o)
			return opt_fail(p, "unknown option '%s'", word);
		rest = opt_takes_value(o) && o->kind != OPT_MAYBE;
		if (o->kind == OPT_MAYBE)
			value = "";
		else if (rest && s[1])
			value = s + 1;
		else if (rest && (r = opt_next_value(p, word, &value)) < 0)
			return r;
		r = opt_store(p, o, base, word, value);
		if (r < 0 || rest)
			return r;
	}
	return 0;
}

int opts_parse(const struct opt_set *sets, size_t n_sets, int argc,
	       char **argv, char *err, size_t errlen)
{
	struct opt_parser p = {
		.sets = sets, .n_sets = n_sets, .argc = argc, .argv = argv,
		.err = err, .errlen = errlen,
	};
	bool literal = false;
	int n = 0;

	while (p.at < argc) {
		char *arg = argv[p.at++];
		int r = 0;

		if (literal || arg[0] != '-' || !arg[1])
			argv[n++] = arg;
		else if (strcmp(arg, "--") == 0)
			literal = true;
		else if (arg[1] == '-')
			r = opt_long(&p, arg);
		else
			r = opt_short(&p, arg);
		if (r < 0)
			return r;
	}
	return n;
}

void opts_help(FILE *f, const struct opt *opts)
{
	for (const struct opt *o = opts; o && o->kind != OPT_END; o++) {
		char left[64];
		const char *eq = "";
		const char *arg = opt_takes_value(o) ? o->arg : "";
		int n;

		if (*arg)
			eq = o->name ? "=" : " ";
		n = snprintf(left, sizeof(left), "  %c%c%s%s%s",
			     o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			     o->name ? (o->letter ? ", --" : "  --") : "",
			     o->name ? o->name : "",
			     o->kind == OPT_MAYBE ? "[" : "");
		if (n > 0 && (size_t)n < sizeof(left))
			snprintf(left + n, sizeof(left) - (size_t)n, "%s%s%s",
				 eq, arg, o->kind == OPT_MAYBE ? "]" : "");
		if (strlen(left) > 27)
			fprintf(f, "%s\n%-28s%s\n", left, "", o->help);
		else
			fprintf(f, "%-28s%s\n", left, o->help);
	}
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

#define NEAREST_MAX 32

/* Edits from one word to the other: insert, delete, replace a letter, swap two
 * neighbours. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t d[NEAREST_MAX + 1][NEAREST_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > NEAREST_MAX || lb > NEAREST_MAX)
		return NEAREST_MAX;
	for (size_t i = 0; i <= la; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] +
				       (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[la][lb];
}

const char *opts_nearest(const char *word, const char *const *names,
			 size_t n_names)
{
	/* Two edits are near, but not when that is most of the word. */
	size_t best = strlen(word) < 4 ? 2 : 3;
	const char *ret = NULL;

	for (size_t i = 0; i < n_names; i++) {
		size_t d = edit_distance(word, names[i]);

		if (d < best && d < strlen(names[i])) {
			best = d;
			ret = names[i];
		}
	}
	return ret;
}
