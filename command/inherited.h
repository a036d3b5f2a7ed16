/* Listening sockets that whoever started the broker has bound for it: systemd's socket units, sd_listen_fds(3).
 *
 * A listener whose name is a socket's (FileDescriptorName=, in any case), or else whose address is, takes it instead
 * of binding one of its own. So ports below 1024 need no rights, and clients that connect while the broker restarts
 * wait instead of being refused.
 *
 * The thread that starts the broker. */
#ifndef OTTLA_COMMAND_INHERITED_H
#define OTTLA_COMMAND_INHERITED_H

#include "broker/broker.h"

struct inherited;

/* Reads LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES and removes them from the environment. *out stays NULL where there are
 * none, or they are not meant for this process. E_CONFIG and the reason if a descriptor is no listening TCP socket. */
NODISCARD err inherited_open(struct inherited **out, char reason[BROKER_REASON_BYTES]);
/* For struct broker_env; NULL of NULL. A socket that no listener takes is refused: its clients would wait for ever, since
 * systemd keeps it open. */
struct bound_sockets *inherited_sockets(struct inherited *inherited);
/* Closes what was not taken. */
void inherited_free(struct inherited *inherited);

#endif
