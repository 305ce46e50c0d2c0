/* Between dashboard.c and the table that embed.cmake writes into the build folder. */
#ifndef REDUCER_DASHBOARD_DASHBOARD_INSIDE_H
#define REDUCER_DASHBOARD_DASHBOARD_INSIDE_H

#include <stddef.h>

#include "reducer/dashboard/dashboard.h"

extern const struct dashboard_file dashboard_files[];
extern const size_t dashboard_n_files;
extern const char dashboard_build_text[];

#endif /* REDUCER_DASHBOARD_DASHBOARD_INSIDE_H */
