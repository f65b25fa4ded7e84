/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window of virtual machines. Their monitors map only what a file has, so
 * they are given descriptors of files without an end (src/facade), which takes
 * a privilege when the daemon starts and Linux 6.9. Where that is not to be had
 * there is no window for them at all: a guest that is promised one and then
 * refused a mapping has no way back to messages, its programs get EIO. The same
 * on a read-only share, since QEMU maps for writing whatever it is given.
 */
#include "orield.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "facade/facade.h"
#include "ring/mem_map.h"

static int open_facade(void *ctx, int fd, bool writable)
{
	struct facade *f = ctx;

	return facade_open(f, fd, writable);
}

const struct server_guest_files orield_guest_files = { open_facade };

static const char *explain(int err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "it takes CAP_SYS_ADMIN (root) when the daemon starts";
	case -ENOENT:
	case -ENODEV:
		return "there is no /dev/fuse, or this kernel has no FUSE";
	case -EOPNOTSUPP:
		return "this kernel's FUSE has no pass-through (Linux 6.9)";
	default:
		return strerror(-err);
	}
}

void orield_guest_prepare(const struct orield_options *opt,
			  struct orield_guest *g)
{
	const struct facade_config cfg = {
		.confine = orield_confine_broker,
		.ctx = (void *)(uintptr_t)opt,
	};
	int r;

	*g = (struct orield_guest){ .facade = NULL };
	if (opt->guest_dax == ORIELD_GUEST_DAX_NEVER)
		g->why_not = "--guest-dax=auto was not asked for";
	else if (!opt->window_bytes || !opt->guest_window_bytes)
		g->why_not = "the window has no size";
	else if (!orield_listens(opt))
		g->why_not = "no guest can connect";
	else if (orield_all_readonly(opt))
		g->why_not = "the share is read-only, and QEMU maps for writing"
			     " whatever it is given";
	if (g->why_not)
		return;
	r = facade_new(&cfg, &g->facade);
	if (r)
		g->why_not = explain(r);
}

void orield_guest_start(const struct orield_options *opt,
			struct orield_guest *g)
{
	int r = 0;

	if (g->facade)
		r = facade_start(g->facade);
	if (r) {
		g->why_not = explain(r);
		facade_free(g->facade);
		g->facade = NULL;
	}
	if (g->facade)
		mem_map_trust_dev(facade_dev(g->facade));
	g->offered = g->facade ||
		     (opt->guest_dax == ORIELD_GUEST_DAX_ALWAYS &&
		      opt->window_bytes && opt->guest_window_bytes);
	if (g->facade)
		log_info("DAX for guests: a window of %llu MiB, by facade",
			 (unsigned long long)(opt->guest_window_bytes >> 20));
	else if (g->offered)
		log_warn("DAX for guests: only where a monitor maps past the "
			 "end of a file; QEMU does not: %s", g->why_not);
	else if (orield_listens(opt))
		log_info("DAX for guests: no; %s", g->why_not);
}

void orield_guest_done(struct orield_guest *g)
{
	facade_free(g->facade);
	g->facade = NULL;
}

void orield_print_qemu_args(const struct orield_options *opt)
{
	const char *path = opt->socket_path ? opt->socket_path : "SOCKET";

	printf("# orield with --guest-dax=auto, QEMU 11.1 or later, and memory of"
	       " the machine that is shared:\n"
	       "-object memory-backend-memfd,id=mem,size=1G,share=on"
	       " -numa node,memdev=mem -m 1G \\\n"
	       "-chardev socket,id=oriel,path=%s \\\n"
	       "-device vhost-user-test-device-pci,chardev=oriel,virtio-id=26,"
	       "num_vqs=%u,config_size=44\n"
	       "# in the guest: mount -t virtiofs -o dax=always %s /mnt\n"
	       "# older QEMU, without DAX: -device"
	       " vhost-user-fs-pci,chardev=oriel,tag=%s\n",
	       path, opt->request_queues + 1, opt->tag, opt->tag);
}
