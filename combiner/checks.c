#include "combiner/checks.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/aggregate/checking.h"
#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/strmap.h"

#define KEY_SIZE 24

/* What a worker finds, or has found, in one upload. staged->judgement. */
struct judgement {
    struct fed_job job;
    struct checks *checks;
    struct staged *staged; /* NULL: the upload has gone while the worker was reading */
    struct spool_upload upload;
    struct model *base; /* a reference */
    bool is_running;
    struct checking checking;
    uint64_t took_us; /* reading and checking */
    int rc;
    struct fed_err err;
};

struct claim {
    struct checks *checks;
    uint64_t token;
    struct staged *staged; /* NULL: not uploaded */
    struct fed_plan plan;  /* owned, until judged */
    uint64_t examples;
    struct model *base; /* a reference, until judged */
    bool is_looked;     /* `look` has run: what comes later is a worker's word */
    bool is_judged;
    struct fed_event look;
    enum fed_refusal reason;
};

struct checks {
    struct checks_config config;
    const struct checks_ops *ops;
    void *arg;
    struct fed_strmap claims; /* token → struct claim */
    unsigned n_jobs;
};

static void format_key(uint64_t token, char ret_key[KEY_SIZE])
{
    (void)snprintf(ret_key, KEY_SIZE, "%" PRIu64, token);
}

static struct claim *find_claim(const struct checks *checks, uint64_t token)
{
    char key[KEY_SIZE];

    format_key(token, key);
    return fed_strmap_find(&checks->claims, key);
}

int checks_new(const struct checks_config *config,
               const struct checks_ops *ops,
               void *arg,
               struct checks **ret_checks,
               struct fed_err *err)
{
    struct checks *checks = calloc(1, sizeof(*checks));

    if (checks == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "checks");
    }
    checks->config = *config;
    checks->ops = ops;
    checks->arg = arg;
    fed_strmap_init(&checks->claims);
    *ret_checks = checks;
    return 0;
}

static void job_ended(struct checks *checks)
{
    assert(checks->n_jobs > 0);
    checks->n_jobs--;
    checks->ops->settled(checks->arg);
}

/* -- judgements -------------------------------------------------------------------------------- */

static void free_judgement(struct judgement *judgement)
{
    checking_deinit(&judgement->checking);
    model_unref(judgement->base);
    free(judgement);
}

static void do_judge(void *arg)
{
    struct judgement *judgement = arg;
    const struct checks_config *config = &judgement->checks->config;
    const uint64_t began_us = fed_clock_mono_us();
    char path[FED_PATH_SIZE];

    judgement->rc = spool_path_upload(config->spool, &judgement->upload, path, &judgement->err);
    judgement->rc = judgement->rc < 0
                        ? judgement->rc
                        : checking_run(path, model_get_base(judgement->base), &config->limits,
                                       &judgement->checking, &judgement->err);
    judgement->took_us = fed_clock_mono_us() - began_us;
}

static void look_at_claim(struct claim *claim);

static void after_judge(void *arg)
{
    struct judgement *judgement = arg;
    struct checks *checks = judgement->checks;
    struct staged *staged = judgement->staged;
    struct claim *claim = NULL;
    size_t cursor = 0;

    judgement->is_running = false;
    if (staged == NULL) {
        free_judgement(judgement);
        job_ended(checks);
        return;
    }
    staged->upload.check_us = judgement->took_us;
    if (staged->is_claimed) {
        while ((claim = fed_strmap_next(&checks->claims, &cursor, NULL)) != NULL &&
               claim->staged != staged) {
        }
    }
    if (claim != NULL && claim->is_looked && !claim->is_judged) {
        look_at_claim(claim);
    }
    job_ended(checks);
}

static void begin(struct checks *checks, struct staged *staged, struct model *base)
{
    struct judgement *judgement = calloc(1, sizeof(*judgement));

    if (judgement == NULL) {
        return;
    }
    judgement->checks = checks;
    judgement->staged = staged;
    judgement->upload = staged->upload;
    judgement->base = model_ref(base);
    judgement->is_running = true;
    staged->judgement = judgement;
    checks->n_jobs++;
    fed_job_init(&judgement->job, do_judge, after_judge, judgement);
    fed_workers_submit(checks->config.workers, NULL, &judgement->job);
}

void checks_begin(struct checks *checks, struct staged *staged, struct model *base)
{
    if (staged->judgement == NULL) {
        begin(checks, staged, base);
    }
}

/* -- claims ------------------------------------------------------------------------------------ */

static void answer(struct claim *claim, enum fed_refusal reason, const char *detail)
{
    struct checks *checks = claim->checks;

    claim->is_judged = true;
    fed_plan_deinit(&claim->plan);
    model_unref(claim->base);
    claim->base = NULL;
    if (reason == FED_REFUSAL_MAX) {
        const uint64_t token = claim->token;
        checks_end(checks, token, true);
        checks->ops->judged(checks->arg, token, reason, detail);
    } else {
        checks->ops->judged(checks->arg, claim->token, reason, detail);
    }
}

/* The judgement is there, is being made, is of another base, or is none. */
static void look_at_claim(struct claim *claim)
{
    struct judgement *judgement = claim->staged->judgement;
    char detail[FED_LINK_DETAIL_SIZE] = "";
    enum fed_refusal reason;

    if (judgement != NULL && judgement->is_running) {
        return; /* after_judge() comes back */
    }
    if (judgement != NULL && judgement->base != claim->base) {
        free_judgement(judgement);
        claim->staged->judgement = judgement = NULL;
    }
    if (judgement == NULL) {
        begin(claim->checks, claim->staged, claim->base);
        if (claim->staged->judgement == NULL) {
            answer(claim, FED_REFUSAL_MAX, "out of memory");
        }
        return;
    }
    if (judgement->rc < 0) {
        fed_log(FED_LOG_ERROR, "upload", "not_judged", "update=%s error=\"%s\"",
                judgement->upload.id, judgement->err.msg);
        claim->staged->judgement = NULL;
        free_judgement(judgement);
        answer(claim, FED_REFUSAL_MAX, "it could not be read");
        return;
    }
    reason = checking_judge(&judgement->checking, &claim->plan, claim->examples, detail);
    answer(claim, reason, detail);
}

static void look_later(void *arg)
{
    struct claim *claim = arg;
    struct checks *checks = claim->checks;

    claim->is_looked = true;
    if (claim->reason != FED_REFUSAL_NONE) {
        answer(claim, claim->reason, "");
    } else {
        look_at_claim(claim);
    }
    job_ended(checks);
}

void checks_claim(struct checks *checks, const struct checks_claim *claim)
{
    struct claim *made = calloc(1, sizeof(*made));
    char key[KEY_SIZE];

    format_key(claim->token, key);
    if (made == NULL || fed_strmap_put(&checks->claims, key, made, NULL, NULL) < 0) {
        abort(); /* not even the answer could be kept: clients find a combiner restarted */
    }
    made->checks = checks;
    made->token = claim->token;
    made->examples = claim->examples;
    made->base = model_ref(claim->base);
    made->staged = staging_find(checks->config.staging, claim->update_id);
    if (made->staged == NULL) {
        made->reason = FED_REFUSAL_NOT_UPLOADED;
    } else {
        staging_claim(checks->config.staging, made->staged);
        if (fed_plan_copy(&made->plan, claim->plan, NULL) < 0) {
            made->reason = FED_REFUSAL_MAX;
        }
    }
    checks->n_jobs++;
    fed_event_init(&made->look, look_later, made);
    fed_loop_post(checks->config.loop, &made->look);
}

const struct spool_upload *checks_find(const struct checks *checks, uint64_t token)
{
    const struct claim *claim = find_claim(checks, token);

    return claim == NULL || claim->staged == NULL ? NULL : &claim->staged->upload;
}

void checks_end(struct checks *checks, uint64_t token, bool is_given_back)
{
    struct claim *claim = find_claim(checks, token);
    char key[KEY_SIZE];

    if (claim == NULL) {
        return;
    }
    assert(claim->is_judged);
    format_key(token, key);
    (void)fed_strmap_take(&checks->claims, key);
    if (claim->staged != NULL && is_given_back) {
        staging_give_back(checks->config.staging, claim->staged);
    } else if (claim->staged != NULL) {
        staging_drop(checks->config.staging, claim->staged);
    }
    free(claim);
    checks_sweep(checks);
}

/* -- removal ----------------------------------------------------------------------------------- */

struct removal {
    struct fed_job job;
    struct checks *checks;
    struct spool_upload upload;
};

static void do_remove(void *arg)
{
    const struct removal *removal = arg;

    spool_drop_upload(removal->checks->config.spool, &removal->upload);
}

static void after_remove(void *arg)
{
    struct removal *removal = arg;
    struct checks *checks = removal->checks;

    free(removal);
    job_ended(checks);
}

void checks_sweep(struct checks *checks)
{
    struct staged *staged;

    while ((staged = staging_take_dropped(checks->config.staging)) != NULL) {
        struct judgement *judgement = staged->judgement;
        struct removal *removal = calloc(1, sizeof(*removal));
        if (judgement != NULL && judgement->is_running) {
            judgement->staged = NULL;
        } else if (judgement != NULL) {
            free_judgement(judgement);
        }
        if (removal != NULL) { /* without memory the next start removes the file */
            removal->checks = checks;
            removal->upload = staged->upload;
            checks->n_jobs++;
            fed_job_init(&removal->job, do_remove, after_remove, removal);
            fed_workers_submit(checks->config.workers, NULL, &removal->job);
        }
        free(staged);
    }
}

/* -- the end ----------------------------------------------------------------------------------- */

bool checks_is_idle(const struct checks *checks)
{
    return checks->n_jobs == 0;
}

static void forget_judgements(struct fed_list *list)
{
    fed_list_for_each (link, list) {
        struct staged *staged = FED_CONTAINER_OF(link, struct staged, link);
        if (staged->judgement != NULL) {
            free_judgement(staged->judgement);
            staged->judgement = NULL;
        }
    }
}

void checks_stop(struct checks *checks)
{
    forget_judgements(&checks->config.staging->kept);
}

struct checks *checks_free(struct checks *checks)
{
    struct claim *claim;
    size_t cursor = 0;

    if (checks == NULL) {
        return NULL;
    }
    assert(checks_is_idle(checks));
    while ((claim = fed_strmap_next(&checks->claims, &cursor, NULL)) != NULL) {
        fed_plan_deinit(&claim->plan);
        model_unref(claim->base);
        if (claim->staged != NULL) {
            if (claim->staged->judgement != NULL) {
                free_judgement(claim->staged->judgement);
            }
            free(claim->staged);
        }
        free(claim);
    }
    fed_strmap_deinit(&checks->claims);
    free(checks);
    return NULL;
}
