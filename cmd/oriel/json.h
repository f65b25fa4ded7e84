/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON objects with whole 64-bit numbers and with names that are bytes. Every
 * object printed has "schema_version"; a change that a reader could stumble
 * over raises it.
 */
#ifndef ORIEL_CLI_JSON_H
#define ORIEL_CLI_JSON_H

#include <stdint.h>

#include <cjson/cJSON.h>

#include "cli.h"

#define JSON_SCHEMA_VERSION 1

/* An object with schema_version and command. */
cJSON *json_report(const struct cli *c);
/* Exact, where cJSON's own numbers are doubles. */
void json_add_u64(cJSON *obj, const char *key, uint64_t v);
void json_add_i64(cJSON *obj, const char *key, int64_t v);
/* @bytes as valid UTF-8; when it was not, also KEY_hex with the bytes. */
void json_add_name(cJSON *obj, const char *key, const char *bytes);
/* Seconds since 1970 with nine digits of a fraction. */
void json_add_time(cJSON *obj, const char *key, const struct timespec *t);
/* type, mode, size_bytes, ... of a file. */
void json_add_stat(cJSON *obj, const struct oriel_stat *st);
/* Print on one line and free. */
void json_print(struct cli *c, cJSON *obj);

#endif
