/* The network in double precision, straight from its definition and in the parameters' own order:
 * nothing shared with the kernels, so that no mistake is shared either. */
#ifndef TESTS_UNIT_CLIENT_TRAIN_CNN_REFERENCE_H
#define TESTS_UNIT_CLIENT_TRAIN_CNN_REFERENCE_H

#include <stdint.h>

/* Forward and backward of one image.
 *
 * params     (1663370,) f32
 * image      (784,) f32
 * grad       (1663370,) f64: the gradient of this image's cross-entropy is added
 * ret_logits (10,) f64
 *
 * Returns the cross-entropy. */
double reference_add(const float *params,
                     const float *image,
                     uint8_t label,
                     double *grad,
                     double ret_logits[10]);

#endif /* TESTS_UNIT_CLIENT_TRAIN_CNN_REFERENCE_H */
