#include "reducer/cli/program.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int program_self(char ret_path[FED_PATH_SIZE], struct fed_err *err)
{
    const ssize_t n = readlink("/proc/self/exe", ret_path, FED_PATH_SIZE - 1);

    if (n <= 0) {
        return fed_file_error(err, "read", "/proc/self/exe");
    }
    ret_path[n] = '\0';
    return 0;
}

/* The path of a program beside this one; a name with a '/' in it is a path already. */
static int find_program(const char *name, char ret_path[FED_PATH_SIZE], struct fed_err *err)
{
    char self[FED_PATH_SIZE];
    int rc;

    if (strchr(name, '/') != NULL) {
        return fed_path_format(ret_path, err, "%s", name);
    }
    rc = program_self(self, err);
    if (rc < 0) {
        return rc;
    }
    *strrchr(self, '/') = '\0';
    return fed_path_format(ret_path, err, "%s/%s", self, name);
}

int program_words(struct child_words *words, const char *name, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    const int rc = find_program(name, path, err);

    if (rc == 0) {
        child_words_add(words, "%s", path);
    }
    return rc;
}

int program_become(const struct child_words *words, struct fed_err *err)
{
    if (words->is_short || words->n == 0) {
        return fed_err_set(err, FED_E_NOMEM, "arguments");
    }
    (void)fflush(NULL);
    (void)execv(words->items[0], words->items);
    return fed_file_error(err, "start", words->items[0]);
}
