#include "tests/lib/model.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/model/npz.h"
#include "tests/lib/fixture.h"

void test_model_write(const char *path,
                      const double *values,
                      const struct fed_tensor *tensors,
                      size_t n_tensors)
{
    struct fed_npz_writer *writer = NULL;
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fed_npz_writer_new(fd, &writer, NULL), 0);
    for (size_t i = 0; i < n_tensors; i++) {
        assert_int_equal(fed_npz_writer_begin(writer, &tensors[i], NULL), 0);
        assert_int_equal(fed_npz_writer_add(writer, values + tensors[i].offset,
                                            (size_t)tensors[i].n_elements, NULL),
                         0);
    }
    assert_int_equal(fed_npz_writer_finish(writer, NULL), 0);
    (void)fed_npz_writer_free(writer);
    (void)close(fd);
}
