#include "combiner/spool/staging.h"

#include <assert.h>
#include <stdlib.h>

void staging_init(struct staging *staging, const struct staging_limits *limits)
{
    *staging = (struct staging){.limits = *limits};
    fed_strmap_init(&staging->by_id);
    fed_list_init(&staging->kept);
    fed_list_init(&staging->dropped);
}

static void free_all(struct fed_list *list)
{
    struct fed_link *link;

    while ((link = fed_list_take(list)) != NULL) {
        free(FED_CONTAINER_OF(link, struct staged, link));
    }
}

void staging_deinit(struct staging *staging)
{
    free_all(&staging->kept);
    free_all(&staging->dropped);
    fed_strmap_deinit(&staging->by_id);
    fed_strmap_init(&staging->by_id);
}

static bool is_full(const struct staging *staging, uint64_t size_bytes)
{
    const uint64_t used = staging->n_bytes + staging->reserved;

    return staging->n_uploads >= staging->limits.uploads_max || used > staging->limits.bytes_max ||
           size_bytes > staging->limits.bytes_max - used;
}

bool staging_reserve(struct staging *staging, uint64_t size_bytes, uint64_t now_ms)
{
    while (is_full(staging, size_bytes)) {
        struct staged *oldest;
        if (fed_list_is_empty(&staging->kept)) {
            return false;
        }
        oldest = FED_CONTAINER_OF(staging->kept.head.next, struct staged, link);
        if (now_ms < oldest->put_ms + staging->limits.age_ms) {
            return false;
        }
        staging_drop(staging, oldest);
    }
    staging->reserved += size_bytes;
    return true;
}

void staging_release(struct staging *staging, uint64_t size_bytes)
{
    assert(size_bytes <= staging->reserved);
    staging->reserved -= size_bytes;
}

int staging_put(struct staging *staging,
                const struct spool_upload *upload,
                uint64_t now_ms,
                struct staged **ret_staged,
                struct fed_err *err)
{
    struct staged *staged = calloc(1, sizeof(*staged));
    struct staged *old = staging_find(staging, upload->id);
    int rc;

    if (staged == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "upload");
    }
    if (old != NULL) {
        staging_drop(staging, old);
    }
    staged->upload = *upload;
    staged->put_ms = now_ms;
    rc = fed_strmap_put(&staging->by_id, upload->id, staged, NULL, err);
    if (rc < 0) {
        free(staged);
        return rc;
    }
    fed_list_add(&staging->kept, &staged->link);
    staging->n_uploads++;
    staging->n_bytes += upload->file.size_bytes;
    *ret_staged = staged;
    return 0;
}

struct staged *staging_find(const struct staging *staging, const char *id)
{
    return fed_strmap_find(&staging->by_id, id);
}

void staging_claim(struct staging *staging, struct staged *staged)
{
    assert(!staged->is_claimed);
    staged->is_claimed = true;
    fed_link_remove(&staged->link);
    (void)fed_strmap_take(&staging->by_id, staged->upload.id);
}

void staging_give_back(struct staging *staging, struct staged *staged)
{
    assert(staged->is_claimed);
    if (staging_find(staging, staged->upload.id) != NULL ||
        fed_strmap_put(&staging->by_id, staged->upload.id, staged, NULL, NULL) < 0) {
        staging_drop(staging, staged);
        return;
    }
    staged->is_claimed = false;
    fed_list_add(&staging->kept, &staged->link);
}

void staging_drop(struct staging *staging, struct staged *staged)
{
    assert(staging->n_uploads > 0);
    if (!staged->is_claimed) {
        staging_claim(staging, staged);
    }
    staging->n_uploads--;
    staging->n_bytes -= staged->upload.file.size_bytes;
    fed_list_add(&staging->dropped, &staged->link);
}

struct staged *staging_take_dropped(struct staging *staging)
{
    struct fed_link *link = fed_list_take(&staging->dropped);

    return link == NULL ? NULL : FED_CONTAINER_OF(link, struct staged, link);
}
