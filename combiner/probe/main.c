/* Is a daemon well? For health checks in containers, where there is no shell.
 *
 *   confed-probe HOST:PORT     its gRPC health service says SERVING (combiner, reducer)
 *   confed-probe FILE          its ready file is there, and the process it names is alive (client)
 *
 * Exit status: 0 well, 1 not, 2 usage.
 */
#include <stdio.h>

#include "combiner/probe/probe.h"
#include "common/conf/conf.h"

int main(int argc, char **argv)
{
    struct fed_err err = {0};
    char host[256];
    uint16_t port = 0;
    bool is_well;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: confed-probe HOST:PORT|FILE\n");
        return FED_EXIT_USAGE;
    }
    is_well = fed_address_parse(argv[1], host, sizeof(host), &port) ? probe_port(argv[1], &err)
                                                                    : probe_file(argv[1], &err);
    if (!is_well) {
        (void)fprintf(stderr, "confed-probe: %s: %s\n", argv[1],
                      err.code == FED_OK ? "not well" : err.msg);
    }
    return is_well ? FED_EXIT_OK : FED_EXIT_FAILED;
}
