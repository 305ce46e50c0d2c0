#include "reducer/preflight.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>

#include "reducer/blob/blob.h"
#include "reducer/checkup.h"
#include "reducer/opening.h"
#include "reducer/space.h"
#include "reducer/store/store.h"

enum preflight preflight_take(int *io_argc, char **argv)
{
    enum preflight how = PREFLIGHT_NONE;
    int n = 1;

    for (int i = 1; i < *io_argc; i++) {
        if (strcmp(argv[i], "--check") == 0) {
            how = PREFLIGHT_TEXT;
        } else if (strcmp(argv[i], "--check=json") == 0) {
            how = PREFLIGHT_JSON;
        } else {
            argv[n++] = argv[i];
        }
    }
    argv[n] = NULL;
    *io_argc = n;
    return how;
}

/* Could this process listen there? 0 or errno. */
static int try_port(const struct addrinfo *address)
{
    const int one = 1;
    const int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0);
    int failure = 0;

    if (fd < 0) {
        return errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0) {
        failure = errno;
    }
    (void)close(fd);
    return failure;
}

static void check_port(json_t *findings, const char *name, const char *text)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[256];
    char service[8];
    char why[128] = "";
    uint16_t port = 0;
    int failure;

    if (!fed_address_parse(text, host, sizeof(host), &port)) {
        checkup_add(findings, name, "failed", "HOST:PORT is wanted", "'%s' is no address", text);
        return;
    }
    (void)snprintf(service, sizeof(service), "%u", port);
    failure = getaddrinfo(host, service, &wanted, &found);
    if (failure != 0) {
        checkup_add(findings, name, "failed", "name an address of this machine, or 0.0.0.0",
                    "%s: %s", text, gai_strerror(failure));
        return;
    }
    failure = try_port(found);
    freeaddrinfo(found);
    if (failure == 0) {
        checkup_add(findings, name, "ok", "", "%s can be listened on", text);
        return;
    }
    checkup_add(findings, name, "failed",
                failure == EADDRINUSE ? "another process has the port: stop it, or take another"
                                      : "name an address of this machine, or 0.0.0.0",
                "%s: %s", text, strerror_r(failure, why, sizeof(why)) == 0 ? why : "cannot listen");
}

static void check_stores(json_t *findings, const struct settings *settings)
{
    struct blob_store *blobs = NULL;
    struct store *store = NULL;
    struct fed_err err = {0};

    if (opening_store(settings, &store, &err) < 0) {
        checkup_failure(findings, "store", &err);
    } else {
        checkup_store(findings, store);
    }
    if (opening_blobs(settings, &blobs, &err) < 0) {
        checkup_failure(findings, "blobs", &err);
    } else {
        checkup_blobs(findings, blobs);
    }
    (void)store_close(store);
    (void)blob_close(blobs);
}

static void check_space(json_t *findings, const struct settings *settings)
{
    char work[FED_PATH_SIZE];
    char place[FED_PATH_SIZE];
    struct space space;
    struct fed_err err = {0};

    if (space_find_work(settings, work, place, &err) < 0) {
        checkup_failure(findings, "disk", &err);
        return;
    }
    space_init(&space, settings, place);
    checkup_space(findings, &space);
}

static int report(const json_t *findings, enum preflight how, FILE *out)
{
    int status = FED_EXIT_OK;
    const json_t *finding;
    size_t i;

    if (how == PREFLIGHT_JSON) {
        (void)json_dumpf(findings, out, JSON_COMPACT);
        (void)fputc('\n', out);
    }
    json_array_foreach(findings, i, finding)
    {
        const char *kind = json_string_value(json_object_get(finding, "status"));
        const char *advice = json_string_value(json_object_get(finding, "advice"));
        if (strcmp(kind, "failed") == 0) {
            status = FED_EXIT_FAILED;
        }
        if (how == PREFLIGHT_TEXT) {
            (void)fprintf(out, "%-8s %-9s %s%s%s\n", kind,
                          json_string_value(json_object_get(finding, "name")),
                          json_string_value(json_object_get(finding, "text")),
                          advice[0] == '\0' ? "" : "  ->  ", advice);
        }
    }
    return status;
}

int preflight_run(const struct settings *settings, enum preflight how, FILE *out)
{
    json_t *findings = json_array();
    int status;

    check_stores(findings, settings);
    check_space(findings, settings);
    checkup_clock(findings);
    check_port(findings, "http", settings->http);
    check_port(findings, "rpc", settings->rpc);
    status = report(findings, how, out);
    json_decref(findings);
    return status;
}
