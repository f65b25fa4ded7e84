/* SPDX-License-Identifier: BSD-2-Clause */
#include "ring/mem_map.h"
