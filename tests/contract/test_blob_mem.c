#include <stdio.h>

#include "tests/contract/blob_contract.h"

static void url(const struct test_folder *folder, char ret_url[FED_PATH_SIZE])
{
    (void)folder;
    (void)snprintf(ret_url, FED_PATH_SIZE, "mem:");
}

int main(void)
{
    return blob_contract_run("mem", url, NULL);
}
