/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The report of oriel info, as text and as JSON. Counters are a table, so that
 * both show the same.
 */
#include "info.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fmt.h"
#include "json.h"
#include "picture.h"

#define FIELD(name) offsetof(struct oriel_info, name)

static const struct info_field counters[] = {
	{ "window_read_bytes", "read through the window",
	  FIELD(window_read_bytes), true },
	{ "window_write_bytes", "written through the window",
	  FIELD(window_write_bytes), true },
	{ "message_read_bytes", "read by message", FIELD(message_read_bytes),
	  true },
	{ "held_read_bytes", "read with a held descriptor",
	  FIELD(held_read_bytes), true },
	{ "held_written_bytes", "overwritten with one",
	  FIELD(held_written_bytes), true },
	{ "message_write_bytes", "written by message",
	  FIELD(message_write_bytes), true },
	{ "hits", "steps served by the window alone", FIELD(hits), false },
	{ "misses", "steps that had to map first", FIELD(misses), false },
	{ "setups", "ranges mapped", FIELD(setups), false },
	{ "setup_errors", "mappings refused", FIELD(setup_errors), false },
	{ "upgrades", "ranges made writable", FIELD(upgrades), false },
	{ "reclaimed", "ranges taken back", FIELD(reclaimed), false },
	{ "prefetched", "ranges mapped ahead", FIELD(prefetched), false },
	{ "bypassed", "steps that passed the window by", FIELD(bypassed),
	  false },
	{ "faults", "copies stopped by a truncation", FIELD(faults), false },
	{ "requests", "requests sent", FIELD(requests), false },
	{ "forgets", "inodes given back", FIELD(forgets), false },
	{ "sleeps", "waits that outlasted polling", FIELD(sleeps), false },
	{ "inodes", "inodes known", FIELD(inodes), false },
	{ "open_files", "files open", FIELD(open_files), false },
	{ "held_files", "descriptors held", FIELD(held_files), false },
};

static uint64_t field_of(const struct oriel_info *i, size_t off)
{
	uint64_t v;

	memcpy(&v, (const char *)i + off, sizeof(v));
	return v;
}

static void print_dax(const struct cli *c, const struct oriel_info *i)
{
	bool color = cli_color(c);

	if (i->dax)
		printf("%sDAX: ON%s\n", color ? "\033[1;32m" : "",
		       color ? "\033[0m" : "");
	else
		printf("%sDAX: OFF - because %s%s\n",
		       color ? "\033[1;31m" : "",
		       *i->dax_why ? i->dax_why : "the daemon did not say",
		       color ? "\033[0m" : "");
}

static void print_daemon(const struct info_report *r)
{
	const struct oriel_info *i = &r->i;

	printf("Share:     %s", r->share);
	if (*i->tag) {
		fputs(", tag ", stdout);
		cli_print_name(i->tag);
	}
	putchar('\n');
	printf("Daemon:    %s",
	       i->embedded ? "our own, for this directory" : "on a socket");
	if (i->daemon_pid > 0)
		printf(", pid %" PRId64, i->daemon_pid);
	printf("%s\n", i->alive ? "" : ", GONE");
	if (i->embedded)
		printf("Sandbox:   %s%s\n", i->sandbox,
		       i->readonly ? ", read-only" : "");
	printf("Protocol:  FUSE %u.%u, %u request queue%s\n", i->proto_major,
	       i->proto_minor, i->request_queues,
	       i->request_queues == 1 ? "" : "s");
}

/* Names of the agreed INIT flags, broken into lines. */
static void print_features(const struct oriel_info *i)
{
	unsigned width = cli_width(STDOUT_FILENO), at = 11;
	const char *lead = "Features:  ";

	fputs(lead, stdout);
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = oriel_fuse_flag_name(bit);
		char unnamed[16];
		size_t len;

		if (!(i->fuse_flags >> bit & 1))
			continue;
		snprintf(unnamed, sizeof(unnamed), "bit %u", bit);
		name = name ? name : unnamed;
		len = strlen(name);
		if (at + len + 1 > width && at > 11) {
			printf("\n%*s", 11, "");
			at = 11;
		}
		printf("%s ", name);
		at += (unsigned)len + 1;
	}
	printf("\n           virtio 0x%" PRIx64 ", vhost-user 0x%" PRIx64 "\n",
	       i->virtio_features, i->vhost_features);
}

static void print_limits(const struct oriel_info *i)
{
	char t[3][FMT_LEN];

	printf("Limits:    read %s, write %s a message\n",
	       fmt_bytes(i->max_read_bytes, t[0]),
	       fmt_bytes(i->max_write_bytes, t[1]));
	if (!i->ranges)
		return;
	printf("Window:    %s in %" PRIu64 " ranges of %s; %" PRIu64
	       " mapped, %" PRIu64 " pinned, %" PRIu64 " free\n",
	       fmt_bytes((double)i->window_bytes, t[0]), i->ranges,
	       fmt_bytes((double)i->range_bytes, t[1]), i->mappings,
	       i->pinned_ranges, i->free_ranges);
}

static void print_counters(const struct oriel_info *i)
{
	char t[FMT_LEN];

	puts("Counters of this session:");
	for (size_t k = 0; k < ARRAY_LEN(counters); k++) {
		uint64_t v = field_of(i, counters[k].off);

		if (!v)
			continue;
		if (counters[k].bytes)
			fmt_bytes((double)v, t);
		else
			snprintf(t, sizeof(t), "%" PRIu64, v);
		printf("  %12s  %s\n", t, counters[k].text);
	}
}

void info_print(const struct cli *c, const struct info_report *r)
{
	struct picture_style style = {
		.width = cli_width(STDOUT_FILENO),
		.max_rows = 8,
		.color = cli_color(c),
		.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
	};

	print_dax(c, &r->i);
	print_daemon(r);
	print_features(&r->i);
	print_limits(&r->i);
	if (r->picture && r->n_ranges)
		picture_draw(stdout, r->picture, r->n_ranges, &style,
			     r->i.range_bytes);
	print_counters(&r->i);
}

static void add_features(cJSON *obj, const struct oriel_info *i)
{
	cJSON *names = cJSON_AddArrayToObject(obj, "fuse_features");

	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = oriel_fuse_flag_name(bit);
		char unnamed[16];

		if (!(i->fuse_flags >> bit & 1))
			continue;
		snprintf(unnamed, sizeof(unnamed), "bit_%u", bit);
		cJSON_AddItemToArray(names,
				     cJSON_CreateString(name ? name :
							       unnamed));
	}
	json_add_u64(obj, "fuse_flags", i->fuse_flags);
	json_add_u64(obj, "virtio_features", i->virtio_features);
	json_add_u64(obj, "vhost_user_features", i->vhost_features);
}

static void add_window(cJSON *obj, const struct info_report *r)
{
	cJSON *w = cJSON_AddObjectToObject(obj, "window");
	char *text = NULL;

	json_add_u64(w, "size_bytes", r->i.window_bytes);
	json_add_u64(w, "range_bytes", r->i.range_bytes);
	json_add_u64(w, "ranges", r->i.ranges);
	json_add_u64(w, "ranges_free", r->i.free_ranges);
	json_add_u64(w, "ranges_mapped", r->i.mappings);
	json_add_u64(w, "ranges_pinned", r->i.pinned_ranges);
	if (r->picture)
		text = strndup(r->picture, r->n_ranges);
	if (text) {
		/* Free ranges at the end say nothing: the count is above. */
		size_t n = r->n_ranges;

		while (n && text[n - 1] == '.')
			n--;
		text[n] = 0;
		cJSON_AddStringToObject(w, "picture", text);
	}
	free(text);
}

void info_print_json(struct cli *c, const struct info_report *r)
{
	const struct oriel_info *i = &r->i;
	cJSON *obj = json_report(c), *counts;

	json_add_name(obj, "share", r->share);
	json_add_name(obj, "tag", i->tag);
	cJSON_AddBoolToObject(obj, "dax", i->dax);
	json_add_name(obj, "dax_why_not", i->dax_why);
	cJSON_AddBoolToObject(obj, "alive", i->alive);
	cJSON_AddBoolToObject(obj, "embedded", i->embedded);
	json_add_name(obj, "sandbox", i->sandbox);
	cJSON_AddBoolToObject(obj, "readonly", i->readonly);
	json_add_i64(obj, "daemon_pid", i->daemon_pid);
	json_add_u64(obj, "fuse_major", i->proto_major);
	json_add_u64(obj, "fuse_minor", i->proto_minor);
	json_add_u64(obj, "request_queues", i->request_queues);
	json_add_u64(obj, "max_read_bytes", i->max_read_bytes);
	json_add_u64(obj, "max_write_bytes", i->max_write_bytes);
	add_features(obj, i);
	add_window(obj, r);
	counts = cJSON_AddObjectToObject(obj, "counters");
	for (size_t k = 0; k < ARRAY_LEN(counters); k++)
		json_add_u64(counts, counters[k].key,
			     field_of(i, counters[k].off));
	json_print(c, obj);
}
