/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON output on top of cJSON, which gets valid UTF-8 only and integers as
 * text, so that nothing is rounded to a double.
 */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fmt.h"

cJSON *json_report(const struct cli *c)
{
	cJSON *obj = cJSON_CreateObject();

	cJSON_AddNumberToObject(obj, "schema_version", JSON_SCHEMA_VERSION);
	cJSON_AddStringToObject(obj, "command", c->command->name);
	return obj;
}

void json_add_u64(cJSON *obj, const char *key, uint64_t v)
{
	char text[FMT_LEN];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	cJSON_AddRawToObject(obj, key, text);
}

void json_add_i64(cJSON *obj, const char *key, int64_t v)
{
	char text[FMT_LEN];

	snprintf(text, sizeof(text), "%" PRId64, v);
	cJSON_AddRawToObject(obj, key, text);
}

void json_add_name(cJSON *obj, const char *key, const char *bytes)
{
	char hex_key[80];
	char *text = fmt_to_utf8(bytes);
	char *hex = NULL;

	cJSON_AddStringToObject(obj, key, text ? text : "");
	if (!fmt_is_utf8(bytes))
		hex = fmt_hex(bytes);
	if (hex) {
		snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
		cJSON_AddStringToObject(obj, hex_key, hex);
	}
	free(hex);
	free(text);
}

void json_add_time(cJSON *obj, const char *key, const struct timespec *t)
{
	char text[FMT_LEN];

	/* Nanoseconds since 1970 leave 64 bits in 2262: as seconds with a
	 * fraction they are exact for every time_t. */
	if (t->tv_sec < 0 && t->tv_nsec)
		snprintf(text, sizeof(text), "-%lld.%09ld",
			 -((long long)t->tv_sec + 1),
			 1000000000L - t->tv_nsec);
	else
		snprintf(text, sizeof(text), "%lld.%09ld",
			 (long long)t->tv_sec, t->tv_nsec);
	cJSON_AddRawToObject(obj, key, text);
}

void json_add_stat(cJSON *obj, const struct oriel_stat *st)
{
	char mode[8];

	cJSON_AddStringToObject(obj, "type", fmt_type(st->mode));
	snprintf(mode, sizeof(mode), "%04o", st->mode & 07777);
	cJSON_AddStringToObject(obj, "mode", mode);
	json_add_u64(obj, "inode", st->ino);
	json_add_u64(obj, "links", st->nlink);
	json_add_u64(obj, "uid", st->uid);
	json_add_u64(obj, "gid", st->gid);
	json_add_u64(obj, "size_bytes", st->size);
	json_add_u64(obj, "allocated_bytes", st->blocks * 512);
	json_add_time(obj, "atime_s", &st->atime);
	json_add_time(obj, "mtime_s", &st->mtime);
	json_add_time(obj, "ctime_s", &st->ctime);
	cJSON_AddBoolToObject(obj, "dax", st->dax != 0);
}

void json_print(struct cli *c, cJSON *obj)
{
	char *text = cJSON_PrintUnformatted(obj);

	if (text)
		puts(text);
	else
		cli_error(c, NULL, "no memory for the report");
	cJSON_free(text);
	cJSON_Delete(obj);
}
