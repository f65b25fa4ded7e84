/* SPDX-License-Identifier: BSD-2-Clause */
#include "server/server.h"
