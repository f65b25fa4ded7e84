/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the suite measures: a scratch directory on a file system, with one file
 * that is read by the library, by the kernel, and through a mapping of our own.
 *
 * How a file was written decides how it lies in the page cache, and that
 * decides what mapping it costs; so it is made in two ways, and what came out
 * is read back from /proc/self/smaps.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_BYTES MIB(2)

static void name_fs(const char *dir, char *buf, size_t len)
{
	static const struct {
		long magic;
		const char *name;
	} known[] = {
		{ EXT4_SUPER_MAGIC, "ext4" },	{ TMPFS_MAGIC, "tmpfs" },
		{ XFS_SUPER_MAGIC, "xfs" },	{ BTRFS_SUPER_MAGIC, "btrfs" },
		{ OVERLAYFS_SUPER_MAGIC, "overlay" },
	};
	struct statfs sf;

	snprintf(buf, len, "other");
	if (statfs(dir, &sf))
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if ((long)sf.f_type == known[i].magic)
			snprintf(buf, len, "%s", known[i].name);
}

/* Also leaves it clean: writing back is not part of any case. */
static int fill_file(int fd, size_t bytes, size_t piece)
{
	unsigned char *p = mmap(NULL, piece, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t off;
	int err = 0;

	if (p == MAP_FAILED)
		return -errno;
	for (off = 0; !err && off < bytes; off += piece) {
		memset(p, (int)(off / piece) | 1, piece);
		if (pwrite(fd, p, piece, (off_t)off) != (ssize_t)piece)
			err = errno ? -errno : -EIO;
	}
	munmap(p, piece);
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

int place_fill(int fd, size_t bytes, enum layout layout)
{
	return fill_file(fd, bytes,
			 layout == LAYOUT_HUGE ? HUGE_BYTES : KIB(4));
}

/* The whole file at an address where huge pages can be used. */
static int map_file(int fd, size_t bytes, unsigned char **ret)
{
	unsigned char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);
	uintptr_t at;

	if (p == MAP_FAILED)
		return -errno;
	at = ((uintptr_t)p + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1);
	p = mmap((void *)at, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int connect_to(const char *share, enum oriel_dax_mode dax,
	       struct oriel_session **ret, pid_t *ret_daemon)
{
	/* paths: for the one case that does not say ORIEL_FORCE_SYNC */
	struct oriel_options o = { .size = sizeof(o), .dax = dax,
				   .path_ttl_ms = 1000 };
	struct oriel_info info = { .size = sizeof(info) };
	int err = oriel_connect(share, &o, ret);

	if (err) {
		fprintf(stderr, "bench: %s\n", oriel_connect_error());
		return err;
	}
	if (!oriel_info(*ret, &info))
		*ret_daemon = (pid_t)info.daemon_pid;
	return 0;
}

/* What is read here and there often enough is mapped. */
#define TOUCHES 16u

static int touch_all(struct place *p)
{
	size_t off;
	ssize_t n;

	for (size_t i = 0; i < TOUCHES; i++)
		for (off = 0; off < p->bytes; off += HUGE_BYTES) {
			n = oriel_pread(p->f, p->buf, 64,
					(off_t)(off + i * 7 % TOUCHES *
							     (HUGE_BYTES /
							      TOUCHES)));
			if (n < 0)
				return (int)n;
		}
	return 0;
}

/* Everything is touched by everybody: what is measured is warm. */
static int warm_up(struct place *p)
{
	size_t off;
	ssize_t n;
	int err = touch_all(p);

	if (err)
		return err;
	for (off = 0; off < p->bytes; off += MIB(1)) {
		n = oriel_pread(p->f, p->buf, MIB(1), (off_t)off);
		if (n < 0)
			return (int)n;
		if (pread(p->fd, p->buf, MIB(1), (off_t)off) < 0)
			return -errno;
		memcpy(p->buf, p->map + off, MIB(1));
	}
	return 0;
}

/* Sums over the mappings of the file @ino that are (@own) or are not ours. */
struct smaps {
	unsigned long rss_kib;
	unsigned long huge_kib;
};

static int read_smaps(const struct place *p, bool own, struct smaps *ret)
{
	struct stat st;
	unsigned long from, to, kib, ino;
	unsigned major, minor;
	bool counts = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f || fstat(p->fd, &st)) {
		if (f)
			fclose(f);
		return -errno;
	}
	*ret = (struct smaps){ 0 };
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu", &from, &to,
			   &major, &minor, &ino) == 5)
			counts = ino == st.st_ino &&
				 makedev(major, minor) == st.st_dev &&
				 (from == (uintptr_t)p->map) == own;
		else if (counts && sscanf(line, "Rss: %lu kB", &kib) == 1)
			ret->rss_kib += kib;
		else if (counts &&
			 sscanf(line, "FilePmdMapped: %lu kB", &kib) == 1)
			ret->huge_kib += kib;
		else if (counts &&
			 sscanf(line, "ShmemPmdMapped: %lu kB", &kib) == 1)
			ret->huge_kib += kib;
	}
	fclose(f);
	return 0;
}

static unsigned percent(const struct smaps *sm)
{
	return sm->rss_kib ? (unsigned)(100 * sm->huge_kib / sm->rss_kib) : 0;
}

static void report_folios(struct place *p, enum layout layout)
{
	struct smaps window, own;

	p->folios = layout == LAYOUT_SMALL ? "small" : "?";
	if (read_smaps(p, false, &window) || read_smaps(p, true, &own))
		return;
	p->folios = percent(&own) >= 90 ? "2 MiB" :
		    percent(&own) >= 10 ? "mixed" : "small";
	report_note(p->su->report, "%s, written in %s pieces: of the file's "
		    "%zu MiB the window maps %lu MiB, %u %% of them by huge "
		    "pages; our own mapping %lu MiB, %u %%.", p->fs,
		    layout == LAYOUT_HUGE ? "2 MiB" : "4 KiB", p->bytes >> 20,
		    window.rss_kib >> 10, percent(&window), own.rss_kib >> 10,
		    percent(&own));
}

static int open_all(struct place *p, enum layout layout)
{
	int err;

	p->fd = open(p->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return -errno;
	err = place_fill(p->fd, p->bytes, layout);
	if (!err)
		err = map_file(p->fd, p->bytes, &p->map);
	if (!err)
		err = connect_to(p->dir, ORIEL_DAX_ALWAYS, &p->s, &p->daemon);
	if (!err)
		err = oriel_open(p->s, "data", O_RDWR, 0, &p->f);
	if (!err)
		err = warm_up(p);
	return err;
}

int place_open(struct suite *su, const char *parent, enum layout layout,
	       struct place *ret)
{
	struct place *p = ret;
	int err;

	memset(p, 0, sizeof(*p));
	p->su = su;
	p->layout = layout;
	p->fd = -1;
	p->bytes = su->file_bytes;
	snprintf(p->dir, sizeof(p->dir), "%s/oriel-bench.XXXXXX", parent);
	p->buf = aligned_alloc(4096, MIB(1) + 4096);
	if (!p->buf)
		return -ENOMEM;
	memset(p->buf, 1, MIB(1) + 4096);
	if (!mkdtemp(p->dir)) {
		err = -errno;
		p->dir[0] = '\0';
		place_close(p);
		return err;
	}
	snprintf(p->file, sizeof(p->file), "%s/data", p->dir);
	name_fs(p->dir, p->fs, sizeof(p->fs));
	err = open_all(p, layout);
	if (err)
		place_close(p);
	else
		report_folios(p, layout);
	return err;
}

/* The directory and the plain files in it. */
static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

void place_close(struct place *p)
{
	if (p->f)
		oriel_close(p->f);
	oriel_disconnect(p->s);
	if (p->map)
		munmap(p->map, p->bytes);
	if (p->fd >= 0)
		close(p->fd);
	free(p->buf);
	if (p->dir[0])
		remove_dir(p->dir);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

/* ------------------------------------------------------- QEMU's virtiofsd */

#define VIRTIOFSD "/usr/lib/qemu/virtiofsd"

static pid_t spawn_virtiofsd(const char *dir, const char *socket)
{
	char path_arg[320], source_arg[320];
	pid_t pid;
	int null;

	snprintf(path_arg, sizeof(path_arg), "--socket-path=%s", socket);
	snprintf(source_arg, sizeof(source_arg), "source=%s", dir);
	pid = fork();
	if (pid)
		return pid;
	null = open("/dev/null", O_RDWR);
	dup2(null, 1);
	dup2(null, 2);
	execl(VIRTIOFSD, VIRTIOFSD, path_arg, "-o", source_arg, "-o",
	      "sandbox=chroot", (char *)NULL);
	_exit(127);
}

/* It forks before it serves. The parent itself if it has no child. */
static pid_t child_of(pid_t parent)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent,
		 parent);
	f = fopen(path, "re");
	if (f) {
		if (fscanf(f, "%d", &child) != 1)
			child = 0;
		fclose(f);
	}
	return child > 0 ? child : parent;
}

int virtiofsd_start(const char *dir, struct virtiofsd *ret)
{
	struct virtiofsd v;
	int i;

	if (access(VIRTIOFSD, X_OK))
		return -ENOENT;
	if (geteuid() != 0)
		return -EPERM;
	snprintf(v.socket, sizeof(v.socket), "%s.sock", dir);
	v.parent = spawn_virtiofsd(dir, v.socket);
	if (v.parent < 0)
		return -errno;
	for (i = 0; i < 500 && access(v.socket, F_OK); i++)
		usleep(10000);
	v.pid = child_of(v.parent);
	*ret = v;
	return 0;
}

void virtiofsd_stop(struct virtiofsd *v)
{
	char pid_file[320];

	if (v->parent <= 0)
		return;
	kill(v->parent, SIGTERM);
	waitpid(v->parent, NULL, 0);
	unlink(v->socket);
	snprintf(pid_file, sizeof(pid_file), "%s.pid", v->socket);
	unlink(pid_file);
	v->parent = 0;
}
