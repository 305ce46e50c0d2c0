/* Model files for tests. */
#ifndef TESTS_LIB_MODEL_H
#define TESTS_LIB_MODEL_H

#include <stddef.h>

#include "common/model/layout.h"

/* Write the tensors to the file, from what is there before nothing stays; tensor i has the
 * n_elements values from values[tensors[i].offset] on. */
void test_model_write(const char *path,
                      const double *values,
                      const struct fed_tensor *tensors,
                      size_t n_tensors);

#endif /* TESTS_LIB_MODEL_H */
