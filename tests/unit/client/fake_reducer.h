/* A reducer that is none: one connection after the other, each given the next canned answer. After
 * the last one, connections are taken and never answered.
 *
 * Thread safety: the test's thread calls everything here.
 */
#ifndef TESTS_UNIT_CLIENT_FAKE_REDUCER_H
#define TESTS_UNIT_CLIENT_FAKE_REDUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_REQUEST_SIZE 4096

struct fake_reducer;

/* `answers` end with NULL and are borrowed; they are read when they are given. "": the connection
 * is closed without an answer. */
struct fake_reducer *fake_reducer_new(const char *const *answers);
struct fake_reducer *fake_reducer_free(struct fake_reducer *reducer);

uint16_t fake_reducer_port(const struct fake_reducer *reducer);
bool fake_reducer_wait(struct fake_reducer *reducer, unsigned n_requests); /* false: not in 20 s */
void fake_reducer_last_request(struct fake_reducer *reducer, char ret_text[FAKE_REQUEST_SIZE]);

/* FEDn's answer that assigns 127.0.0.1:port. */
void fake_reducer_format_assigned(char *ret_text, size_t text_size, uint16_t port);

#endif /* TESTS_UNIT_CLIENT_FAKE_REDUCER_H */
