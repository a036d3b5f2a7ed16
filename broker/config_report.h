/* What a configuration does here, for people: ottla --check. */
#ifndef OTTLA_BROKER_CONFIG_REPORT_H
#define OTTLA_BROKER_CONFIG_REPORT_H

#include "broker/config.h"

#include <stdio.h>

/* Writes what becomes of each option that is set, and whether a broker would start with them as far as options go: what
 * of the outside would refuse it (ports, directories, ZooKeeper) is not looked at. Reads the options to their end
 * (config_finish). True: it would start. `source` names where they come from. */
bool config_report(struct config *config, const char *source, FILE *out);

#endif
