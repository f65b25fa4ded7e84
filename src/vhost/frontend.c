/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/frontend.h"
