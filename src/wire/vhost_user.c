/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of vhost-user messages, for log lines and error sentences. A number
 * that is not in the table belongs to a device or a mechanism Oriel has
 * nothing to do with; it is printed as a number by the caller. No state.
 */
#include "wire/vhost_user.h"

#define NAME(n) [VHOST_USER_##n] = #n

static const char *const request_names[] = {
	NAME(GET_FEATURES),
	NAME(SET_FEATURES),
	NAME(SET_OWNER),
	NAME(RESET_OWNER),
	NAME(SET_MEM_TABLE),
	NAME(SET_LOG_BASE),
	NAME(SET_LOG_FD),
	NAME(SET_VRING_NUM),
	NAME(SET_VRING_ADDR),
	NAME(SET_VRING_BASE),
	NAME(GET_VRING_BASE),
	NAME(SET_VRING_KICK),
	NAME(SET_VRING_CALL),
	NAME(SET_VRING_ERR),
	NAME(GET_PROTOCOL_FEATURES),
	NAME(SET_PROTOCOL_FEATURES),
	NAME(GET_QUEUE_NUM),
	NAME(SET_VRING_ENABLE),
	NAME(SET_BACKEND_REQ_FD),
	NAME(GET_CONFIG),
	NAME(SET_CONFIG),
	NAME(GET_INFLIGHT_FD),
	NAME(SET_INFLIGHT_FD),
	NAME(RESET_DEVICE),
	NAME(GET_MAX_MEM_SLOTS),
	NAME(ADD_MEM_REG),
	NAME(REM_MEM_REG),
	NAME(SET_STATUS),
	NAME(GET_STATUS),
	NAME(GET_SHMEM_CONFIG),
};

#undef NAME
#define NAME(n) [VHOST_USER_BACKEND_##n] = #n

static const char *const backend_request_names[] = {
	NAME(CONFIG_CHANGE_MSG),
	NAME(SHARED_OBJECT_REMOVE),
	NAME(SHMEM_MAP),
	NAME(SHMEM_UNMAP),
};

static const char *look_up(const char *const *names, size_t n, uint32_t i)
{
	return i < n && names[i] ? names[i] : "unknown";
}

const char *vhost_user_request_name(uint32_t request)
{
	return look_up(request_names, ARRAY_LEN(request_names), request);
}

const char *vhost_user_backend_request_name(uint32_t request)
{
	return look_up(backend_request_names,
		       ARRAY_LEN(backend_request_names), request);
}
