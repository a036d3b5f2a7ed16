/* SCRAM users are added and removed: what AlterUserScramCredentials asks for, checked as Kafka does and written into
 * the users' nodes, which all brokers read (client_configs.h). A user's changes are one, and have one result.
 *
 * Thread: the control thread. (reference: security §3) */
#ifndef OTTLA_BROKER_CLUSTER_SCRAM_ALTER_H
#define OTTLA_BROKER_CLUSTER_SCRAM_ALTER_H

#include "broker/cluster/config_alter.h"

struct scram_wish {
    struct str user;
    int8_t mechanism;
    bool removes;
    int32_t iterations; /* these three where it does not */
    struct bytes salt;
    struct bytes salted_password;
};

struct scram_result {
    struct str user;
    err error;           /* 93, 33, 91, 92, or of the store */
    const char *message; /* "" */
};

/* Deletions stand before the others. `results` has room for as many as there are wishes. Returns how many there are. */
int32_t scram_alter(const struct config_editor *editor, const struct scram_wish *wishes,
                    int32_t wishes_n, struct scram_result *results);

#endif
