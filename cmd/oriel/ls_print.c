/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a listing looks: long lines, one name a line, columns, JSON.
 */
#include "ls.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "fmt.h"
#include "json.h"

static int compare_names(const struct ls_entry *a, const struct ls_entry *b)
{
	return strcmp(a->name, b->name);
}

static int compare_times(const struct timespec *a, const struct timespec *b)
{
	if (a->tv_sec != b->tv_sec)
		return a->tv_sec < b->tv_sec ? -1 : 1;
	return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}

static int by_options(const void *x, const void *y, void *ctx)
{
	const struct ls_entry *a = x, *b = y;
	const struct ls_opts *o = ctx;
	int r = 0;

	if (o->sort == 't')
		r = compare_times(&b->st.mtime, &a->st.mtime);
	else if (o->sort == 'S')
		r = (a->st.size < b->st.size) - (a->st.size > b->st.size);
	if (!r)
		r = compare_names(a, b);
	return o->reverse ? -r : r;
}

void ls_sort(struct ls_list *l, const struct ls_opts *o)
{
	if (o->sort != 'U' && l->n)
		qsort_r(l->v, l->n, sizeof(*l->v), by_options, (void *)o);
}

static const char *color_of(const struct ls_entry *e)
{
	switch (e->st.mode & S_IFMT) {
	case S_IFDIR:
		return "\033[1;34m";
	case S_IFLNK:
		return "\033[1;36m";
	case S_IFIFO:
		return "\033[33m";
	case S_IFSOCK:
		return "\033[1;35m";
	case S_IFCHR:
	case S_IFBLK:
		return "\033[1;33m";
	default:
		return e->st.mode & 0111 ? "\033[1;32m" : "";
	}
}

static const char *suffix_of(const struct ls_entry *e)
{
	switch (e->st.mode & S_IFMT) {
	case S_IFDIR:
		return "/";
	case S_IFLNK:
		return "@";
	case S_IFIFO:
		return "|";
	case S_IFSOCK:
		return "=";
	default:
		return e->st.mode & 0111 && S_ISREG(e->st.mode) ? "*" : "";
	}
}

/* The name as it is shown; to be freed. */
static char *shown_name(const char *name)
{
	return cli_is_tty(STDOUT_FILENO) ? fmt_quote(name) : strdup(name);
}

static unsigned width_of(const char *text)
{
	wchar_t wide[512];
	size_t n = mbstowcs(wide, text, ARRAY_LEN(wide));
	int w;

	if (n == (size_t)-1 || n == ARRAY_LEN(wide))
		return (unsigned)strlen(text);
	w = wcswidth(wide, n);
	return w < 0 ? (unsigned)strlen(text) : (unsigned)w;
}

/* Returns the width printed. */
static unsigned print_name(const struct cli *c, const struct ls_entry *e,
			   const struct ls_opts *o)
{
	char *name = shown_name(e->name);
	const char *color = cli_color(c) ? color_of(e) : "";
	const char *suffix = o->classify ? suffix_of(e) : "";
	unsigned w = name ? width_of(name) + (unsigned)strlen(suffix) : 0;

	printf("%s%s%s%s", color, name ? name : e->name,
	       *color ? "\033[0m" : "", suffix);
	free(name);
	return w;
}

bool ls_columns(const unsigned *widths, size_t n, size_t n_cols,
		unsigned line, unsigned *ret_col_widths)
{
	size_t rows = (n + n_cols - 1) / n_cols;
	size_t total = 0;

	for (size_t col = 0; col < n_cols; col++) {
		unsigned w = 0;

		for (size_t i = col * rows; i < n && i < (col + 1) * rows; i++)
			w = widths[i] > w ? widths[i] : w;
		ret_col_widths[col] = w + 2;
		total += w + 2;
	}
	return total <= (size_t)line + 2;
}

#define MAX_COLUMNS 64

static void print_rows(const struct cli *c, const struct ls_list *l,
		       const struct ls_opts *o, size_t n_cols,
		       const unsigned *col_widths)
{
	size_t rows = (l->n + n_cols - 1) / n_cols;

	for (size_t row = 0; row < rows; row++) {
		for (size_t i = row, col = 0; i < l->n; i += rows, col++) {
			unsigned w = print_name(c, &l->v[i], o);

			if (i + rows < l->n)
				printf("%*s", (int)(col_widths[col] - w), "");
		}
		putchar('\n');
	}
}

static void print_columns(const struct cli *c, const struct ls_list *l,
			  const struct ls_opts *o)
{
	unsigned cols[MAX_COLUMNS];
	unsigned *widths = calloc(l->n + 1, sizeof(*widths));
	size_t n_cols = l->n < MAX_COLUMNS ? l->n : MAX_COLUMNS;
	unsigned line = cli_width(STDOUT_FILENO);

	if (!widths || !l->n) {
		free(widths);
		return;
	}
	for (size_t i = 0; i < l->n; i++) {
		char *name = shown_name(l->v[i].name);

		widths[i] = name ? width_of(name) : 0;
		if (o->classify)
			widths[i] += (unsigned)strlen(suffix_of(&l->v[i]));
		free(name);
	}
	while (n_cols > 1 && !ls_columns(widths, l->n, n_cols, line, cols))
		n_cols--;
	if (n_cols == 1)
		ls_columns(widths, l->n, 1, line, cols);
	print_rows(c, l, o, n_cols, cols);
	free(widths);
}

static char *owner_text(uint32_t id, bool group, bool numeric, char *buf)
{
	const struct passwd *pw = !numeric && !group ? getpwuid(id) : NULL;
	const struct group *gr = !numeric && group ? getgrgid(id) : NULL;

	if (pw || gr)
		snprintf(buf, FMT_LEN, "%s", pw ? pw->pw_name : gr->gr_name);
	else
		snprintf(buf, FMT_LEN, "%u", id);
	return buf;
}

static char *size_text(const struct oriel_stat *st, bool human, char *buf)
{
	if (S_ISCHR(st->mode) || S_ISBLK(st->mode))
		snprintf(buf, FMT_LEN, "%u, %u", st->rdev_major,
			 st->rdev_minor);
	else if (human)
		fmt_human(st->size, buf);
	else
		snprintf(buf, FMT_LEN, "%" PRIu64, st->size);
	return buf;
}

/* The widths of links, owner, group and size over all entries. */
static void long_widths(const struct ls_list *l, const struct ls_opts *o,
			int w[4])
{
	memset(w, 0, 4 * sizeof(*w));
	for (size_t i = 0; i < l->n; i++) {
		const struct oriel_stat *st = &l->v[i].st;
		char t[4][FMT_LEN];

		snprintf(t[0], FMT_LEN, "%u", st->nlink);
		owner_text(st->uid, false, o->numeric, t[1]);
		owner_text(st->gid, true, o->numeric, t[2]);
		size_text(st, o->human, t[3]);
		for (int k = 0; k < 4; k++)
			if ((int)strlen(t[k]) > w[k])
				w[k] = (int)strlen(t[k]);
	}
}

static void print_long_line(const struct cli *c, const struct ls_entry *e,
			    const struct ls_opts *o, const int w[4])
{
	const struct oriel_stat *st = &e->st;
	char mode[FMT_LEN], user[FMT_LEN], group[FMT_LEN], size[FMT_LEN];
	char when[FMT_LEN];

	if (e->has_stat)
		printf("%s %*u %-*s %-*s %*s %s ", fmt_mode(st->mode, mode),
		       w[0], st->nlink, w[1],
		       owner_text(st->uid, false, o->numeric, user), w[2],
		       owner_text(st->gid, true, o->numeric, group), w[3],
		       size_text(st, o->human, size),
		       fmt_ls_time(&st->mtime, time(NULL), when));
	else
		printf("?????????? %*s %-*s %-*s %*s %12s ", w[0], "?", w[1],
		       "?", w[2], "?", w[3], "?", "?");
	print_name(c, e, o);
	if (e->target) {
		char *target = shown_name(e->target);

		printf(" -> %s", target ? target : e->target);
		free(target);
	}
	putchar('\n');
}

static void print_long(const struct cli *c, const struct ls_list *l,
		       const struct ls_opts *o, bool total)
{
	uint64_t blocks = 0;
	char buf[FMT_LEN];
	int w[4];

	for (size_t i = 0; i < l->n; i++)
		blocks += l->v[i].st.blocks;
	if (total && o->human)
		printf("total %s\n", fmt_human(blocks * 512, buf));
	else if (total)
		printf("total %" PRIu64 "\n", (blocks + 1) / 2);
	long_widths(l, o, w);
	for (size_t i = 0; i < l->n; i++) {
		if (o->inode)
			printf("%10" PRIu64 " ", l->v[i].st.ino);
		print_long_line(c, &l->v[i], o, w);
	}
}

void ls_print(const struct cli *c, const struct ls_list *l,
	      const struct ls_opts *o, bool total)
{
	bool tty = cli_is_tty(STDOUT_FILENO);

	if (o->format == 'l') {
		print_long(c, l, o, total);
	} else if (o->format == 'C' || (!o->format && tty && !o->inode)) {
		print_columns(c, l, o);
	} else {
		for (size_t i = 0; i < l->n; i++) {
			if (o->inode)
				printf("%10" PRIu64 " ", l->v[i].st.ino);
			print_name(c, &l->v[i], o);
			putchar('\n');
		}
	}
}

void ls_print_json(struct cli *c, const struct ls_list *l, const char *share,
		   const char *path)
{
	cJSON *obj = json_report(c);
	cJSON *entries;

	json_add_name(obj, "share", share);
	json_add_name(obj, "path", path);
	entries = cJSON_AddArrayToObject(obj, "entries");
	for (size_t i = 0; i < l->n; i++) {
		cJSON *e = cJSON_CreateObject();

		json_add_name(e, "name", l->v[i].name);
		if (l->v[i].has_stat)
			json_add_stat(e, &l->v[i].st);
		if (l->v[i].target)
			json_add_name(e, "target", l->v[i].target);
		cJSON_AddItemToArray(entries, e);
	}
	json_print(c, obj);
}
