/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FUSE wire helpers: opcode names, and the variable parts of messages (strings,
 * extensions and directory entries). Everything read here was written by a peer:
 * lengths are compared with what is left before anything is used, by subtraction,
 * and headers are copied out because nothing in the buffer need be aligned. The
 * buffer itself is private memory: nobody changes it meanwhile. No state.
 */
#include "wire/fuse.h"

#include <errno.h>
#include <string.h>

#define NAME(n) [FUSE_##n] = #n

static const char *const opcode_names[] = {
	NAME(LOOKUP),
	NAME(FORGET),
	NAME(GETATTR),
	NAME(SETATTR),
	NAME(READLINK),
	NAME(SYMLINK),
	NAME(MKNOD),
	NAME(MKDIR),
	NAME(UNLINK),
	NAME(RMDIR),
	NAME(RENAME),
	NAME(LINK),
	NAME(OPEN),
	NAME(READ),
	NAME(WRITE),
	NAME(STATFS),
	NAME(RELEASE),
	NAME(FSYNC),
	NAME(SETXATTR),
	NAME(GETXATTR),
	NAME(LISTXATTR),
	NAME(REMOVEXATTR),
	NAME(FLUSH),
	NAME(INIT),
	NAME(OPENDIR),
	NAME(READDIR),
	NAME(RELEASEDIR),
	NAME(FSYNCDIR),
	NAME(GETLK),
	NAME(SETLK),
	NAME(SETLKW),
	NAME(ACCESS),
	NAME(CREATE),
	NAME(INTERRUPT),
	NAME(BMAP),
	NAME(DESTROY),
	NAME(IOCTL),
	NAME(POLL),
	NAME(NOTIFY_REPLY),
	NAME(BATCH_FORGET),
	NAME(FALLOCATE),
	NAME(READDIRPLUS),
	NAME(RENAME2),
	NAME(LSEEK),
	NAME(COPY_FILE_RANGE),
	NAME(SETUPMAPPING),
	NAME(REMOVEMAPPING),
	NAME(SYNCFS),
	NAME(TMPFILE),
	[FUSE_WIRE_STATX] = "STATX",
	[FUSE_WIRE_COPY_FILE_RANGE_64] = "COPY_FILE_RANGE_64",
};

#undef NAME

const char *fuse_opcode_name(uint32_t opcode)
{
	if (opcode >= ARRAY_LEN(opcode_names) || !opcode_names[opcode])
		return "unknown";
	return opcode_names[opcode];
}

int fuse_take_string(const char *buf, size_t len, size_t *pos,
		     const char **ret)
{
	const char *nul;

	if (*pos >= len)
		return -EINVAL;
	nul = memchr(buf + *pos, '\0', len - *pos);
	if (!nul)
		return -EINVAL;
	*ret = buf + *pos;
	*pos = (size_t)(nul - buf) + 1;
	return 0;
}

int fuse_check_name(const char *name)
{
	size_t len = strnlen(name, FUSE_WIRE_NAME_MAX + 1);

	if (len > FUSE_WIRE_NAME_MAX)
		return -ENAMETOOLONG;
	if (len == 0 || memchr(name, '/', len))
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return -EINVAL;
	return 0;
}

/* Bytes of an entry without and with its name; the latter padded to 8. */
static size_t dirent_header_bytes(bool plus)
{
	return plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
}

static size_t dirent_bytes(bool plus, size_t namelen)
{
	return (size_t)align_up(dirent_header_bytes(plus) + namelen,
				sizeof(uint64_t));
}

int fuse_next_ext(const void *buf, size_t len, size_t *pos,
		  struct fuse_ext_view *ret)
{
	const unsigned char *p = (const unsigned char *)buf + *pos;
	struct fuse_ext_header h;
	size_t left = len - *pos;

	if (!left)
		return 0;
	if (left < sizeof(h))
		return -EINVAL;
	memcpy(&h, p, sizeof(h));
	if (h.size < sizeof(h) || h.size > left)
		return -EINVAL;
	ret->type = h.type;
	ret->data = p + sizeof(h);
	ret->len = h.size - sizeof(h);
	/* the padding of the last one may be left out */
	*pos += min_u64(((uint64_t)h.size + 7) & ~UINT64_C(7), left);
	return 1;
}

/* The one of @ext, whose type is how many it has. */
static int decode_label(const struct fuse_ext_view *ext,
			struct fuse_label_view *ret)
{
	struct fuse_secctx h;
	size_t pos = sizeof(h);
	const char *name;
	int r;

	if (ext->type != 1)
		return -EOPNOTSUPP;
	if (ext->len < sizeof(h))
		return -EINVAL;
	memcpy(&h, ext->data, sizeof(h));
	r = fuse_take_string((const char *)ext->data, ext->len, &pos, &name);
	if (r)
		return r;
	if (!*name || strlen(name) > FUSE_WIRE_XATTR_NAME_MAX ||
	    !range_fits(pos, h.size, ext->len))
		return -EINVAL;
	ret->name = name;
	ret->value = ext->data + pos;
	ret->len = h.size;
	return 0;
}

int fuse_take_label(const void *buf, size_t len, struct fuse_label_view *ret)
{
	struct fuse_label_view label = { .name = NULL };
	struct fuse_ext_view ext;
	size_t pos = 0;
	int r;

	while ((r = fuse_next_ext(buf, len, &pos, &ext)) > 0) {
		if (!ext.type || ext.type >= FUSE_WIRE_EXT_GROUPS)
			continue;
		if (label.name)
			return -EOPNOTSUPP;
		r = decode_label(&ext, &label);
		if (r)
			return r;
	}
	if (r)
		return r;
	if (label.name)
		*ret = label;
	return label.name != NULL;
}

int fuse_take_group(const void *buf, size_t len, uint32_t *ret)
{
	struct fuse_ext_view ext;
	size_t pos = 0;
	uint32_t id = 0;
	uint32_t count;
	int found = 0;
	int r;

	while ((r = fuse_next_ext(buf, len, &pos, &ext)) > 0) {
		if (ext.type != FUSE_WIRE_EXT_GROUPS)
			continue;
		if (ext.len < sizeof(count))
			return -EINVAL;
		memcpy(&count, ext.data, sizeof(count));
		if (!count)
			continue;
		if (found || count > 1 || ext.len < sizeof(count) + sizeof(id))
			return -EINVAL;
		memcpy(&id, ext.data + sizeof(count), sizeof(id));
		found = 1;
	}
	if (r < 0)
		return r;
	if (found)
		*ret = id;
	return found;
}

int fuse_next_dirent(const void *buf, size_t len, size_t *pos, bool plus,
		     struct fuse_dirent_view *ret)
{
	const char *p = (const char *)buf + *pos;
	const size_t head = dirent_header_bytes(plus);
	struct fuse_direntplus d = { 0 };
	size_t left, bytes;

	if (*pos == len)
		return 0;
	if (*pos > len)
		return -EPROTO;
	left = len - *pos;
	if (left < head)
		return -EPROTO;
	if (plus)
		memcpy(&d, p, FUSE_NAME_OFFSET_DIRENTPLUS);
	else
		memcpy(&d.dirent, p, FUSE_NAME_OFFSET);

	if (d.dirent.namelen == 0 || d.dirent.namelen > FUSE_WIRE_NAME_MAX)
		return -EPROTO;
	bytes = dirent_bytes(plus, d.dirent.namelen);
	if (bytes > left)
		return -EPROTO;
	if (memchr(p + head, '/', d.dirent.namelen) ||
	    memchr(p + head, '\0', d.dirent.namelen))
		return -EPROTO;

	ret->ino = d.dirent.ino;
	ret->off = d.dirent.off;
	ret->type = d.dirent.type;
	ret->name = p + head;
	ret->namelen = d.dirent.namelen;
	ret->entry = d.entry_out;
	*pos += bytes;
	return 1;
}

int fuse_put_dirent(void *buf, size_t size, size_t *pos, uint64_t ino,
		    uint64_t off, uint32_t type, const char *name,
		    size_t namelen, const struct fuse_entry_out *entry)
{
	const size_t head = dirent_header_bytes(entry != NULL);
	const size_t bytes = dirent_bytes(entry != NULL, namelen);
	const struct fuse_dirent d = {
		.ino = ino,
		.off = off,
		.namelen = (uint32_t)namelen,
		.type = type,
	};
	char *p = (char *)buf + *pos;

	if (!range_fits(*pos, bytes, size))
		return -ENOSPC;
	if (entry)
		memcpy(p, entry, sizeof(*entry));
	memcpy(p + head - FUSE_NAME_OFFSET, &d, FUSE_NAME_OFFSET);
	memcpy(p + head, name, namelen);
	memset(p + head + namelen, 0, bytes - head - namelen);
	*pos += bytes;
	return 0;
}
