/* This machine's name as others may know it. */
#ifndef OTTLA_BROKER_NET_HOST_NAME_H
#define OTTLA_BROKER_NET_HOST_NAME_H

#include "broker/net/listeners.h"

/* As Java's InetAddress.getLocalHost().getCanonicalHostName(): the name that the resolver has for the
 * address of the host name; without one the address; without an address the host name itself. Asks
 * the resolver, which may take its time. */
void host_name_canonical(char host[LISTENER_HOST_MAX]);

#endif
