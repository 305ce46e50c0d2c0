#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/list.h"

struct item {
    int number;
    struct fed_link link;
};

static int sum(const struct fed_list *list)
{
    int total = 0;

    fed_list_for_each (link, list) {
        total = total * 10 + FED_CONTAINER_OF(link, struct item, link)->number;
    }
    return total;
}

static void test_keeps_the_order(void **state)
{
    struct item items[4] = {{.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    struct fed_list list;

    (void)state;
    fed_list_init(&list);
    assert_true(fed_list_is_empty(&list));
    assert_null(fed_list_take(&list));
    for (int i = 0; i < 4; i++) {
        assert_false(fed_link_is_linked(&items[i].link));
        fed_list_add(&list, &items[i].link);
        assert_true(fed_link_is_linked(&items[i].link));
    }
    assert_int_equal(sum(&list), 1234);
    fed_link_remove(&items[2].link);
    fed_link_remove(&items[2].link);
    assert_int_equal(sum(&list), 124);
    assert_ptr_equal(fed_list_take(&list), &items[0].link);
    assert_false(fed_link_is_linked(&items[0].link));
    fed_list_add(&list, &items[0].link);
    assert_int_equal(sum(&list), 241);
}

static void test_the_current_link_may_go(void **state)
{
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    struct fed_list list;

    (void)state;
    fed_list_init(&list);
    for (int i = 0; i < 3; i++) {
        fed_list_add(&list, &items[i].link);
    }
    fed_list_for_each (link, &list) {
        fed_link_remove(link);
    }
    assert_true(fed_list_is_empty(&list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_the_order),
        cmocka_unit_test(test_the_current_link_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
