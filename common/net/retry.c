#include "common/net/retry.h"

#include "common/base/rand.h"

uint64_t fed_retry_delay_ms(uint32_t attempt, uint64_t base_ms, uint64_t max_ms, uint64_t seed)
{
    const uint64_t key[] = {seed, attempt};
    uint64_t delay_ms = base_ms;
    struct fed_rand rand;

    for (uint32_t i = 0; i < attempt && i < 64 && delay_ms < max_ms; i++) {
        delay_ms = delay_ms > max_ms / 2 ? max_ms : delay_ms * 2;
    }
    delay_ms = delay_ms < max_ms ? delay_ms : max_ms;
    fed_rand_init(&rand, key, 2);
    return delay_ms / 2 + fed_rand_below(&rand, delay_ms - delay_ms / 2 + 1);
}
