/* Programs of ours that lie beside this one. */
#ifndef REDUCER_CLI_PROGRAM_H
#define REDUCER_CLI_PROGRAM_H

#include "common/base/file.h"
#include "reducer/cli/child.h"

/* The path of this program. Fails with FED_E_IO. */
FED_NODISCARD int program_self(char ret_path[FED_PATH_SIZE], struct fed_err *err);

/* Begin `words` with the path of a program beside this one; a name with a '/' in it is a path
 * already. Fails with FED_E_IO or FED_E_LIMIT, and adds nothing then. */
FED_NODISCARD int program_words(struct child_words *words, const char *name, struct fed_err *err);

/* Become it: this process runs `words` (the first is its path) from now on, and its exit status is
 * ours. Returns only when that fails: FED_E_IO, FED_E_NOMEM. */
int program_become(const struct child_words *words, struct fed_err *err);

#endif /* REDUCER_CLI_PROGRAM_H */
