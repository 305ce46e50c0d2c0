/* A plan file as a combiner of protocol 1 has left it. */
#ifndef TESTS_UNIT_COMBINER_OLD_PLAN_H
#define TESTS_UNIT_COMBINER_OLD_PLAN_H

#include <stdint.h>

#include "common/link/link.h"

/* Take the base's XXH3 out of the plan file, which has it. */
void old_plan_make(const char *path, const uint8_t base_xxh128[FED_XXH128_SIZE]);

#endif /* TESTS_UNIT_COMBINER_OLD_PLAN_H */
