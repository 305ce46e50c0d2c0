/* Failures, with context.
 *
 * A fallible function returns int:
 *   < 0  failure: a negated enum fed_code. *err says what happened. The caller adds context with
 *        fed_err_wrap() and forwards it; only the edges (REST, gRPC, retry) look at the code.
 *     0  done.
 *   > 0  a documented outcome of that one function (STORE_NOT_FOUND, ROUND_LATE, ...). The caller
 *        must handle it and must never forward it.
 *
 * Thread safety: a struct fed_err belongs to one thread at a time. No global or thread-local state.
 */
#ifndef FED_COMMON_BASE_ERR_H
#define FED_COMMON_BASE_ERR_H

#include <stdbool.h>

#define FED_ERR_MSG_SIZE 256 /* bytes, with the NUL; longer messages are cut at the end */

#define FED_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define FED_NODISCARD         __attribute__((warn_unused_result))

enum fed_code {
    FED_OK = 0,
#define FED_CODE(name, text, http, grpc, transient) FED_E_##name,
#include "common/base/err_codes.def"
#undef FED_CODE
    FED_CODE_MAX,
};

struct fed_err {
    enum fed_code code; /* FED_OK when unset */
    int sys_errno;      /* errno of the failed system call, or 0 */
    char msg[FED_ERR_MSG_SIZE];
};

/* Fill *err (which may be NULL) and return -code, so that a failure is one line:
 *     return fed_err_set(err, FED_E_CORRUPT, "header wants %u tensors, file has %u", want, have);
 */
FED_NODISCARD FED_PRINTF(3, 4) int fed_err_set(struct fed_err *err,
                                               enum fed_code code,
                                               const char *fmt,
                                               ...);

/* Put context in front of the message ("load model m-17: ") and return rc unchanged. */
FED_NODISCARD FED_PRINTF(3, 4) int fed_err_wrap(struct fed_err *err, int rc, const char *fmt, ...);

#ifdef __clang_analyzer__ /* it does not see into them: the result is the negative code */
/* NOLINTBEGIN(readability-identifier-naming): the names of what they stand for */
#    define fed_err_set(err, code, ...) ((void)fed_err_set(err, code, __VA_ARGS__), -(int)(code))
#    define fed_err_wrap(err, rc, ...)  ((void)fed_err_wrap(err, rc, __VA_ARGS__), (rc))
/* NOLINTEND(readability-identifier-naming) */
#endif

const char *fed_code_text(enum fed_code code);
int fed_code_http(enum fed_code code);
int fed_code_grpc(enum fed_code code);
bool fed_code_is_transient(enum fed_code code);

#endif /* FED_COMMON_BASE_ERR_H */
