/* SPDX-License-Identifier: BSD-2-Clause */
#include <oriel/oriel.h>
