/* What a former process left in the spool, taken up again: rounds with their logs, uploads, and
 * the records in the outbox (mailer.c).
 *
 * What a round's log says was admitted is admitted; its sum is folded again from the spool when
 * its base is here; nobody trains again. */
#include <stdlib.h>

#include "combiner/combiner_inside.h"
#include "common/base/log.h"

static void tell(const struct collector_recovery *recovery)
{
    fed_log(FED_LOG_INFO, "round", "recovered",
            "round=%s plan_seq=%llu admitted=%zu lost=%zu sealed=%d", recovery->plan.round_id,
            (unsigned long long)recovery->plan.plan_seq, recovery->n_admitted, recovery->n_lost,
            (int)recovery->is_sealed);
}

static int recover_round(struct combiner *combiner, struct spool_round *round, struct fed_err *err)
{
    struct fed_entry *admitted = calloc(round->n_updates + 1, sizeof(*admitted));
    struct collector_recovery recovery = {
        .plan = round->plan,
        .admitted = admitted,
        .n_admitted = round->n_updates,
        .lost = round->lost,
        .n_lost = round->n_lost,
        .is_sealed = round->is_sealed,
    };
    int rc;

    if (admitted == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "round %s", round->plan.round_id);
    }
    for (size_t i = 0; i < round->n_updates; i++) {
        admitted[i] = round->updates[i].entry;
    }
    recovery.plan.time_left_ms = 0; /* unknown: no task before the reducer speaks */
    tell(&recovery);
    rc = ledger_recover(combiner->ledger, round, err);
    rc = rc < 0 ? rc
                : collector_recover(combiner->collector, &recovery, fed_loop_now_ms(combiner->loop),
                                    err);
    round->plan = rc < 0 ? recovery.plan : (struct fed_plan){0};
    free(admitted);
    if (rc == -FED_E_LIMIT) { /* more rounds than are ever open: the oldest came first */
        spool_drop_round(combiner->spool, round->plan.round_id);
        return 0;
    }
    return rc;
}

static int recover_rounds(struct combiner *combiner, struct fed_err *err)
{
    struct spool_round *rounds = NULL;
    size_t n_rounds = 0;
    size_t first;
    int rc = spool_list_rounds(combiner->spool, &rounds, &n_rounds, err);

    if (rc < 0) {
        return rc;
    }
    first = n_rounds > COLLECTOR_ROUNDS_MAX ? n_rounds - COLLECTOR_ROUNDS_MAX : 0;
    spool_sweep_models(combiner->spool, rounds, n_rounds);
    for (size_t i = 0; i < n_rounds; i++) {
        if (i < first) {
            spool_drop_round(combiner->spool, rounds[i].plan.round_id);
        } else if (rc == 0) {
            rc = recover_round(combiner, &rounds[i], err);
        }
        spool_round_deinit(&rounds[i]);
    }
    free(rounds);
    return rc;
}

static int recover_uploads(struct combiner *combiner, struct fed_err *err)
{
    struct spool_upload *uploads = NULL;
    struct staged *staged = NULL;
    size_t n_uploads = 0;
    int rc = spool_list_uploads(combiner->spool, &uploads, &n_uploads, err);

    for (size_t i = 0; i < n_uploads && rc == 0; i++) {
        rc = staging_put(&combiner->staging, &uploads[i], fed_loop_now_ms(combiner->loop), &staged,
                         err);
    }
    free(uploads);
    checks_sweep(combiner->checks);
    return rc;
}

int combiner_recover(struct combiner *combiner, struct fed_err *err)
{
    int rc = recover_uploads(combiner, err);

    rc = rc < 0 ? rc : recover_rounds(combiner, err);
    return rc < 0 ? fed_err_wrap(err, rc, "recover the spool") : 0;
}
