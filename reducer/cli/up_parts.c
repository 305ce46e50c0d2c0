/* The parts of a federation on this machine: folders, sockets, arguments. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "reducer/cli/row.h"
#include "reducer/cli/up_inside.h"

#define HTTP_PORT  8092
#define BACKLOG    1024
#define READY_MAX  65536U
#define TAIL_LINES 4U
#define TAIL_BYTES 4096

/* Everything below DIR that is ours. */
static const char *const folders[] = {"reducer", "combiners", "clients", "logs", "run"};

/* -- folders ----------------------------------------------------------------------------------- */

static int remove_tree(const char *path, struct fed_err *err)
{
    char root[FED_PATH_SIZE];
    char *roots[] = {root, NULL};
    FTS *tree;
    int rc = 0;

    (void)snprintf(root, sizeof(root), "%s", path);
    tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (tree == NULL) {
        return fed_file_error(err, "open", path);
    }
    for (FTSENT *entry = fts_read(tree); entry != NULL && rc == 0; entry = fts_read(tree)) {
        if (entry->fts_info != FTS_D && entry->fts_info != FTS_NS &&
            remove(entry->fts_accpath) != 0 && errno != ENOENT) {
            rc = fed_file_error(err, "remove", entry->fts_path);
        }
    }
    (void)fts_close(tree);
    return rc;
}

static bool is_empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    if (dir == NULL) {
        return false;
    }
    while (readdir(dir) != NULL) { /* NOLINT(concurrency-mt-unsafe): one thread, own stream */
        n++;
    }
    (void)closedir(dir);
    return n <= 2; /* "." and ".." */
}

static int take_lock(struct up *up, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    struct stat st;
    int rc = fed_path_format(path, err, "%s/lock", up->dir);

    if (rc < 0) {
        return rc;
    }
    if (stat(path, &st) != 0 && !is_empty_folder(up->dir)) {
        return fed_err_set(err, FED_E_INVALID,
                           "%.150s holds something else: give --dir a new or an empty folder",
                           up->dir);
    }
    up->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (up->lock_fd < 0) {
        return fed_file_error(err, "open", path);
    }
    if (flock(up->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return fed_err_set(err, FED_E_CONFLICT,
                           "another `confed up` works in %.150s: stop that, or give another --dir",
                           up->dir);
    }
    return 0;
}

int up_open_dir(struct up *up, struct fed_err *err)
{
    char resolved[PATH_MAX];
    char path[FED_PATH_SIZE];
    int rc = fed_folder_make(up->settings->dir, err);

    if (rc < 0) {
        return rc;
    }
    if (realpath(up->settings->dir, resolved) == NULL) {
        return fed_file_error(err, "find", up->settings->dir);
    }
    rc = fed_path_format(up->dir, err, "%s", resolved);
    rc = rc < 0 ? rc : take_lock(up, err);
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && rc == 0; i++) {
        rc = fed_path_format(path, err, "%s/%s", up->dir, folders[i]);
        if (rc == 0 && (up->settings->is_fresh || strcmp(folders[i], "run") == 0)) {
            rc = remove_tree(path, err);
        }
        rc = rc < 0 ? rc : fed_folder_make(path, err);
    }
    rc = rc < 0 ? rc : fed_path_format(path, err, "%s/reducer/blobs", up->dir);
    return rc < 0 ? rc : fed_folder_make(path, err);
}

/* -- sockets ----------------------------------------------------------------------------------- */

/* A listening socket of the loopback interface. Returns the descriptor, or -1 with errno. */
static int listen_on(uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof(address);
    const int one = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)(const void *)&address, size) != 0 ||
        listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&address, &size) != 0) {
        const int failure = errno;
        (void)close(fd);
        errno = failure;
        return -1;
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

void up_choose_http(struct up *up)
{
    uint16_t port = 0;
    const int fd = listen_on(HTTP_PORT, &port);

    (void)snprintf(up->http, sizeof(up->http), "127.0.0.1:%d", fd >= 0 ? HTTP_PORT : 0);
    up->is_http_ours = true;
    if (fd >= 0) {
        (void)close(fd);
    }
}

static int open_listener(struct up *up, struct up_part *part, struct fed_err *err)
{
    const uint64_t wanted =
        up->settings->client_port == 0 ? 0 : up->settings->client_port + part->index;
    uint16_t port = 0;
    char text[32];

    if (wanted > 65535) {
        return fed_err_set(err, FED_E_INVALID, "--client-port leaves no port for %s",
                           part->child.name);
    }
    part->child.keep_fd = listen_on((uint16_t)wanted, &port);
    if (part->child.keep_fd < 0) {
        (void)snprintf(text, sizeof(text), "127.0.0.1:%llu", (unsigned long long)wanted);
        return fed_file_error(err, "listen on", text);
    }
    (void)snprintf(part->address, sizeof(part->address), "127.0.0.1:%u", port);
    return 0;
}

/* -- parts ------------------------------------------------------------------------------------- */

static int init_part(struct up *up,
                     struct up_part *part,
                     enum up_role role,
                     uint64_t index,
                     struct fed_err *err)
{
    static const char *const names[] = {"reducer", "combiner", "client", "session"};
    const bool is_counted = role == UP_COMBINER || role == UP_CLIENT;
    struct child *child = &part->child;
    int rc;

    *part = (struct up_part){.role = role, .index = index, .child = {.keep_fd = -1}};
    (void)snprintf(child->name, sizeof(child->name), is_counted ? "%s-%llu" : "%s", names[role],
                   (unsigned long long)index + 1);
    rc = fed_path_format(child->log_path, err, "%s/logs/%s.log", up->dir, child->name);
    if (role == UP_SESSION) {
        child->has_own_output = true;
        if (rc == 0 && up->settings->is_json) {
            rc = fed_path_format(child->out_path, err, "%s/run/session.out", up->dir);
        }
        return rc;
    }
    rc = rc < 0 ? rc
                : fed_path_format(child->ready_path, err, "%s/run/%s.json", up->dir, child->name);
    if (rc == 0 && role == UP_COMBINER) {
        rc = open_listener(up, part, err);
    }
    return rc;
}

int up_make_parts(struct up *up, struct fed_err *err)
{
    const struct up_settings *settings = up->settings;
    const uint64_t counts[UP_ROLE_MAX] = {1, settings->n_combiners, settings->n_clients,
                                          settings->n_rounds > 0 ? 1 : 0};

    up->parts = calloc(1 + UP_COMBINERS_MAX + UP_CLIENTS_MAX + 1, sizeof(*up->parts));
    if (up->parts == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "parts");
    }
    for (enum up_role role = UP_REDUCER; role < UP_ROLE_MAX; role++) {
        for (uint64_t i = 0; i < counts[role]; i++) {
            const int rc = init_part(up, &up->parts[up->n_parts++], role, i, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

void up_free_parts(struct up *up)
{
    for (size_t i = 0; i < up->n_parts; i++) {
        if (up->parts[i].child.keep_fd >= 0) {
            (void)close(up->parts[i].child.keep_fd);
        }
    }
    free(up->parts);
    up->parts = NULL;
    up->n_parts = 0;
}

/* -- arguments --------------------------------------------------------------------------------- */

static void add(struct child_words *words, const char *flag, const char *value)
{
    if (value[0] != '\0') {
        child_words_add(words, "%s", flag);
        child_words_add(words, "%s", value);
    }
}

static void add_number(struct child_words *words, const char *flag, uint64_t value)
{
    if (value > 0) {
        child_words_add(words, "%s", flag);
        child_words_add(words, "%llu", (unsigned long long)value);
    }
}

static void make_reducer(const struct up *up, struct child_words *words)
{
    add(words, "--http", up->http);
    add(words, "--rpc", up->rpc);
    child_words_add(words, "--store");
    child_words_add(words, "sqlite:%s/reducer/confed.db", up->dir);
    child_words_add(words, "--blob");
    child_words_add(words, "dir:%s/reducer/blobs", up->dir);
}

static void
make_combiner(const struct up *up, const struct up_part *part, struct child_words *words)
{
    add(words, "--name", part->child.name);
    add(words, "--reducer", up->rpc);
    child_words_add(words, "--listen");
    child_words_add(words, "fd:%d", part->child.keep_fd);
    add(words, "--advertise", part->address);
    child_words_add(words, "--spool");
    child_words_add(words, "%s/combiners/%s", up->dir, part->child.name);
}

static void make_client(const struct up *up, const struct up_part *part, struct child_words *words)
{
    const struct up_settings *settings = up->settings;

    child_words_add(words, "--api-url");
    child_words_add(words, "http://%s", up->http);
    add(words, "--id", part->child.name);
    add(words, "--name", part->child.name);
    child_words_add(words, "--state");
    child_words_add(words, "%s/clients/%s", up->dir, part->child.name);
    add(words, "--trainer", settings->trainer);
    add(words, "--kernel", settings->kernel);
    add(words, "--data", settings->data);
    child_words_add(words, "--shard");
    child_words_add(words, "%llu/%llu", (unsigned long long)part->index,
                    (unsigned long long)settings->n_clients);
    add(words, "--partition", settings->partition);
    child_words_add(words, "--seed");
    child_words_add(words, "%llu", (unsigned long long)settings->seed);
    add_number(words, "--epochs", settings->epochs);
    add_number(words, "--batch", settings->batch);
    if (settings->lr > 0) {
        child_words_add(words, "--lr");
        child_words_add(words, "%.17g", settings->lr);
    }
}

static void make_session(const struct up *up, struct child_words *words)
{
    const struct up_settings *settings = up->settings;

    child_words_add(words, "session");
    child_words_add(words, "start");
    child_words_add(words, "--api-url");
    child_words_add(words, "http://%s", up->http);
    add(words, "--model", settings->model);
    add_number(words, "--rounds", settings->n_rounds);
    add_number(words, "--clients-required", settings->n_clients);
    add_number(words, "--clients-wait", settings->start_limit_ms);
    add_number(words, "--round-timeout", settings->round_timeout_ms);
    child_words_add(words, "--seed");
    child_words_add(words, "%llu", (unsigned long long)settings->seed);
    child_words_add(words, "--wait");
    if (settings->is_json) {
        child_words_add(words, "--json");
    }
}

void up_make_words(const struct up *up, const struct up_part *part, struct child_words *words)
{
    static const char *const programs[] = {"confed-reducer", "confed-combiner", "confed-client"};

    if (part->role == UP_SESSION) {
        child_words_add(words, "%s", up->self);
        make_session(up, words);
        return;
    }
    child_words_add(words, "%s/%s", up->programs, programs[part->role]);
    if (part->role == UP_REDUCER) {
        make_reducer(up, words);
    } else if (part->role == UP_COMBINER) {
        make_combiner(up, part, words);
    } else {
        make_client(up, part, words);
    }
    add(words, "--ready-file", part->child.ready_path);
}

/* -- files ------------------------------------------------------------------------------------- */

int up_load_addresses(struct up *up, const struct up_part *reducer, struct fed_err *err)
{
    struct fed_buf buf;
    json_t *json;
    int rc = fed_file_load(reducer->child.ready_path, READY_MAX, &buf, err);

    if (rc < 0) {
        return rc;
    }
    json = json_loadb((const char *)buf.data, buf.size, 0, NULL);
    fed_buf_deinit(&buf);
    if (row_text(json, "http")[0] == '\0' || row_text(json, "rpc")[0] == '\0') {
        rc = fed_err_set(err, FED_E_CORRUPT, "the reducer's ready file names no addresses");
    } else { /* kept over its restarts: the others know them */
        (void)snprintf(up->http, sizeof(up->http), "%s", row_text(json, "http"));
        (void)snprintf(up->rpc, sizeof(up->rpc), "%s", row_text(json, "rpc"));
        up->is_http_ours = false;
    }
    json_decref(json);
    return rc;
}

/* Print the last lines of a text that are no "info". */
static void print_lines(const struct up *up, char *text)
{
    const char *kept[TAIL_LINES] = {NULL};
    size_t n = 0;
    char *rest = NULL;

    for (const char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, " info ") == NULL && strstr(line, "\"info\"") == NULL) {
            kept[n++ % TAIL_LINES] = line;
        }
    }
    for (size_t i = n > TAIL_LINES ? n - TAIL_LINES : 0; i < n; i++) {
        (void)fprintf(up->term->file, "  %s\n", kept[i % TAIL_LINES]);
    }
}

void up_print_tail(const struct up *up, const struct child *child)
{
    char text[TAIL_BYTES + 1];
    const int fd = open(child->log_path, O_RDONLY | O_CLOEXEC);
    off_t from = (off_t)child->log_from;
    struct stat st;
    ssize_t n = 0;

    if (fd < 0) {
        return;
    }
    if (fstat(fd, &st) == 0) {
        from = st.st_size - from > TAIL_BYTES ? st.st_size - TAIL_BYTES : from;
        n = pread(fd, text, TAIL_BYTES, from);
    }
    (void)close(fd);
    if (n <= 0) {
        return;
    }
    text[n] = '\0';
    (void)fprintf(up->term->file, "%s says, in %s:\n", child->name, child->log_path);
    print_lines(up, text);
}
