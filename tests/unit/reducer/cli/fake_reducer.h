/* A reducer that answers what it was told to, for the tests of its clients: each (method, path with
 * query) has a list of answers, the last of which is repeated; everything asked is written down. */
#ifndef TESTS_UNIT_REDUCER_CLI_FAKE_REDUCER_H
#define TESTS_UNIT_REDUCER_CLI_FAKE_REDUCER_H

#define FAKE_URL_SIZE 64

struct fake_reducer;

/* Serves on a free port of the loopback interface; *ret_url is its address. */
struct fake_reducer *fake_reducer_new(char ret_url[FAKE_URL_SIZE]);
void fake_reducer_free(struct fake_reducer *fake);

/* The next answer to a request: "GET /api/v1/models/". Status 0: no answer at all, this process
 * gets SIGINT instead (main() must have blocked it). */
void fake_reducer_answer(struct fake_reducer *fake,
                         const char *request,
                         unsigned status,
                         const char *body);

/* What was asked since the last call: "METHOD path [limit=N] [skip=N] [sort=K] [asc] body\n".
 * Valid until the next call. */
const char *fake_reducer_take_log(struct fake_reducer *fake);

#endif /* TESTS_UNIT_REDUCER_CLI_FAKE_REDUCER_H */
