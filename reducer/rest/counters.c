#include "reducer/rest/counters.h"

static const struct {
    const char *metric;
    const char *help;
} table[COUNTER_MAX] = {
#define COUNTER(name, metric, help) [COUNTER_##name] = {metric, help},
#include "reducer/rest/counters.def"
#undef COUNTER
};

int counters_format(const struct counters *counters, struct fed_buf *buf, struct fed_err *err)
{
    int rc = 0;

    for (int i = 0; i < COUNTER_MAX && rc == 0; i++) {
        rc = fed_buf_addf(buf, err, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", table[i].metric,
                          table[i].help, table[i].metric, table[i].metric,
                          (unsigned long long)atomic_load(&counters->values[i]));
    }
    if (rc == 0) {
        rc = fed_buf_addf(buf, err,
                          "# HELP confed_updates_refused_total Updates refused, by reason.\n"
                          "# TYPE confed_updates_refused_total counter\n");
    }
    for (int i = FED_REFUSAL_NONE + 1; i < FED_REFUSAL_MAX && rc == 0; i++) {
        rc = fed_buf_addf(buf, err, "confed_updates_refused_total{reason=\"%s\"} %llu\n",
                          fed_refusal_word((enum fed_refusal)i),
                          (unsigned long long)atomic_load(&counters->refused[i]));
    }
    return rc;
}
