/* A METER of Confluent's dialect has no _total, so that OpenMetrics would not have it as a counter. */
#include "broker/metrics/families.h"

static const struct metric_family FAMILIES[METRICS_N] = {
#define METRIC(id, kind, name, help) [METRIC_##id] = {METRIC_##kind, (name), (help)},
#include "broker/metrics.def"
#undef METRIC
};

const struct metric_family *metric_family_of(enum metric metric)
{
    return &FAMILIES[metric];
}

const char *metric_suffix(enum metric_kind kind, enum metric_dialect dialect)
{
    static const char *const METER_SUFFIXES[] = {"_total", "persec_total", "persec"};
    static const char *const PERCENT_SUFFIXES[] = {"_percent", "percent", "percent"};
    switch (kind) {
    case METRIC_METER:
        return METER_SUFFIXES[dialect];
    case METRIC_PERCENT:
        return PERCENT_SUFFIXES[dialect];
    default:
        return "";
    }
}

const char *metric_type(enum metric_kind kind, enum metric_dialect dialect)
{
    switch (kind) {
    case METRIC_METER:
        return dialect == DIALECT_CONFLUENT ? "untyped" : "counter";
    case METRIC_COUNTER:
        return "counter";
    case METRIC_TIMES:
    case METRIC_SIZES:
        return "summary";
    default:
        return "gauge";
    }
}
