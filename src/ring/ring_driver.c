/* SPDX-License-Identifier: BSD-2-Clause */
#include "ring/ring_driver.h"
