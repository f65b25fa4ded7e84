/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire/fuse.h"
