/* The APIs by which a controller tells brokers what they lead, follow and know, and by which they ask
 * their controller. */
#ifndef OTTLA_BROKER_CLUSTER_CONTROL_KEYS_H
#define OTTLA_BROKER_CLUSTER_CONTROL_KEYS_H

enum { KEY_LEADER_AND_ISR = 4, KEY_STOP_REPLICA = 5, KEY_UPDATE_METADATA = 6 };
enum { KEY_CONTROLLED_SHUTDOWN = 7, KEY_ALTER_PARTITION = 56, KEY_ALLOCATE_PRODUCER_IDS = 67 };

#endif
