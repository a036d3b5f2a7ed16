/* How clients are shown the value of an option. */
#ifndef OTTLA_BROKER_API_CONFIG_SHOWN_H
#define OTTLA_BROKER_API_CONFIG_SHOWN_H

#include "broker/api/request.h"
#include "broker/config.h"

/* A valid value as Kafka shows one that it has parsed: numbers as Java writes them, true and false in
 * small letters, nothing around texts and around the entries of lists. In the request's arena; null
 * for NULL and for passwords. */
struct str config_shown(struct req *r, enum option_type type, const char *text);

#endif
