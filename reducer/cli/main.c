/* confed: the admin's command line, a client of the reducer's REST API. */
#include "reducer/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_run(argc, argv, stdout, stderr);
}
