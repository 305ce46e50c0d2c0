/* Softmax and cross-entropy, the same bits on every processor.
 *
 * libm's exp() and log() pick their code by the processor, so that two machines may differ in the
 * last bit; these use IEEE operations alone. The error is below 1e-15, the results are rounded to
 * float32 once.
 *
 * Pure; any thread.
 */
#ifndef CLIENT_TRAIN_CNN_SOFTMAX_H
#define CLIENT_TRAIN_CNN_SOFTMAX_H

#include <stddef.h>
#include <stdint.h>

/* Mean cross-entropy of n images, and its gradient.
 *
 * logits       (n, 10) f32
 * labels       (n,) 0..9
 * ret_gradient (n, 10) f32, d loss / d logits
 */
float softmax_cross_entropy(const float *logits,
                            const uint8_t *labels,
                            size_t n,
                            float *ret_gradient);

#endif /* CLIENT_TRAIN_CNN_SOFTMAX_H */
