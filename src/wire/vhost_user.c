/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire/vhost_user.h"
