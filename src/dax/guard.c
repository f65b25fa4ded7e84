/* SPDX-License-Identifier: BSD-2-Clause */
#include "dax/guard.h"
