#include "tests/lib/minio.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/unconst.h"
#include "common/net/http_stream.h"

#define START_MS 60000U
#define LOOK_MS  20 /* between two looks whether it serves */

bool test_minio_find(struct test_minio *minio)
{
    char script[] = TEST_SOURCE_DIR "/scripts/go-part";
    char part[] = "minio";
    char *argv[] = {script, part, NULL};
    struct fed_buf text;
    const int rc = test_program_run(argv, &text);

    *minio = (struct test_minio){0};
    if (rc == 0) {
        const size_t n = strcspn((const char *)text.data, "\n");
        assert_true(n < sizeof(minio->program));
        memcpy(minio->program, text.data, n);
    }
    fed_buf_deinit(&text);
    return rc == 0;
}

const char *test_minio_url(const struct test_minio *minio, char ret_url[64])
{
    (void)snprintf(ret_url, 64, "http%s://127.0.0.1:%u", minio->certs[0] == '\0' ? "" : "s",
                   minio->port);
    return ret_url;
}

static int start(struct test_minio *minio)
{
    char address[32];
    char command[] = "server";
    char quiet[] = "--quiet";
    char flag[] = "--address";
    char certs[] = "--certs-dir";
    char user[] = "MINIO_ROOT_USER=" TEST_MINIO_ACCESS_KEY;
    char password[] = "MINIO_ROOT_PASSWORD=" TEST_MINIO_SECRET_KEY;
    char update[] = "MINIO_UPDATE=off";
    char browser[] = "MINIO_BROWSER=off";
    char domain[] = "MINIO_DOMAIN=localhost";
    char home[FED_PATH_SIZE + 8];
    char *argv[] = {minio->program,
                    command,
                    quiet,
                    flag,
                    address,
                    minio->folder,
                    minio->certs[0] == '\0' ? NULL : certs,
                    minio->certs,
                    NULL};
    char *environment[] = {user, password, update, browser, domain, home, NULL};

    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", minio->port);
    (void)snprintf(home, sizeof(home), "HOME=%s", minio->folder);
    return test_server_start(argv, environment);
}

/* TLS is not looked into: that it takes connections is enough then. */
static bool is_serving(const struct test_minio *minio, struct fed_http_pool *pool)
{
    char url[64];
    char health[128];
    struct fed_http_exchange exchange = {
        .method = "GET", .url = health, .timeout_ms = 2000, .text_max = 1000};
    struct fed_http_answer answer = {0};
    int rc;

    (void)snprintf(health, sizeof(health), "%s/minio/health/ready", test_minio_url(minio, url));
    rc = fed_http_exchange(pool, &exchange, &answer, NULL);
    fed_http_answer_deinit(&answer);
    return rc == -FED_E_DENIED || (rc == 0 && answer.status == 200);
}

void test_minio_start(struct test_minio *minio)
{
    const struct fed_http_pool_config config = {.connect_timeout_ms = 1000, .stall_ms = 2000};
    const uint64_t until_ms = fed_clock_mono_ms() + START_MS;
    struct fed_http_pool *pool = NULL;

    minio->port = minio->port == 0 ? test_port_free() : minio->port;
    minio->pid = start(minio);
    assert_int_equal(fed_http_pool_new(&config, &pool, NULL), 0);
    while (!is_serving(minio, pool)) {
        if (fed_clock_mono_ms() > until_ms) {
            fail_msg("MinIO does not serve");
        }
        (void)poll(NULL, 0, LOOK_MS);
    }
    (void)fed_http_pool_free(pool);
}

void test_minio_kill(struct test_minio *minio)
{
    if (minio->pid != 0) {
        (void)kill(minio->pid, SIGKILL);
        (void)test_child_wait(minio->pid);
        minio->pid = 0;
    }
}
