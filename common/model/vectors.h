/* FED_VECTORS before a function: compiled for AVX-512 and AVX2 besides, and the processor's best
 * one is taken when the program is loaded. The bits are the same: no step is fused or reordered.
 *
 * Not under ThreadSanitizer, whose runtime is not there yet when that choice is made.
 */
#ifndef FED_COMMON_MODEL_VECTORS_H
#define FED_COMMON_MODEL_VECTORS_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#    define FED_VECTORS \
        __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#    define FED_VECTORS
#endif

#endif /* FED_COMMON_MODEL_VECTORS_H */
