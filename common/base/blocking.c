#include "common/base/blocking.h"

static _Thread_local bool is_forbidden;

void fed_blocking_allow(bool is_allowed)
{
    is_forbidden = !is_allowed;
}

bool fed_blocking_is_allowed(void)
{
    return !is_forbidden;
}
