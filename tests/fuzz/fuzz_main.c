/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main() for fuzz targets in builds without libFuzzer, so that any compiler,
 * any debugger and the ordinary test suite can run them:
 *
 *   fuzz_x FILE-OR-FOLDER...
 *
 * Every file is given to LLVMFuzzerTestOneInput() as it is, then cut short at
 * several places, then ROUNDS times with random bytes changed. The random
 * numbers are the same on every run unless ORIEL_SEED says otherwise. One
 * thread; the target must not keep state between inputs.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES 65536
#define ROUNDS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t random_state;
static unsigned long runs;

/* xorshift64*: small, and the same everywhere. */
static uint32_t random_u32(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * UINT64_C(2685821657736338717)) >> 32);
}

/* A copy of exactly @size bytes, so that sanitizers see a read past the end. */
static void run_one(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	runs++;
}

static void change_bytes(uint8_t *data, size_t size)
{
	static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff };
	unsigned n = 1 + random_u32() % 8;

	while (n--) {
		size_t at = random_u32() % size;

		if (random_u32() & 1)
			data[at] = telling[random_u32() % sizeof(telling)];
		else
			data[at] = (uint8_t)random_u32();
	}
}

static void run_variations(const uint8_t *data, size_t size)
{
	static uint8_t changed[INPUT_BYTES];
	unsigned i;

	run_one(data, size);
	for (i = 0; i < 32 && size; i++)
		run_one(data, random_u32() % size);
	for (i = 0; i < ROUNDS && size; i++) {
		memcpy(changed, data, size);
		change_bytes(changed, size);
		run_one(changed, size);
	}
}

static int run_file(const char *path)
{
	static uint8_t data[INPUT_BYTES];
	FILE *f = fopen(path, "rb");
	size_t size;

	if (!f) {
		perror(path);
		return -1;
	}
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	run_variations(data, size);
	return 0;
}

static int run_folder(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[4096];
	int bad = 0;

	if (!dir) {
		perror(path);
		return -1;
	}
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		bad |= run_file(name);
	}
	closedir(dir);
	return bad;
}

/* What needs no file: nothing, zeros, ones, and noise of many lengths. */
static void run_noise(void)
{
	static uint8_t data[INPUT_BYTES];
	size_t size, i;

	run_one(data, 0);
	run_variations(data, 4096);
	memset(data, 0xff, sizeof(data));
	run_variations(data, 4096);
	for (size = 1; size <= 4096; size += 1 + size / 16) {
		for (i = 0; i < size; i++)
			data[i] = (uint8_t)random_u32();
		run_variations(data, size);
	}
}

int main(int argc, char **argv)
{
	const char *seed = getenv("ORIEL_SEED");
	struct stat st;
	int i, bad = 0;

	random_state = seed ? strtoull(seed, NULL, 0) : 1;
	if (!random_state)
		random_state = 1;
	run_noise();
	for (i = 1; i < argc; i++) {
		if (stat(argv[i], &st)) {
			perror(argv[i]);
			bad = -1;
		} else if (S_ISDIR(st.st_mode)) {
			bad |= run_folder(argv[i]);
		} else {
			bad |= run_file(argv[i]);
		}
	}
	printf("%lu inputs, seed %s\n", runs, seed ? seed : "1");
	return bad ? 1 : 0;
}
