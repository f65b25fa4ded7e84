/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user messages: numbers, feature bits and payload layouts, from the
 * vhost-user protocol text (QEMU docs/interop, 2026-09). Native endian.
 * Layout only; sending and receiving is src/vhost.
 */
#ifndef ORIEL_WIRE_VHOST_USER_H
#define ORIEL_WIRE_VHOST_USER_H

#include "base/util.h"

#define VHOST_USER_VERSION 1u
#define VHOST_USER_VERSION_MASK 3u
#define VHOST_USER_F_REPLY 4u
#define VHOST_USER_F_NEED_REPLY 8u
#define VHOST_USER_MAX_PAYLOAD 4096u
#define VHOST_USER_MAX_FDS 32u

/* Virtio feature bit that enables protocol features. */
#define VHOST_USER_VF_PROTOCOL_FEATURES 30

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHMEM_CONFIG = 44,
};

enum vhost_user_backend_request {
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_USER_BACKEND_SHMEM_MAP = 9,
	VHOST_USER_BACKEND_SHMEM_UNMAP = 10,
};

/* Bit numbers of protocol features. */
enum vhost_user_protocol_feature {
	VHOST_USER_PF_MQ = 0,
	VHOST_USER_PF_REPLY_ACK = 3,
	VHOST_USER_PF_BACKEND_REQ = 5,
	VHOST_USER_PF_CONFIG = 9,
	VHOST_USER_PF_BACKEND_SEND_FD = 10,
	VHOST_USER_PF_INFLIGHT_SHMFD = 12,
	VHOST_USER_PF_RESET_DEVICE = 13,
	VHOST_USER_PF_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PF_STATUS = 16,
	VHOST_USER_PF_SHARED_OBJECT = 18,
	VHOST_USER_PF_SHMEM = 22,
	/*
	 * Ours, far from where the protocol grows: the front end is liboriel,
	 * which maps past the end of a file and reads what it mapped with care.
	 * Changes no message.
	 */
	VHOST_USER_PF_ORIEL = 56,
};

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* payload bytes that follow */
};

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* addresses of the front end's own address space */
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

/* Low 8 bits of the u64 of SET_VRING_KICK, CALL and ERR: queue; bit 8: no fd */
#define VHOST_USER_VRING_NOFD 0x100u

struct vhost_user_mem_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uaddr;
	uint64_t mmap_offset;
};

#define VHOST_USER_TABLE_REGIONS 8u

struct vhost_user_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct vhost_user_mem_region regions[VHOST_USER_TABLE_REGIONS];
};

/* ADD_MEM_REG, REM_MEM_REG */
struct vhost_user_one_region {
	uint64_t padding;
	struct vhost_user_mem_region region;
};

struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[256];
};

#define VHOST_USER_CONFIG_HEADER 12u

struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
	uint32_t padding;
};

#define VHOST_USER_SHMEM_REGIONS 256u

/* Reply to GET_SHMEM_CONFIG; region 0 is the DAX window. */
struct vhost_user_shmem_config {
	uint32_t n_regions;
	uint32_t padding;
	uint64_t sizes[VHOST_USER_SHMEM_REGIONS];
};

#define VHOST_USER_MMAP_F_RW UINT64_C(1)

/* SHMEM_MAP (one descriptor) and SHMEM_UNMAP (none). */
struct vhost_user_mmap {
	uint8_t shmid;
	uint8_t padding[7];
	uint64_t fd_offset;
	uint64_t shm_offset;
	uint64_t len;
	uint64_t flags;
};

/* SHARED_OBJECT_REMOVE */
struct vhost_user_shared_object {
	uint8_t uuid[16];
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "protocol text");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "protocol text");
_Static_assert(sizeof(struct vhost_user_mem_table) == 8 + 8 * 32, "text");
_Static_assert(sizeof(struct vhost_user_one_region) == 40, "protocol text");
_Static_assert(sizeof(struct vhost_user_mmap) == 40, "protocol text");
_Static_assert(sizeof(struct vhost_user_shmem_config) == 2056, "text");

/*
 * One message in memory. On the wire the payload follows the header at once;
 * here it is aligned, so the two parts are sent and received separately.
 */
struct vhost_user_msg {
	struct vhost_user_header hdr;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table mem;
		struct vhost_user_one_region region;
		struct vhost_user_config config;
		struct vhost_user_inflight inflight;
		struct vhost_user_shmem_config shmem;
		struct vhost_user_mmap mmap;
		struct vhost_user_shared_object object;
		uint8_t raw[VHOST_USER_MAX_PAYLOAD];
	} u;
};

/* Device configuration of virtio-fs (virtio 1.2, 5.11.4). */
struct virtio_fs_config {
	uint8_t tag[36]; /* UTF-8, NUL padded, not terminated when full */
	uint32_t num_request_queues;
	uint32_t notify_buf_size;
};

_Static_assert(sizeof(struct virtio_fs_config) == 44, "virtio 5.11.4");

/* "GET_FEATURES" and so on; "unknown" for numbers not listed above. */
const char *vhost_user_request_name(uint32_t request);
const char *vhost_user_backend_request_name(uint32_t request);

#endif
