#include "reducer/rest/rest_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/file.h"

#define BACKLOG 1024

/* "HOST:PORT" in two; the brackets of an IPv6 address go. */
static int split(const char *address, char ret_host[256], char ret_port[8], struct fed_err *err)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - address);

    if (colon == NULL || n == 0 || n > 255 || strlen(colon + 1) > 5 || colon[1] == '\0') {
        return fed_err_set(err, FED_E_INVALID, "'%s' is no address: use HOST:PORT", address);
    }
    if (address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    memcpy(ret_host, address, n);
    ret_host[n] = '\0';
    (void)snprintf(ret_port, 8, "%s", colon + 1);
    return 0;
}

static int open_one(const struct addrinfo *info, const char *address, struct fed_err *err)
{
    const int on = 1;
    const int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd < 0) {
        return fed_file_error(err, "open a socket for", address);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        rc = fed_file_error(err, "listen on", address);
        (void)close(fd);
        return rc;
    }
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);

    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0) {
        return 0;
    }
    if (name.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)&name)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)&name)->sin_port);
}

int rest_listen(const char *address, int *ret_fd, uint16_t *ret_port, struct fed_err *err)
{
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    char host[256];
    char port[8];
    int rc = split(address, host, port, err);

    if (rc < 0) {
        return rc;
    }
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return fed_err_set(err, FED_E_INVALID, "address '%s': %s", address, gai_strerror(rc));
    }
    rc = open_one(found, address, err);
    freeaddrinfo(found);
    if (rc < 0) {
        return rc;
    }
    *ret_fd = rc;
    *ret_port = port_of(rc);
    return 0;
}
