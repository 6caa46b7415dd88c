#include "policy/policy_ops.h"
const struct wr_policy_ops wr_policy_auto = {.name = "auto"};
