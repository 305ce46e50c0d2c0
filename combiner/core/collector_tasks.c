/* The models that are needed here, and the tasks that go out to clients.
 *
 * A task is not kept anywhere: whether a client has one follows from the plan (or the validation)
 * and from what came of it; its seat remembers on which stream it went out, so that it goes out
 * again on a newer one. Validation goes before training.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/core/collector_inside.h"

/* -- models ----------------------------------------------------------------------------------- */

static size_t find_model(const struct collector *collector, const char *model_id)
{
    size_t i = 0;

    while (i < COLLECTOR_MODELS_MAX && (collector->models[i].model_id[0] == '\0' ||
                                        strcmp(collector->models[i].model_id, model_id) != 0)) {
        i++;
    }
    return i;
}

bool tasks_is_model_ready(const struct collector *collector, const char *model_id)
{
    const size_t i = find_model(collector, model_id);

    return i < COLLECTOR_MODELS_MAX && collector->models[i].is_ready;
}

static bool is_model_coming(const struct collector *collector, const char *model_id)
{
    const size_t i = find_model(collector, model_id);

    return i < COLLECTOR_MODELS_MAX && collector->models[i].is_coming;
}

bool collector_is_model(const struct collector *collector, const char *id)
{
    return find_model(collector, id) < COLLECTOR_MODELS_MAX;
}

static void ask_model(struct collector *collector, struct collector_model *model)
{
    struct collector_action *action = collector_push(collector, COLLECTOR_FETCH_MODEL);

    if (action != NULL) {
        model->is_asked = true;
        fed_id_copy(action->id, model->model_id);
        memcpy(action->xxh128, model->xxh128, sizeof(action->xxh128));
        action->size_bytes = model->size_bytes;
    }
}

void tasks_need_model(struct collector *collector,
                      const char *model_id,
                      const uint8_t xxh128[FED_XXH128_SIZE],
                      uint64_t size_bytes)
{
    size_t i = find_model(collector, model_id);
    struct collector_model *model;

    fed_id_copy(collector->newest_model_id, model_id);
    tasks_sweep_models(collector); /* the newest before it makes room */
    if (i == COLLECTOR_MODELS_MAX) {
        i = 0;
        while (i < COLLECTOR_MODELS_MAX && collector->models[i].model_id[0] != '\0') {
            i++;
        }
    }
    assert(i < COLLECTOR_MODELS_MAX); /* one for each that may need one, and the newest */
    model = &collector->models[i];
    if (model->model_id[0] == '\0') {
        fed_id_copy(model->model_id, model_id);
        memcpy(model->xxh128, xxh128, sizeof(model->xxh128));
        model->size_bytes = size_bytes;
    }
    if (!model->is_ready && !model->is_asked) {
        ask_model(collector, model);
    }
}

void tasks_ask_models(struct collector *collector)
{
    for (size_t i = 0; i < COLLECTOR_MODELS_MAX; i++) {
        struct collector_model *model = &collector->models[i];
        if (model->model_id[0] != '\0' && !model->is_ready && !model->is_asked) {
            ask_model(collector, model);
        }
    }
}

static bool is_needed(const struct collector *collector, const char *model_id)
{
    if (strcmp(collector->newest_model_id, model_id) == 0) {
        return true;
    }
    for (size_t i = 0; i < collector->n_rounds; i++) {
        if (strcmp(collector->rounds[i]->plan.base_model_id, model_id) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        if (strcmp(collector->validations[i].validate.model_id, model_id) == 0) {
            return true;
        }
    }
    return false;
}

void tasks_sweep_models(struct collector *collector)
{
    for (size_t i = 0; i < COLLECTOR_MODELS_MAX; i++) {
        struct collector_model *model = &collector->models[i];
        if (model->model_id[0] != '\0' && !is_needed(collector, model->model_id)) {
            struct collector_action *action = collector_push(collector, COLLECTOR_DROP_MODEL);
            if (action != NULL) {
                fed_id_copy(action->id, model->model_id);
            }
            *model = (struct collector_model){0};
        }
    }
}

void collector_model_coming(struct collector *collector, const char *model_id, uint64_t now_ms)
{
    const size_t i = find_model(collector, model_id);

    if (i < COLLECTOR_MODELS_MAX && !collector->models[i].is_coming) {
        collector->models[i].is_coming = true;
        tasks_send_all(collector, now_ms);
    }
}

void collector_model_ready(struct collector *collector, const char *model_id, uint64_t now_ms)
{
    const size_t i = find_model(collector, model_id);

    if (i == COLLECTOR_MODELS_MAX || collector->models[i].is_ready) {
        return; /* dropped meanwhile, or told twice */
    }
    collector->models[i].is_coming = true;
    collector->models[i].is_ready = true;
    rounds_model_ready(collector, model_id);
    admission_look(collector, NULL, now_ms);
    tasks_send_all(collector, now_ms);
}

void collector_model_lost(struct collector *collector, const char *model_id, uint64_t now_ms)
{
    const size_t i = find_model(collector, model_id);

    (void)now_ms;
    if (i == COLLECTOR_MODELS_MAX || collector->models[i].is_ready) {
        return;
    }
    collector->models[i].is_asked = false; /* the next link, or the next plan, asks again */
    collector->models[i].is_coming = false;
    rounds_model_lost(collector, model_id);
    for (size_t k = 0; k < COLLECTOR_VALIDATIONS_MAX; k++) {
        struct collector_validation *validation = &collector->validations[k];
        const bool is_its = strcmp(validation->validate.model_id, model_id) == 0;
        for (size_t j = 0; is_its && j < validation->validate.n_clients; j++) {
            validation->seats[j].task_stream = 0;
        }
    }
}

/* -- tasks ------------------------------------------------------------------------------------ */

static void send_task(struct collector *collector,
                      const struct collector_client *client,
                      const struct collector_task *task)
{
    struct collector_action *action = collector_push(collector, COLLECTOR_SEND_TASK);

    if (action != NULL) {
        action->stream = client->stream;
        action->task = *task;
        fed_id_copy(action->task.client_id, client->state.client_id);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static size_t find_validating(const struct collector_validation *validation, const char *client_id)
{
    const char(*found)[FED_ID_SIZE] =
        validation->validate.n_clients == 0
            ? NULL
            : bsearch(client_id, validation->validate.client_ids, validation->validate.n_clients,
                      FED_ID_SIZE, compare_ids);

    return found == NULL
               ? SIZE_MAX
               : (size_t)(found - (const char(*)[FED_ID_SIZE])validation->validate.client_ids);
}

static void send_validation(struct collector *collector,
                            struct collector_validation *validation,
                            const struct collector_client *client,
                            uint64_t now_ms)
{
    const struct fed_validate *validate = &validation->validate;
    struct collector_task task = {.type = COLLECTOR_VALIDATE};
    size_t i;

    if (validate->model_id[0] == '\0' || now_ms >= validation->deadline_ms ||
        !is_model_coming(collector, validate->model_id)) {
        return;
    }
    i = find_validating(validation, client->state.client_id);
    if (i == SIZE_MAX || validation->seats[i].is_done ||
        validation->seats[i].task_stream == client->stream) {
        return;
    }
    fed_id_copy(task.session_id, validate->session_id);
    memcpy(task.round_id, validate->round_id, sizeof(task.round_id));
    fed_id_copy(task.model_id, validate->model_id);
    send_task(collector, client, &task);
    validation->seats[i].task_stream = client->stream;
}

/* Has this client still to train for the round? */
static bool is_training_due(const struct collector *collector,
                            const struct collector_round *round,
                            const struct collector_seat *seat,
                            const char *client_id)
{
    return !seat->is_admitted && seat->refusal == FED_REFUSAL_NONE &&
           !admission_is_busy(collector, round->plan.round_id, client_id);
}

static void send_training(struct collector *collector,
                          const struct collector_round *round,
                          const struct collector_client *client,
                          uint64_t now_ms)
{
    struct collector_seat *seat = rounds_find_seat(round, client->state.client_id);
    struct collector_task task = {.type = COLLECTOR_TRAIN};

    if ((round->state != FED_LINK_ROUND_PLANNED && round->state != FED_LINK_ROUND_COLLECTING) ||
        !is_model_coming(collector, round->plan.base_model_id) || now_ms >= round->deadline_ms ||
        seat == NULL || seat->task_stream == client->stream ||
        !is_training_due(collector, round, seat, client->state.client_id)) {
        return;
    }
    fed_id_copy(task.session_id, round->plan.session_id);
    memcpy(task.round_id, round->plan.round_id, sizeof(task.round_id));
    fed_id_copy(task.model_id, round->plan.base_model_id);
    send_task(collector, client, &task);
    seat->task_stream = client->stream;
}

void tasks_send(struct collector *collector, const struct collector_client *client, uint64_t now_ms)
{
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        send_validation(collector, &collector->validations[i], client, now_ms);
    }
    for (size_t i = 0; i < collector->n_rounds; i++) {
        send_training(collector, collector->rounds[i], client, now_ms);
    }
}

void tasks_send_all(struct collector *collector, uint64_t now_ms)
{
    const struct collector_client *client;
    size_t cursor = 0;

    while ((client = fed_strmap_next(&collector->clients, &cursor, NULL)) != NULL) {
        tasks_send(collector, client, now_ms);
    }
}

/* -- validations ------------------------------------------------------------------------------ */

static void free_validation(struct collector_validation *validation)
{
    free(validation->validate.client_ids);
    free(validation->validate.task_data);
    free(validation->seats);
    *validation = (struct collector_validation){0};
}

static bool copy_validation(struct collector_validation *ret_validation,
                            const struct fed_validate *validate,
                            uint64_t now_ms)
{
    const struct fed_down from = {.type = FED_DOWN_VALIDATE, .validate = *validate};
    struct fed_down copy;

    if (fed_down_copy(&copy, &from, NULL) < 0) {
        return false;
    }
    *ret_validation = (struct collector_validation){
        .validate = copy.validate,
        .deadline_ms = now_ms + validate->time_left_ms,
        .seats = calloc(validate->n_clients + 1, sizeof(*ret_validation->seats)),
    };
    if (ret_validation->seats == NULL) {
        free_validation(ret_validation);
        return false;
    }
    if (validate->n_clients > 1) {
        qsort(ret_validation->validate.client_ids, validate->n_clients, FED_ID_SIZE, compare_ids);
    }
    return true;
}

/* Where this model's validation stands, or is to stand: the older of the others goes. */
static struct collector_validation *place_validation(struct collector *collector,
                                                     const char *model_id)
{
    struct collector_validation *all = collector->validations;

    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        if (strcmp(all[i].validate.model_id, model_id) == 0) {
            return &all[i];
        }
    }
    free_validation(&all[0]);
    for (size_t i = 1; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        all[i - 1] = all[i];
    }
    all[COLLECTOR_VALIDATIONS_MAX - 1] = (struct collector_validation){0};
    return &all[COLLECTOR_VALIDATIONS_MAX - 1];
}

void tasks_validate(struct collector *collector,
                    const struct fed_validate *validate,
                    uint64_t now_ms)
{
    struct collector_validation *validation;
    struct collector_validation next;

    if (!copy_validation(&next, validate, now_ms)) {
        return;
    }
    validation = place_validation(collector, validate->model_id);
    for (size_t i = 0; i < next.validate.n_clients; i++) {
        const size_t j = find_validating(validation, next.validate.client_ids[i]);
        if (j != SIZE_MAX) {
            next.seats[i].task_stream = validation->seats[j].task_stream;
            next.seats[i].is_done = validation->seats[j].is_done;
        }
    }
    free_validation(validation);
    *validation = next;
    tasks_need_model(collector, validate->model_id, validate->xxh128, validate->size_bytes);
    tasks_send_all(collector, now_ms);
}

void collector_validated(struct collector *collector, const char *client_id, const char *model_id)
{
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        struct collector_validation *validation = &collector->validations[i];
        if (strcmp(validation->validate.model_id, model_id) == 0 && model_id[0] != '\0') {
            const size_t j = find_validating(validation, client_id);
            if (j != SIZE_MAX) {
                validation->seats[j].is_done = true;
            }
        }
    }
}

void tasks_tick(struct collector *collector, uint64_t now_ms)
{
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        struct collector_validation *validation = &collector->validations[i];
        if (validation->validate.model_id[0] != '\0' && now_ms >= validation->deadline_ms) {
            free_validation(validation);
            tasks_sweep_models(collector);
        }
    }
}

uint64_t tasks_due_ms(const struct collector *collector)
{
    uint64_t due_ms = UINT64_MAX;

    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        const struct collector_validation *validation = &collector->validations[i];
        if (validation->validate.model_id[0] != '\0' && validation->deadline_ms < due_ms) {
            due_ms = validation->deadline_ms;
        }
    }
    return due_ms;
}

void tasks_free(struct collector *collector)
{
    for (size_t i = 0; i < COLLECTOR_VALIDATIONS_MAX; i++) {
        free_validation(&collector->validations[i]);
    }
}
