/* The order in which a java.util.HashMap hands out its keys. Kafka's tools print maps as they are, and scripts compare
 * what they print. */
#ifndef OTTLA_CLI_JAVA_ORDER_H
#define OTTLA_CLI_JAVA_ORDER_H

#include "base/bytes.h"

/* Sorts `order`, indexes of keys in the order in which they were put, by the order of a map that was made for
 * `expected` keys (0: with new HashMap()). `keys` are ASCII. */
void java_order(const struct str *keys, size_t keys_n, size_t expected, size_t *order);

#endif
