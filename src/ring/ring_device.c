/* SPDX-License-Identifier: BSD-2-Clause */
#include "ring/ring_device.h"
