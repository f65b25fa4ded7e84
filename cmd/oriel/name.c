/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * File names are bytes. Here they become valid UTF-8 (for JSON), hexadecimal,
 * or something a terminal can show without being steered by it.
 */
#include "fmt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 sequence at @s, 0 when it is wrong: no overlong forms,
 * no surrogates, nothing past U+10FFFF. */
static size_t utf8_len(const unsigned char *s)
{
	unsigned char c = s[0], lo = 0x80, hi = 0xbf;
	size_t n;

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (c == 0xe0)
		lo = 0xa0;
	else if (c == 0xed)
		hi = 0x9f;
	else if (c == 0xf0)
		lo = 0x90;
	else if (c == 0xf4)
		hi = 0x8f;
	/* The terminating NUL is below every lower bound: no overrun. */
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

bool fmt_is_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		size_t n = utf8_len(s);

		if (!n)
			return false;
		s += n;
	}
	return true;
}

char *fmt_to_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	char *buf = malloc(strlen(text) * 3 + 1);
	char *out = buf;

	if (!buf)
		return NULL;
	while (*s) {
		size_t n = utf8_len(s);

		memcpy(out, n ? (const char *)s : "\xef\xbf\xbd", n ? n : 3);
		out += n ? n : 3;
		s += n ? n : 1;
	}
	*out = 0;
	return buf;
}

char *fmt_hex(const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t len = strlen(text);
	char *buf = malloc(len * 2 + 1);

	if (!buf)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		unsigned char b = (unsigned char)text[i];

		buf[2 * i] = digits[b >> 4];
		buf[2 * i + 1] = digits[b & 15];
	}
	buf[2 * len] = 0;
	return buf;
}

enum name_class {
	NAME_PLAIN,
	NAME_QUOTED,  /* blanks and what a shell would take as its own */
	NAME_ESCAPED, /* control characters, wrong UTF-8 */
};

/* U+0080..U+009F are control characters for a terminal too. */
static bool is_control(const unsigned char *s, size_t n)
{
	if (n == 1)
		return *s < 0x20 || *s == 0x7f;
	return n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

static enum name_class classify(const char *name)
{
	const unsigned char *s = (const unsigned char *)name;
	enum name_class k = *name ? NAME_PLAIN : NAME_QUOTED;

	while (*s) {
		size_t n = utf8_len(s);

		if (!n || is_control(s, n) || *s == '\'')
			return NAME_ESCAPED;
		if (n == 1 && strchr(" \"\\$`&|;<>()*?[]#~!{}", *s))
			k = NAME_QUOTED;
		s += n;
	}
	return k;
}

static size_t escape_byte(unsigned char b, char *out)
{
	static const char from[] = "\n\t\r\033\\'", to[] = "ntre\\'";
	const char *at = strchr(from, b);

	if (!at)
		return (size_t)sprintf(out, "\\%03o", b);
	out[0] = '\\';
	out[1] = to[at - from];
	return 2;
}

static char *escape(const char *name)
{
	const unsigned char *s = (const unsigned char *)name;
	char *buf = malloc(strlen(name) * 4 + 4);
	char *out = buf;

	if (!buf)
		return NULL;
	*out++ = '$';
	*out++ = '\'';
	while (*s) {
		size_t n = utf8_len(s);
		size_t take = n ? n : 1;

		if (!n || is_control(s, n) || *s == '\\' || *s == '\'') {
			for (size_t i = 0; i < take; i++)
				out += escape_byte(s[i], out);
		} else {
			memcpy(out, s, take);
			out += take;
		}
		s += take;
	}
	*out++ = '\'';
	*out = 0;
	return buf;
}

char *fmt_quote(const char *name)
{
	enum name_class k = classify(name);
	char *buf;

	if (k == NAME_PLAIN)
		return strdup(name);
	if (k == NAME_ESCAPED)
		return escape(name);
	buf = malloc(strlen(name) + 3);
	if (buf)
		sprintf(buf, "'%s'", name);
	return buf;
}
