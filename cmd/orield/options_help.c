/* SPDX-License-Identifier: BSD-2-Clause */
/* What orield prints about itself. The options come from the table. */
#include "options.h"

#include <stdio.h>
#include <string.h>

#define COLUMN 30
#define WIDTH 79

/* @text from COLUMN + 3 on, folded between words. */
static void print_folded(const char *text)
{
	size_t room = WIDTH - COLUMN - 3;

	for (;;) {
		size_t n = strlen(text);

		if (n > room) {
			n = room;
			while (n && text[n] != ' ')
				n--;
		}
		printf("%.*s\n", (int)n, text);
		text += n;
		if (!*text)
			return;
		text++;
		printf("%*s", COLUMN + 3, "");
	}
}

static void print_row(const struct option_row *row)
{
	char left[64];

	if (row->group)
		printf("\n%s:\n", row->group);
	snprintf(left, sizeof(left), "--%s%s%s", row->name,
		 row->metavar ? "=" : "", row->metavar ? row->metavar : "");
	if (strlen(left) > COLUMN)
		printf("  %s\n  %-*s ", left, COLUMN, "");
	else
		printf("  %-*s ", COLUMN, left);
	print_folded(row->help);
}

static const char examples[] =
	"\n"
	"Spelled as before: -o source=DIR,cache=auto,... and -d (debug), -f.\n"
	"SIGTERM and SIGINT end it; SIGUSR1 logs what is open.\n"
	"\n"
	"Examples:\n"
	"  Share /srv/models read-only with programs on this machine:\n"
	"    orield --shared-dir=/srv/models --readonly"
	" --socket-path=/run/models.sock\n"
	"    oriel ls /run/models.sock:/\n"
	"  A guest's share (QEMU: memory-backend-memfd,share=on and\n"
	"  vhost-user-fs-pci,chardev=...,tag=data):\n"
	"    orield --shared-dir=/srv/vm1 --socket-path=/run/vm1.sock"
	" --tag=data\n"
	"  The same for a guest whose user 1000 is user 5000 here:\n"
	"    orield --shared-dir=/srv/vm1 --socket-path=/run/vm1.sock"
	" --tag=data \\\n"
	"      --translate-uid=map:1000:5000:1"
	" --translate-gid=map:1000:5000:1\n"
	"  Two shares, of which one cannot be changed:\n"
	"    orield --share=tag=src,path=/srv/src,socket=/run/src.sock,readonly"
	" \\\n"
	"      --share=tag=out,path=/srv/out,socket=/run/out.sock\n"
	"  Under systemd, with the socket of orield@vm1.socket:\n"
	"    systemctl enable --now orield@vm1.socket\n";

static void print_help(void)
{
	unsigned i;

	printf("Usage: orield --shared-dir=DIR --socket-path=PATH [OPTION]...\n"
	       "Share a directory with virtio-fs clients: liboriel, QEMU,"
	       " cloud-hypervisor, ...\n");
	for (i = 0; i < option_n_rows; i++)
		print_row(&option_rows[i]);
	fputs(examples, stdout);
}

static void print_capabilities(void)
{
	printf("{\n"
	       "  \"type\": \"fs\",\n"
	       "  \"version\": \"" ORIELD_VERSION "\",\n"
	       "  \"features\": [\"separate-options\", \"readonly\","
	       " \"dax-window\", \"multiple-clients\"]\n"
	       "}\n");
}

bool option_print(const char *name)
{
	if (!strcmp(name, "help"))
		print_help();
	else if (!strcmp(name, "version"))
		printf("orield " ORIELD_VERSION "\n");
	else if (!strcmp(name, "print-capabilities"))
		print_capabilities();
	else
		return false;
	return true;
}
