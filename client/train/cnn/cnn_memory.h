/* Memory for kernels: aligned, zeroed, on large pages where the system has them. Inside
 * client/train/cnn only. */
#ifndef CLIENT_TRAIN_CNN_CNN_MEMORY_H
#define CLIENT_TRAIN_CNN_CNN_MEMORY_H

#include <stddef.h>

/* Zeroed bytes on a page boundary, from 2 MiB on on a large page's; NULL when there are none left.
 * Free with free(). */
void *cnn_memory_new(size_t size);

#endif /* CLIENT_TRAIN_CNN_CNN_MEMORY_H */
