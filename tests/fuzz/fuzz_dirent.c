/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Directory buffers as a server might send them. The first byte says whether
 * they are those of READDIRPLUS. Every entry decoded must lie in the buffer,
 * have an acceptable name, and, encoded again, decode to the same.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/fuse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)             \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

static void check_entry(const struct fuse_dirent_view *v, bool plus)
{
	unsigned char buf[512];
	struct fuse_dirent_view again;
	size_t end = 0, pos = 0;

	DEMAND(v->namelen > 0 && v->namelen <= FUSE_WIRE_NAME_MAX);
	DEMAND(!memchr(v->name, '/', v->namelen));
	DEMAND(!memchr(v->name, 0, v->namelen));
	DEMAND(fuse_put_dirent(buf, sizeof(buf), &end, v->ino, v->off, v->type,
			       v->name, v->namelen,
			       plus ? &v->entry : NULL) == 0);
	DEMAND(fuse_next_dirent(buf, end, &pos, plus, &again) == 1);
	DEMAND(pos == end && again.ino == v->ino && again.off == v->off);
	DEMAND(again.type == v->type && again.namelen == v->namelen);
	DEMAND(!memcmp(again.name, v->name, v->namelen));
	DEMAND(!memcmp(&again.entry, &v->entry, sizeof(v->entry)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_dirent_view v;
	const char *s = NULL;
	size_t pos = 0, before;
	bool plus;
	int r;

	if (size == 0)
		return 0;
	plus = *data++ & 1;
	size--;
	do {
		before = pos;
		r = fuse_next_dirent(data, size, &pos, plus, &v);
		if (r == 1) {
			DEMAND(pos > before && pos <= size);
			check_entry(&v, plus);
		} else {
			DEMAND(pos == before);
			DEMAND(r < 0 || pos == size);
		}
	} while (r == 1);

	for (pos = 0; pos < size;) {
		before = pos;
		if (fuse_take_string((const char *)data, size, &pos, &s))
			break;
		DEMAND(pos > before && s == (const char *)data + before);
		DEMAND(strlen(s) == pos - before - 1);
		if (fuse_check_name(s) == 0)
			DEMAND(*s && !strchr(s, '/') && strcmp(s, "."));
	}
	return 0;
}
