/* Link: one bidirectional stream a combiner.
 *
 *   GREETING --Hello whole--> UP --closed by either side--> (gone)
 *      --10 s--> (closed)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/link/link_codec.h"
#include "reducer/rpc/federation_inside.h"

struct combiner_link {
    struct fed_link link;
    struct federation_server *server;
    struct fed_rpc_call *call;
    struct fed_hello_joiner joiner;
    uint64_t number;
    uint64_t hello_due_ms; /* 0: it has said Hello */
    bool is_waiting;       /* not read: may_read() was false */
    bool is_closing;       /* by us: nothing more is heard */
};

static struct combiner_link *find_link(struct federation_server *server, uint64_t number)
{
    fed_list_for_each (it, &server->links) {
        struct combiner_link *link = FED_CONTAINER_OF(it, struct combiner_link, link);
        if (link->number == number) {
            return link;
        }
    }
    return NULL;
}

static void read_next(struct combiner_link *link)
{
    link->is_waiting = !link->server->ops->may_read(link->server->arg, link->number);
    if (!link->is_waiting && !link->is_closing) {
        fed_rpc_call_read(link->call);
    }
}

static void end_link(struct combiner_link *link, enum fed_rpc_status status, const char *reason)
{
    link->is_closing = true;
    fed_rpc_call_finish(link->call, status, reason);
}

static void on_message(struct fed_rpc_call *call, struct fed_rpc_in *in, void *arg)
{
    struct combiner_link *link = arg;
    struct fed_err err = {0};
    struct fed_up up = {0};
    int rc;

    (void)call;
    if (in == NULL || link->is_closing) {
        (void)fed_rpc_in_free(in);
        if (!link->is_closing) {
            end_link(link, FED_RPC_OK, NULL);
        }
        return;
    }
    rc = fed_up_decode(in, &link->joiner, &up, &err);
    (void)fed_rpc_in_free(in);
    if (rc < 0) {
        fed_log(FED_LOG_WARNING, "link", "malformed", "link=%llu ip=%s why=\"%s\"",
                (unsigned long long)link->number, fed_rpc_call_ip(link->call), err.msg);
        end_link(link, FED_RPC_INVALID_ARGUMENT, err.msg);
        return;
    }
    if (rc == 0) {
        if (up.type == FED_UP_HELLO) {
            link->hello_due_ms = 0;
        }
        link->server->ops->on_up(link->server->arg, link->number, &up);
        fed_up_deinit(&up);
    }
    read_next(link);
}

static void on_sent(struct fed_rpc_call *call, void *arg)
{
    struct combiner_link *link = arg;

    (void)call;
    link->server->ops->on_link_sent(link->server->arg, link->number);
}

static void on_closed(struct fed_rpc_call *call, const struct fed_rpc_end *end, void *arg)
{
    struct combiner_link *link = arg;
    struct federation_server *server = link->server;

    (void)call;
    (void)end;
    fed_link_remove(&link->link);
    server->n_links--;
    fed_hello_joiner_deinit(&link->joiner);
    server->ops->on_link_closed(server->arg, link->number);
    free(link);
}

static const struct fed_rpc_call_ops call_ops = {on_message, on_sent, on_closed};

void combiner_link_open(struct fed_rpc_call *call, struct fed_rpc_in *request, void *arg)
{
    struct federation_server *server = arg;
    struct combiner_link *link =
        server->n_links < FEDERATION_LINKS_MAX ? calloc(1, sizeof(*link)) : NULL;

    (void)fed_rpc_in_free(request);
    if (link == NULL) {
        fed_rpc_call_finish(call, FED_RPC_UNAVAILABLE, "too many links: try again later");
        return;
    }
    link->server = server;
    link->call = call;
    link->number = ++server->next_link;
    link->hello_due_ms = fed_loop_now_ms(server->config.loop) + FEDERATION_HELLO_MS;
    fed_list_add(&server->links, &link->link);
    server->n_links++;
    fed_rpc_call_set(call, &call_ops, link);
    federation_server_want(server, link->hello_due_ms);
    fed_rpc_call_read(call);
}

uint64_t combiner_link_look(struct federation_server *server, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;

    fed_list_for_each (it, &server->links) {
        struct combiner_link *link = FED_CONTAINER_OF(it, struct combiner_link, link);
        if (link->hello_due_ms == 0 || link->is_closing) {
            continue;
        }
        if (now_ms >= link->hello_due_ms) {
            end_link(link, FED_RPC_DEADLINE_EXCEEDED, "no Hello came");
        } else {
            due_ms = link->hello_due_ms < due_ms ? link->hello_due_ms : due_ms;
        }
    }
    return due_ms;
}

static int send_out(void *arg, struct fed_rpc_out *out, struct fed_err *err)
{
    struct combiner_link *link = arg;

    return fed_rpc_call_send(link->call, out, err);
}

void federation_server_send(struct federation_server *server,
                            uint64_t link,
                            const struct fed_down *down)
{
    struct combiner_link *found = find_link(server, link);
    struct fed_err err = {0};
    int rc;

    if (found == NULL || found->is_closing) {
        return;
    }
    rc = fed_down_encode(down, send_out, found, &err);
    if (rc < 0 && rc != -FED_E_CANCELLED) {
        fed_log(FED_LOG_WARNING, "link", "cancelled", "link=%llu why=\"%s\"",
                (unsigned long long)link, err.msg);
        found->is_closing = true;
        fed_rpc_call_cancel(found->call);
    }
}

void federation_server_close_link(struct federation_server *server,
                                  uint64_t link,
                                  const char *reason)
{
    struct combiner_link *found = find_link(server, link);

    if (found != NULL && !found->is_closing) {
        end_link(found, FED_RPC_UNAVAILABLE, reason);
    }
}

void federation_server_resume(struct federation_server *server, uint64_t link)
{
    struct combiner_link *found = find_link(server, link);

    if (found != NULL && found->is_waiting) {
        read_next(found);
    }
}
