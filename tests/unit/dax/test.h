/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the DAX engine have in common. */
#ifndef ORIEL_TEST_DAX_TEST_H
#define ORIEL_TEST_DAX_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

#define RANGE KIB(64)

static inline struct dax_stats stats_of(const struct fake *f)
{
	struct dax_stats st;

	dax_window_stats(f->w, &st);
	return st;
}

static inline struct dax_result read_at(struct fake_file *file, void *buf,
					size_t len, uint64_t pos, uint64_t size)
{
	struct dax_result r;

	memset(&r, 0xa5, sizeof(r));
	dax_read(&file->di, buf, len, pos, size, UINT64_MAX, 0, &r);
	return r;
}

static inline struct dax_result write_at(struct fake_file *file,
					 const void *buf, size_t len,
					 uint64_t pos, uint64_t size)
{
	struct dax_result r;

	memset(&r, 0xa5, sizeof(r));
	dax_write(&file->di, buf, len, pos, size, UINT64_MAX, 0, &r);
	return r;
}

/* One byte of file range @i is read; how it went. */
static inline enum dax_stop touch(struct fake_file *file, uint64_t i)
{
	unsigned char c = 0;
	uint64_t pos = i * file->fake->range_bytes + 17;
	struct dax_result r = read_at(file, &c, 1, pos, UINT64_MAX);

	if (r.stop == DAX_DONE)
		assert_int_equal(c, fake_byte(pos));
	return r.stop;
}

/* The picture of the window as a string. */
static inline const char *picture(struct fake *f, char *buf, size_t len)
{
	size_t n = dax_window_picture(f->w, buf, len - 1);

	buf[n < len ? n : len - 1] = '\0';
	return buf;
}

#endif
