/* For interfaces that want a pointer to something they only read, and forgot the const. */
#ifndef FED_COMMON_BASE_UNCONST_H
#define FED_COMMON_BASE_UNCONST_H

/* The same pointer, without const: for munmap(), argv, protobuf-c's texts and the like. What is
 * behind it must not be written, except where the caller knows it to be writable. */
static inline void *fed_unconst(const volatile void *pointer)
{
    const union {
        const volatile void *in;
        void *out;
    } view = {.in = pointer};

    return view.out;
}

#endif /* FED_COMMON_BASE_UNCONST_H */
