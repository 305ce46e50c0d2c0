#include "reducer/dashboard/dashboard.h"

#include <stddef.h>
#include <string.h>

#include "reducer/dashboard/dashboard_inside.h"

const struct dashboard_file *dashboard_find(const char *name)
{
    for (size_t i = 0; i < dashboard_n_files; i++) {
        if (strcmp(dashboard_files[i].name, name) == 0) {
            return &dashboard_files[i];
        }
    }
    return NULL;
}

const char *dashboard_build(void)
{
    return dashboard_build_text;
}
