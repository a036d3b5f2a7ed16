/* Which version this is, and which one of Kafka it stands for. */
#ifndef OTTLA_BROKER_VERSION_H
#define OTTLA_BROKER_VERSION_H

#define OTTLA_VERSION       "0.1.0"
#define OTTLA_KAFKA_VERSION "3.9.1"

#endif
