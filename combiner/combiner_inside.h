/* What the files of the wiring share. Nobody else includes this. */
#ifndef COMBINER_COMBINER_INSIDE_H
#define COMBINER_COMBINER_INSIDE_H

#include "combiner/checks.h"
#include "combiner/combiner.h"
#include "combiner/core/collector.h"
#include "combiner/ledger.h"
#include "combiner/models.h"
#include "combiner/rpc/front.h"
#include "combiner/rpc/handover.h"
#include "combiner/rpc/mailer.h"
#include "combiner/rpc/reducer_link.h"
#include "combiner/spool/spool.h"
#include "combiner/spool/staging.h"
#include "common/rpc/rpc.h"
#include "common/rpc/rpc_client.h"
#include "common/sync/loop.h"
#include "common/sync/workers.h"

enum combiner_phase {
    COMBINER_SERVING,
    COMBINER_DRAINING, /* uploads and announcements go on, nothing new comes */
    COMBINER_CLOSING,  /* the port and the link are being closed */
    COMBINER_SETTLING, /* the workers finish */
    COMBINER_OVER,
};

/* A partial on its way. */
struct delivery {
    struct combiner *combiner;
    struct handover *handover; /* NULL: cancelled, and going */
    struct fed_link link;
    char round_id[FED_ROUND_ID_SIZE];
    uint64_t plan_seq;
};

struct combiner {
    const struct settings *settings;
    enum combiner_phase phase;
    struct fed_loop *loop;
    struct fed_workers *workers;
    struct fed_rpc *rpc;
    struct fed_rpc_channel *control; /* the Link's connection */
    struct fed_rpc_channel *bulk;    /* GetModel's and PutPartial's */
    struct spool *spool;
    struct staging staging;
    bool is_staging;
    struct mailer *mailer;
    struct front *front;
    struct collector *collector;
    struct models *models;
    struct ledger *ledger;
    struct checks *checks;
    struct reducer_link *link;
    struct fed_list deliveries; /* of struct delivery */
    uint64_t seed;
    char boot_id[FED_UUID_SIZE];
    char advertise[FED_LINK_ADDRESS_SIZE];
    char listen[FED_LINK_ADDRESS_SIZE];
    char open_base[FED_ID_SIZE]; /* the base of the newest round whose sum has begun */
    bool is_acting;
    bool is_ready; /* the ready file is written, or being */
    bool is_port_closed;
    bool is_link_closed;
    unsigned n_jobs; /* ready file */
    struct fed_timer tick;
    struct fed_timer drain;
    struct fed_event stop;
    struct fed_event settle;
    struct fed_job ready_job;
};

/* Carry out what the collector asks for, until it asks for nothing. */
void combiner_act(void *arg);

/* Something has ended that the end may wait for. */
void combiner_settled(void *arg);

extern const struct front_ops combiner_front_ops;
extern const struct models_ops combiner_models_ops;
extern const struct ledger_ops combiner_ledger_ops;
extern const struct checks_ops combiner_checks_ops;
extern const struct reducer_link_ops combiner_link_ops;
void combiner_on_unsent(void *arg);
void combiner_note_welcome(struct combiner *combiner);
void combiner_cancel_deliveries(struct combiner *combiner);

/* Take up what a former process left. Blocks: before the loop runs. */
FED_NODISCARD int combiner_recover(struct combiner *combiner, struct fed_err *err);

#endif /* COMBINER_COMBINER_INSIDE_H */
