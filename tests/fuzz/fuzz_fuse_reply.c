/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FUSE replies of a hostile daemon, into the whole client.
 *
 * This file is the front end (it defines vhost_frontend_*(), so the real one is
 * not linked) and the daemon at its other end: a kick answers everything in the
 * ring at once, in the same thread. An answer starts out as a well-formed one
 * for its request and is then spoiled as the input says, so that the fuzzer gets
 * past INIT without having to guess it:
 *
 *   per request: one byte   0..3: spoil nothing
 *                           else: low 4 bits = number of edits that follow,
 *                           bit 4: random error, bit 5: cut short,
 *                           bit 6: claim another length, bit 7: other unique
 *   per edit: u16 offset, u8 value
 *
 * When the input is used up all further answers are well-formed, so every run
 * ends. One thread.
 */
#include <oriel/oriel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "ring/ring_device.h"
#include "vhost/frontend.h"
#include "wire/fuse.h"

#define QUEUE 128u
#define ARENA_GPA UINT64_C(0x10000000)
#define WINDOW_BYTES (4u << 16)
#define REPLY_MAX (1u << 20)

struct vhost_frontend {
	struct vhost_frontend_info info;
	unsigned char *rings; /* two queues */
	struct ring_driver *driver[2];
	struct ring_device device[2];
	struct mem_map *mem;
};

/* The input of this run. */
static const uint8_t *input;
static size_t input_len;
static unsigned char reply_buf[REPLY_MAX];
static struct ring_chain chain;

static unsigned take(void)
{
	if (!input_len)
		return 0;
	input_len--;
	return *input++;
}

/* ------------------------------------------------------- honest answers */

static void fill_attr(struct fuse_attr *a, uint64_t ino, uint32_t type)
{
	memset(a, 0, sizeof(*a));
	a->ino = ino;
	a->size = 150000;
	a->blocks = 300;
	a->mode = type | 0644;
	a->nlink = 1;
	a->blksize = 4096;
	a->flags = FUSE_ATTR_DAX;
}

static size_t put_entry(unsigned char *p, uint64_t nodeid, uint32_t type)
{
	struct fuse_entry_out e = { .nodeid = nodeid, .entry_valid = 1,
				    .attr_valid = 1 };

	fill_attr(&e.attr, nodeid, type);
	memcpy(p, &e, sizeof(e));
	return sizeof(e);
}

/* The type a name has in this daemon: by its first letter. */
static uint32_t type_of(const char *name)
{
	switch (name[0]) {
	case 'd':
		return S_IFDIR;
	case 'l':
		return S_IFLNK;
	default:
		return S_IFREG;
	}
}

static size_t put_init(unsigned char *p)
{
	struct fuse_init_out out = {
		.major = 7,
		.minor = 38,
		.max_write = 1 << 20,
		.flags = FUSE_INIT_EXT | FUSE_MAX_PAGES | FUSE_MAP_ALIGNMENT |
			 FUSE_DO_READDIRPLUS | FUSE_ATOMIC_O_TRUNC,
		.max_pages = 256,
		.map_alignment = 12,
		.flags2 = FUSE_HAS_INODE_DAX >> 32,
		.unused[FUSE_WIRE_INIT_OUT_MAGIC] = FUSE_WIRE_INIT_MAGIC,
		.unused[FUSE_WIRE_INIT_OUT_CAN] = FUSE_WIRE_CAN_WALK,
	};

	/* the others are asked one by one */
	if (input_len % 4 == 1)
		out.unused[FUSE_WIRE_INIT_OUT_MAGIC] = 0;
	memcpy(p, &out, sizeof(out));
	return sizeof(out);
}

static size_t put_dir(unsigned char *p, size_t room, uint64_t offset, bool plus)
{
	static const char *const names[] = { ".", "..", "file", "dir", "link" };
	size_t pos = 0;

	for (uint64_t i = offset; i < ARRAY_LEN(names); i++) {
		struct fuse_entry_out e = { .nodeid = i < 2 ? 0 : 10 + i };

		fill_attr(&e.attr, 10 + i, type_of(names[i]));
		if (fuse_put_dirent(p, room, &pos, 10 + i, i + 1, 8, names[i],
				    strlen(names[i]), plus ? &e : NULL))
			break;
	}
	return pos;
}

static size_t put_attr(unsigned char *p, const struct fuse_in_header *h)
{
	struct fuse_attr_out out = { .attr_valid = 1 };

	fill_attr(&out.attr, h->nodeid,
		  h->nodeid == 1 || h->nodeid == 13 ? S_IFDIR : S_IFREG);
	memcpy(p, &out, sizeof(out));
	return sizeof(out);
}

static size_t put_zeros(unsigned char *p, size_t n)
{
	memset(p, 0, n);
	return n;
}

/* The entries of as many names as there are, none of them a surprise. */
static size_t put_walk(unsigned char *p, const unsigned char *arg)
{
	struct fuse_wire_walk_in in;
	struct fuse_wire_walk_out out = { 0 };
	const char *name;
	size_t at = sizeof(struct fuse_ioctl_out) + sizeof(out);

	memcpy(&in, arg + sizeof(struct fuse_ioctl_in), sizeof(in));
	name = (const char *)arg + sizeof(struct fuse_ioctl_in) + sizeof(in) +
	       in.n_close * sizeof(uint64_t);
	for (out.n = 0; name && out.n < in.n_names; out.n++) {
		uint32_t type = type_of(name);

		at += put_entry(p + at, type == S_IFDIR ? 13 :
					type == S_IFLNK ? 14 : 12, type);
		if (type == S_IFREG && out.n + 1 == in.n_names)
			out.flags = in.flags & FUSE_WIRE_WALK_OPEN;
		name = strchr(name, '/');
		if (name)
			name++;
	}
	put_zeros(p, sizeof(struct fuse_ioctl_out));
	memcpy(p + sizeof(struct fuse_ioctl_out), &out, sizeof(out));
	return at;
}

/* A good body for request @h with argument bytes @arg, at most @room bytes. */
static size_t honest(const struct fuse_in_header *h, const unsigned char *arg,
		     unsigned char *p, size_t room)
{
	struct fuse_read_in rd;
	struct fuse_write_out wr = { 0 };
	const char *name = (const char *)arg;

	memcpy(&rd, arg, sizeof(rd));
	switch (h->opcode) {
	case FUSE_INIT:
		return put_init(p);
	case FUSE_LOOKUP:
		return put_entry(p, type_of(name) == S_IFDIR ? 13 :
				    type_of(name) == S_IFLNK ? 14 : 12,
				 type_of(name));
	case FUSE_MKDIR:
		return put_entry(p, 15, S_IFDIR);
	case FUSE_SYMLINK:
		return put_entry(p, 16, S_IFLNK);
	case FUSE_LINK:
	case FUSE_MKNOD:
		return put_entry(p, 12, S_IFREG);
	case FUSE_CREATE:
		return put_entry(p, 12, S_IFREG) +
		       put_zeros(p + sizeof(struct fuse_entry_out),
				 sizeof(struct fuse_open_out));
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		return put_attr(p, h);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return put_zeros(p, sizeof(struct fuse_open_out));
	case FUSE_READ:
		return put_zeros(p, (size_t)min_u64(rd.size, room));
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return put_dir(p, (size_t)min_u64(rd.size, room), rd.offset,
			       h->opcode == FUSE_READDIRPLUS);
	case FUSE_WRITE:
		wr.size = rd.size;
		memcpy(p, &wr, sizeof(wr));
		return sizeof(wr);
	case FUSE_COPY_FILE_RANGE:
		wr.size = 100;
		memcpy(p, &wr, sizeof(wr));
		return sizeof(wr);
	case FUSE_READLINK:
		memcpy(p, "file", 4);
		return 4;
	case FUSE_IOCTL:
		return put_walk(p, arg);
	case FUSE_STATFS:
		return put_zeros(p, sizeof(struct fuse_statfs_out));
	case FUSE_LSEEK:
		return put_zeros(p, sizeof(struct fuse_lseek_out));
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return put_zeros(p, (size_t)min_u64(room, 8));
	default:
		return 0;
	}
}

/* ------------------------------------------------------ spoiled answers */

/* Spoil the reply of @len bytes (header included); returns its new length. */
static size_t spoil(unsigned char *reply, size_t len, size_t room)
{
	struct fuse_out_header *oh = (void *)reply;
	unsigned how = take();

	if (how < 4)
		return len;
	if (how & 16)
		oh->error = -(int)take() * 17;
	if (how & 32)
		len = (size_t)min_u64(len, take());
	if (how & 64)
		oh->len = (uint32_t)(take() << 12 | take());
	if (how & 128)
		oh->unique ^= take();
	for (unsigned i = 0; i < (how & 15); i++) {
		size_t at = take() << 8;

		at |= take();
		if (at < room) {
			reply[at] = (uint8_t)take();
			len = (size_t)max_u64(len, at + 1);
		}
	}
	return len;
}

/* Copy the readable part of the chain; a header at least. */
static void take_request(unsigned char *req, size_t size)
{
	size_t n = 0;

	memset(req, 0, size);
	for (unsigned i = 0; i < chain.n_out && n < size; i++) {
		size_t now = (size_t)min_u64(chain.iov[i].iov_len, size - n);

		memcpy(req + n, chain.iov[i].iov_base, now);
		n += now;
	}
}

static uint32_t give_reply(size_t len)
{
	size_t n = 0;

	for (unsigned i = chain.n_out; i < chain.n_out + chain.n_in && n < len;
	     i++) {
		size_t now = (size_t)min_u64(chain.iov[i].iov_len, len - n);

		memcpy(chain.iov[i].iov_base, reply_buf + n, now);
		n += now;
	}
	return (uint32_t)n;
}

static uint32_t answer(void)
{
	unsigned char req[4096];
	struct fuse_in_header h;
	struct fuse_out_header oh = { 0 };
	size_t room = (size_t)min_u64(chain.in_bytes, REPLY_MAX);
	size_t len;

	take_request(req, sizeof(req));
	memcpy(&h, req, sizeof(h));
	if (room < sizeof(oh))
		return 0; /* FORGET */
	memset(reply_buf, 0, (size_t)min_u64(room, 65536));
	len = sizeof(oh) + honest(&h, req + sizeof(h), reply_buf + sizeof(oh),
				  room - sizeof(oh));
	oh.len = (uint32_t)len;
	oh.unique = h.unique;
	memcpy(reply_buf, &oh, sizeof(oh));
	return give_reply(spoil(reply_buf, len, room));
}

/* -------------------------------------------------------- the front end */

static int queue_init(struct vhost_frontend *fe, unsigned i)
{
	unsigned char *p = fe->rings + i * 65536;
	struct ring_driver_config drv = {
		.size = QUEUE,
		.desc = (void *)p,
		.avail = (void *)(p + 4096),
		.used = (void *)(p + 8192),
		.indirect = (void *)(p + 16384),
		.indirect_gpa = ARENA_GPA - 131072 + i * 65536 + 16384,
	};
	struct ring_device_config dev = {
		.size = QUEUE,
		.desc = drv.desc,
		.avail = drv.avail,
		.used = drv.used,
		.indirect = true,
	};

	return ring_driver_new(&drv, &fe->driver[i]) ||
	       ring_device_init(&fe->device[i], &dev);
}

int vhost_frontend_new(const struct vhost_frontend_config *cfg,
		       struct vhost_frontend **ret, char *errbuf, size_t errlen)
{
	struct vhost_frontend *fe = calloc(1, sizeof(*fe));
	size_t bytes = 131072 + cfg->arena_bytes;
	struct mem_region *r;

	oriel_assert(fe && mem_map_new(NULL, 1, &fe->mem) == 0);
	fe->rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	oriel_assert(fe->rings != MAP_FAILED);
	r = &fe->mem->regions[0];
	memset(r, 0, sizeof(*r));
	r->gpa = ARENA_GPA - 131072;
	r->size = bytes;
	r->host = fe->rings;
	fe->mem->n_regions = 1;
	oriel_assert(!queue_init(fe, 0) && !queue_init(fe, 1));
	fe->info.n_queues = 2;
	fe->info.arena = fe->rings + 131072;
	fe->info.arena_gpa = ARENA_GPA;
	fe->info.arena_bytes = cfg->arena_bytes;
	fe->info.window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	oriel_assert(fe->info.window != MAP_FAILED);
	fe->info.window_bytes = WINDOW_BYTES;
	close(cfg->sock);
	*ret = fe;
	return 0;
}

void vhost_frontend_free(struct vhost_frontend *fe)
{
	if (!fe)
		return;
	ring_driver_free(fe->driver[0]);
	ring_driver_free(fe->driver[1]);
	munmap(fe->info.window, WINDOW_BYTES);
	munmap(fe->rings, 131072 + fe->info.arena_bytes);
	mem_map_unref(fe->mem);
	free(fe);
}

const struct vhost_frontend_info *
vhost_frontend_info(const struct vhost_frontend *fe)
{
	return &fe->info;
}

struct ring_driver *vhost_frontend_queue(struct vhost_frontend *fe, unsigned i)
{
	return fe->driver[i];
}

void vhost_frontend_kick(struct vhost_frontend *fe, unsigned i)
{
	while (ring_device_pop(&fe->device[i], fe->mem, &chain, NULL) > 0)
		ring_device_push(&fe->device[i], chain.head, answer());
}

int vhost_frontend_call_fd(const struct vhost_frontend *fe, unsigned i)
{
	return -1;
}

void vhost_frontend_ack_call(struct vhost_frontend *fe, unsigned i)
{
}

int vhost_frontend_sock_fd(const struct vhost_frontend *fe)
{
	return -1;
}

int vhost_frontend_channel_fd(const struct vhost_frontend *fe)
{
	return -1;
}

int vhost_frontend_service(struct vhost_frontend *fe)
{
	return 0;
}

/* No descriptors ever come: nothing is mapped here. */
void vhost_frontend_want(struct vhost_frontend *fe, struct vhost_want *w)
{
	w->fd = -1;
}

void vhost_frontend_unwant(struct vhost_frontend *fe, struct vhost_want *w)
{
}

int vhost_frontend_map(struct vhost_frontend *fe,
		       const struct vhost_local_map *p)
{
	return -EINVAL;
}

int vhost_frontend_unmap(struct vhost_frontend *fe, uint64_t window_off,
			 uint64_t len)
{
	return -EREMOTE;
}

unsigned vhost_frontend_mappings(const struct vhost_frontend *fe)
{
	return 0;
}

/* ------------------------------------------------------------- the user */

static void use_file(struct oriel_session *s)
{
	static char buf[200000];
	struct oriel_file *f;
	struct oriel_stat st;
	ssize_t n;

	if (oriel_open(s, "dir/file", O_RDWR | O_CREAT, 0600, &f))
		return;
	n = oriel_pread(f, buf, sizeof(buf), 0);
	oriel_assert(n <= (ssize_t)sizeof(buf));
	n = oriel_pwrite(f, buf, 100000, 1000);
	oriel_assert(n <= 100000);
	n = oriel_pwrite(f, buf, 5000, 149000);
	oriel_assert(n <= 5000);
	n = oriel_copy_file_range(f, 0, f, 70000, 1000);
	oriel_assert(n <= 1000);
	(void)!oriel_lseek(f, 5, SEEK_DATA);
	(void)!oriel_ftruncate(f, 3);
	(void)!oriel_fstat(f, ORIEL_FORCE_SYNC, &st);
	(void)!oriel_fsync(f);
	oriel_close(f);
}

static void use_names(struct oriel_session *s)
{
	static char buf[70000];
	struct oriel_dirent e;
	struct oriel_stat st;
	struct statvfs vfs;
	struct oriel_dir *d;

	(void)!oriel_stat(s, "link", 0, &st);
	(void)!oriel_stat(s, "dir/../link", ORIEL_NOFOLLOW, &st);
	for (unsigned plus = 0; plus < 2; plus++) {
		if (oriel_opendir(s, "dir", plus ? ORIEL_DIR_STAT : 0, &d))
			continue;
		for (int i = 0; i < 2000 && oriel_readdir(d, &e) > 0; i++)
			oriel_assert(strlen(e.name) == e.namelen);
		oriel_closedir(d);
	}
	(void)!oriel_mkdir(s, "dnew", 0755);
	(void)!oriel_symlink(s, "t", "lnew");
	(void)!oriel_link(s, "file", "fnew");
	(void)!oriel_rename(s, "file", "fother", 0);
	(void)!oriel_unlink(s, "file");
	(void)!oriel_readlink(s, "link", buf, sizeof(buf));
	(void)!oriel_getxattr(s, "file", "user.a", NULL, 0, 0);
	(void)!oriel_getxattr(s, "file", "user.a", buf, sizeof(buf), 0);
	(void)!oriel_listxattr(s, "file", buf, sizeof(buf), 0);
	(void)!oriel_statfs(s, "/", &vfs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oriel_options opts = {
		.size = sizeof(opts),
		.range_bytes = 65536,
		.window_bytes = WINDOW_BYTES,
		.arena_bytes = 2 << 20,
		.small_file_bytes = ORIEL_MAP_ALL,
		.timeout_ms = 50,
		.inode_cache = 2,
		.no_background = 1,
	};
	struct oriel_session *s;

	input = data;
	input_len = size;
	if (oriel_connect_fd(open("/dev/null", O_RDONLY | O_CLOEXEC), &opts,
			     &s))
		return 0;
	use_file(s);
	use_names(s);
	oriel_disconnect(s);
	return 0;
}
