/* SPDX-License-Identifier: MIT */
/* The counter of those who look at stages; see base/stage.h. */
#include "base/stage.h"

WR_PROBE_DEFINE(stage);
