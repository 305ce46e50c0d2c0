#include "reducer/rest/rest_watch.h"

#include <sys/socket.h>

static void look(void *arg)
{
    struct rest_watch *watch = arg;
    const uint64_t now_ms = fed_loop_now_ms(watch->loop);

    (void)pthread_mutex_lock(&watch->synced.lock);
    fed_list_for_each (link, &watch->synced.connections) {
        struct rest_watched *watched = FED_CONTAINER_OF(link, struct rest_watched, link);
        if (watched->due_ms != 0 && watched->due_ms <= now_ms) {
            watched->due_ms = 0;
            (void)shutdown(watched->fd, SHUT_RDWR);
        }
    }
    (void)pthread_mutex_unlock(&watch->synced.lock);
    fed_timer_start(watch->loop, &watch->timer, now_ms + watch->period_ms);
}

void rest_watch_init(struct rest_watch *watch, struct fed_loop *loop, uint64_t period_ms)
{
    *watch = (struct rest_watch){.loop = loop, .period_ms = period_ms == 0 ? 1 : period_ms};
    (void)pthread_mutex_init(&watch->synced.lock, NULL);
    fed_list_init(&watch->synced.connections);
    fed_timer_init(&watch->timer, look, watch);
    fed_event_init(&watch->start, look, watch);
    fed_loop_post(loop, &watch->start);
}

void rest_watch_deinit(struct rest_watch *watch)
{
    (void)pthread_mutex_destroy(&watch->synced.lock);
}

void rest_watch_add(struct rest_watch *watch, struct rest_watched *watched, uint64_t due_ms)
{
    (void)pthread_mutex_lock(&watch->synced.lock);
    watched->due_ms = due_ms;
    fed_list_add(&watch->synced.connections, &watched->link);
    (void)pthread_mutex_unlock(&watch->synced.lock);
}

void rest_watch_set(struct rest_watch *watch, struct rest_watched *watched, uint64_t due_ms)
{
    (void)pthread_mutex_lock(&watch->synced.lock);
    watched->due_ms = due_ms;
    (void)pthread_mutex_unlock(&watch->synced.lock);
}

void rest_watch_remove(struct rest_watch *watch, struct rest_watched *watched)
{
    (void)pthread_mutex_lock(&watch->synced.lock);
    fed_link_remove(&watched->link);
    (void)pthread_mutex_unlock(&watch->synced.lock);
}
