/* The families of metrics, one row each in broker/metrics.def, and how they are called in each dialect.
 *
 * Three dialects are in use for the same beans of Kafka: that of jmx_exporter's example, which most boards
 * and alerts are written for; that of Strimzi's Metrics Reporter; and that of Confluent's stacks, which
 * cuts nothing off a bean's name and adds nothing. (reference: conventions §2.6) */
#ifndef OTTLA_BROKER_METRICS_FAMILIES_H
#define OTTLA_BROKER_METRICS_FAMILIES_H

#include <stddef.h>

enum metric {
#define METRIC(id, kind, name, help) METRIC_##id,
#include "broker/metrics.def"
#undef METRIC
    METRICS_N
};

enum metric_kind {
    METRIC_METER,
    METRIC_PERCENT,
    METRIC_VALUE,
    METRIC_TIMES,
    METRIC_SIZES,
    METRIC_COUNTER,
    METRIC_GAUGE,
};

/* As the values of ottla.metrics.dialect stand in config.def. */
enum metric_dialect { DIALECT_JMX_EXPORTER, DIALECT_STRIMZI, DIALECT_CONFLUENT };

struct metric_family {
    enum metric_kind kind;
    const char *name;
    const char *help;
};
const struct metric_family *metric_family_of(enum metric metric);
/* What the kind adds to the name. */
const char *metric_suffix(enum metric_kind kind, enum metric_dialect dialect);
/* As in a TYPE line: "counter", "gauge", "summary", "untyped". */
const char *metric_type(enum metric_kind kind, enum metric_dialect dialect);

#endif
