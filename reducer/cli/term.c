#include "reducer/cli/term.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/conf/conf.h"

static const char *environment(const char *name)
{
    const char *value = fed_env_get(name);

    return value == NULL ? "" : value;
}

static bool is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = environment(names[i]);
        if (value[0] != '\0') {
            return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL;
        }
    }
    return false;
}

void term_init(struct term *term, FILE *file)
{
    struct winsize size = {0};

    *term = (struct term){.file = file, .has_utf8 = is_utf8()};
    term->is_terminal = isatty(fileno(file)) == 1;
    if (term->is_terminal) {
        term->has_colour =
            environment("NO_COLOR")[0] == '\0' && strcmp(environment("TERM"), "dumb") != 0;
        term->columns =
            ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    }
}

void term_write(const struct term *term, const struct fed_buf *text)
{
    (void)fwrite(text->data, 1, text->size, term->file);
    (void)fflush(term->file);
}
