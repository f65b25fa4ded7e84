/* SPDX-License-Identifier: BSD-2-Clause */
#include "embed/embed.h"
