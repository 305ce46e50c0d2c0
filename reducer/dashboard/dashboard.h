/* The dashboard's files, built into the program: pages, modules, plot specifications, and the plot
 * library. They never change while the process runs; any thread may read them.
 */
#ifndef REDUCER_DASHBOARD_DASHBOARD_H
#define REDUCER_DASHBOARD_DASHBOARD_H

#include "common/base/view.h"

#define DASHBOARD_PAGE "index.html" /* what every page's address answers */

struct dashboard_file {
    const char *name; /* "app.js", "plots/timeline.json" */
    const char *type; /* content type */
    const char *etag; /* with its quotes; of the content */
    struct fed_view plain;
    struct fed_view gzip; /* the same, packed */
};

/* A file by its name; NULL: there is none. */
const struct dashboard_file *dashboard_find(const char *name);

/* Names the content of all files together: addresses that hold it may be kept for ever. */
const char *dashboard_build(void);

#endif /* REDUCER_DASHBOARD_DASHBOARD_H */
