/* Compiled with _GNU_SOURCE, for sync_file_range(); with it strerror_r() would be another one in
 * file.c. */
#include <fcntl.h>

#include "common/base/file.h"

void fed_file_sync_early(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}
