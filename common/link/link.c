#include "common/link/link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/num.h"

static const struct {
    const char *word;
    const char *text;
} refusals[FED_REFUSAL_MAX] = {
    [FED_REFUSAL_NONE] = {"none", "it was not refused"},
#define FED_REFUSAL(name, word_, text_) [FED_REFUSAL_##name] = {#word_, text_},
#include "common/link/refusal.def"
#undef FED_REFUSAL
};

const char *fed_refusal_word(enum fed_refusal reason)
{
    return reason < FED_REFUSAL_MAX ? refusals[reason].word : "unknown";
}

const char *fed_refusal_text(enum fed_refusal reason)
{
    return reason < FED_REFUSAL_MAX ? refusals[reason].text : "for a reason of a newer version";
}

/* A copy of n items, or NULL with *ok cleared. No items: NULL. */
static void *copy_items(const void *items, size_t n_items, size_t item_size, bool *ok)
{
    size_t size = 0;
    void *copy;

    if (n_items == 0 || !*ok) {
        return NULL;
    }
    copy = fed_size_mul(n_items, item_size, &size) ? malloc(size) : NULL;
    if (copy == NULL) {
        *ok = false;
        return NULL;
    }
    return memcpy(copy, items, size);
}

static char *copy_text(const char *text, bool *ok)
{
    return text == NULL ? NULL : copy_items(text, strlen(text) + 1, 1, ok);
}

void fed_plan_deinit(struct fed_plan *plan)
{
    free(plan->scale_bits);
    free(plan->task_data);
    free(plan->client_ids);
    *plan = (struct fed_plan){0};
}

void fed_hello_deinit(struct fed_hello *hello)
{
    for (size_t i = 0; i < hello->n_rounds; i++) {
        free(hello->rounds[i].admitted);
        free(hello->rounds[i].refused);
    }
    free(hello->rounds);
    free(hello->clients);
    *hello = (struct fed_hello){0};
}

void fed_up_deinit(struct fed_up *up)
{
    if (up->type == FED_UP_HELLO) {
        fed_hello_deinit(&up->hello);
    } else if (up->type == FED_UP_RECORD) {
        free(up->record.json);
    }
    *up = (struct fed_up){0};
}

void fed_down_deinit(struct fed_down *down)
{
    if (down->type == FED_DOWN_PLAN) {
        fed_plan_deinit(&down->plan);
    } else if (down->type == FED_DOWN_VALIDATE) {
        free(down->validate.client_ids);
        free(down->validate.task_data);
    }
    *down = (struct fed_down){0};
}

int fed_plan_copy(struct fed_plan *ret_plan, const struct fed_plan *plan, struct fed_err *err)
{
    struct fed_plan copy = *plan;
    bool ok = true;

    copy.scale_bits = copy_items(plan->scale_bits, plan->n_tensors, sizeof(int32_t), &ok);
    copy.client_ids = copy_items(plan->client_ids, plan->n_clients, FED_ID_SIZE, &ok);
    copy.task_data = copy_text(plan->task_data, &ok);
    if (!ok) {
        fed_plan_deinit(&copy);
        return fed_err_set(err, FED_E_NOMEM, "plan of %zu clients", plan->n_clients);
    }
    *ret_plan = copy;
    return 0;
}

static bool copy_hello(struct fed_hello *copy, const struct fed_hello *hello)
{
    bool ok = true;

    *copy = *hello;
    copy->clients = copy_items(hello->clients, hello->n_clients, sizeof(*hello->clients), &ok);
    copy->rounds = copy_items(hello->rounds, hello->n_rounds, sizeof(*hello->rounds), &ok);
    copy->n_rounds = copy->rounds == NULL ? 0 : hello->n_rounds;
    for (size_t i = 0; i < copy->n_rounds; i++) {
        const struct fed_hello_round *from = &hello->rounds[i];
        copy->rounds[i].admitted =
            copy_items(from->admitted, from->n_admitted, sizeof(*from->admitted), &ok);
        copy->rounds[i].refused =
            copy_items(from->refused, from->n_refused, sizeof(*from->refused), &ok);
    }
    return ok;
}

int fed_up_copy(struct fed_up *ret_up, const struct fed_up *up, struct fed_err *err)
{
    struct fed_up copy = *up;
    bool ok = true;

    if (up->type == FED_UP_HELLO) {
        ok = copy_hello(&copy.hello, &up->hello);
    } else if (up->type == FED_UP_RECORD) {
        copy.record.json = copy_text(up->record.json, &ok);
    }
    if (!ok) {
        fed_up_deinit(&copy);
        return fed_err_set(err, FED_E_NOMEM, "message to the reducer");
    }
    *ret_up = copy;
    return 0;
}

int fed_down_copy(struct fed_down *ret_down, const struct fed_down *down, struct fed_err *err)
{
    struct fed_down copy = *down;
    bool ok = true;

    if (down->type == FED_DOWN_PLAN) {
        const int rc = fed_plan_copy(&copy.plan, &down->plan, err);
        if (rc < 0) {
            return rc;
        }
    } else if (down->type == FED_DOWN_VALIDATE) {
        const struct fed_validate *from = &down->validate;
        copy.validate.client_ids = copy_items(from->client_ids, from->n_clients, FED_ID_SIZE, &ok);
        copy.validate.task_data = copy_text(from->task_data, &ok);
    }
    if (!ok) {
        fed_down_deinit(&copy);
        return fed_err_set(err, FED_E_NOMEM, "message to a combiner");
    }
    *ret_down = copy;
    return 0;
}
