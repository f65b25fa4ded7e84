/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/epoch.h"
