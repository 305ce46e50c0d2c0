/* Intrusive doubly linked list: the link stands in the item, nothing is allocated.
 *
 *     struct job { struct fed_link link; ... };
 *     fed_list_for_each(link, &list) { struct job *job = FED_CONTAINER_OF(link, struct job, link);
 * }
 *
 * Thread safety: none.
 */
#ifndef FED_COMMON_BASE_LIST_H
#define FED_COMMON_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define FED_CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

struct fed_link {
    struct fed_link *prev; /* both NULL while in no list */
    struct fed_link *next;
};

struct fed_list {
    struct fed_link head; /* circular, through the head */
};

static inline void fed_list_init(struct fed_list *list)
{
    list->head.prev = &list->head;
    list->head.next = &list->head;
}

static inline bool fed_list_is_empty(const struct fed_list *list)
{
    return list->head.next == &list->head;
}

static inline bool fed_link_is_linked(const struct fed_link *link)
{
    return link->next != NULL;
}

/* Append; the link must be in no list. */
static inline void fed_list_add(struct fed_list *list, struct fed_link *link)
{
    link->prev = list->head.prev;
    link->next = &list->head;
    list->head.prev->next = link; /* NOLINT(clang-analyzer-core.NullDereference): never NULL */
    list->head.prev = link;
}

/* Take out of whatever list it is in; harmless when it is in none. */
static inline void fed_link_remove(struct fed_link *link)
{
    if (link->next != NULL) {
        link->prev->next = link->next;
        link->next->prev = link->prev;
        link->prev = NULL;
        link->next = NULL;
    }
}

/* Take the first link out, or NULL. */
static inline struct fed_link *fed_list_take(struct fed_list *list)
{
    struct fed_link *link = list->head.next;

    if (link == &list->head) {
        return NULL;
    }
    fed_link_remove(link);
    return link;
}

/* The body may remove the current link (not others). */
/* NOLINTBEGIN(bugprone-macro-parentheses): a declarator cannot stand in parentheses. */
#define fed_list_for_each(it, list)                                                           \
    for (struct fed_link *it = (list)->head.next, *it##_next = it->next; it != &(list)->head; \
         it = it##_next, it##_next = it->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif /* FED_COMMON_BASE_LIST_H */
