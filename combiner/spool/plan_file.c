#include "combiner/spool/plan_file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/spool/fields.h"
#include "common/base/num.h"
#include "common/model/checksum.h"

#define MAGIC         "CONFEDPL"
#define VERSION       2U
#define VERSION_1     1U /* of a combiner of protocol 1: without the base's XXH3 */
#define PREFIX_SIZE   20U
#define TASK_DATA_MAX (256U << 10) /* bytes, as on the link */

int plan_file_encode(struct fed_buf *buf, const struct fed_plan *plan, struct fed_err *err)
{
    struct fields_out out = {buf, err, 0};
    const size_t start = buf->size;

    assert(!plan->lacks_xxh128);
    fields_put_bytes(&out, MAGIC, 8);
    fields_put_u32(&out, VERSION);
    fields_put_u32(&out, 0); /* size and CRC-32 follow when the body is there */
    fields_put_u32(&out, 0);
    fields_put_text(&out, plan->session_id);
    fields_put_text(&out, plan->round_id);
    fields_put_u32(&out, plan->round_number);
    fields_put_u64(&out, plan->plan_seq);
    fields_put_text(&out, plan->base_model_id);
    fields_put_bytes(&out, plan->base_sha256, FED_SHA256_SIZE);
    fields_put_bytes(&out, plan->base_xxh128, FED_XXH128_SIZE);
    fields_put_u64(&out, plan->base_size_bytes);
    fields_put_u32(&out, plan->limit_bits);
    fields_put_u64(&out, plan->examples_max);
    fields_put_u64(&out, plan->time_left_ms);
    fields_put_text(&out, plan->task_data == NULL ? "" : plan->task_data);
    fields_put_u32(&out, (uint32_t)plan->n_tensors);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        fields_put_u32(&out, (uint32_t)plan->scale_bits[i]);
    }
    fields_put_u32(&out, (uint32_t)plan->n_clients);
    for (size_t i = 0; i < plan->n_clients; i++) {
        fields_put_text(&out, plan->client_ids[i]);
    }
    if (out.rc == 0) {
        uint8_t *prefix = buf->data + start;
        const size_t size = buf->size - start - PREFIX_SIZE;
        fed_store_le32(prefix + 12, (uint32_t)size);
        fed_store_le32(prefix + 16, fed_crc32(0, prefix + PREFIX_SIZE, size));
    }
    return out.rc;
}

static void decode_lists(struct fields_in *in, struct fed_plan *plan)
{
    const size_t n_tensors = fields_get_u32(in);

    in->ok = in->ok && n_tensors <= FED_LINK_TENSORS_MAX;
    plan->scale_bits = in->ok ? calloc(n_tensors + 1, sizeof(*plan->scale_bits)) : NULL;
    in->ok = plan->scale_bits != NULL;
    plan->n_tensors = in->ok ? n_tensors : 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        plan->scale_bits[i] = (int32_t)fields_get_u32(in);
    }
    const size_t n_clients = fields_get_u32(in);
    in->ok = in->ok && n_clients <= FED_LINK_CLIENTS_MAX;
    plan->client_ids = in->ok ? calloc(n_clients + 1, FED_ID_SIZE) : NULL;
    in->ok = plan->client_ids != NULL;
    plan->n_clients = in->ok ? n_clients : 0;
    for (size_t i = 0; i < plan->n_clients; i++) {
        fields_get_id(in, plan->client_ids[i], FED_ID_SIZE);
    }
}

int plan_file_decode(struct fed_view bytes, struct fed_plan *ret_plan, struct fed_err *err)
{
    const uint8_t *prefix = bytes.data;
    const uint32_t version = bytes.size < PREFIX_SIZE ? 0 : fed_load_le32(prefix + 8);
    struct fed_plan plan = {.lacks_xxh128 = version == VERSION_1};
    struct fields_in in;

    if ((version != VERSION && version != VERSION_1) || memcmp(prefix, MAGIC, 8) != 0 ||
        fed_load_le32(prefix + 12) != bytes.size - PREFIX_SIZE ||
        fed_load_le32(prefix + 16) !=
            fed_crc32(0, prefix + PREFIX_SIZE, bytes.size - PREFIX_SIZE)) {
        return fed_err_set(err, FED_E_CORRUPT, "no plan, or a damaged one");
    }
    in = fields_in_of(fed_view_of(prefix + PREFIX_SIZE, bytes.size - PREFIX_SIZE));
    fields_get_id(&in, plan.session_id, sizeof(plan.session_id));
    fields_get_id(&in, plan.round_id, sizeof(plan.round_id));
    plan.round_number = fields_get_u32(&in);
    plan.plan_seq = fields_get_u64(&in);
    fields_get_id(&in, plan.base_model_id, sizeof(plan.base_model_id));
    fields_get_bytes(&in, plan.base_sha256, FED_SHA256_SIZE);
    if (!plan.lacks_xxh128) {
        fields_get_bytes(&in, plan.base_xxh128, FED_XXH128_SIZE);
    }
    plan.base_size_bytes = fields_get_u64(&in);
    plan.limit_bits = fields_get_u32(&in);
    plan.examples_max = fields_get_u64(&in);
    plan.time_left_ms = fields_get_u64(&in);
    plan.task_data = fields_get_text(&in, TASK_DATA_MAX);
    decode_lists(&in, &plan);
    if (!in.ok || in.left != 0 || plan.limit_bits > 51) {
        fed_plan_deinit(&plan);
        return fed_err_set(err, FED_E_CORRUPT, "the plan's parts do not fit together");
    }
    *ret_plan = plan;
    return 0;
}
