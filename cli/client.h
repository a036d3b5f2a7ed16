/* One connection to a broker: requests and their answers, one after the other, each waited for.
 *
 * A broker is asked first what it can (ApiVersions), and then always in the newest version that both know. Every
 * operation has a time-out. An error has a sentence in client_reason(), for people. Not thread-safe. */
#ifndef OTTLA_CLI_CLIENT_H
#define OTTLA_CLI_CLIENT_H

#include "base/arena.h"
#include "base/err.h"
#include "cli/command_config.h"
#include "protocol/messages.h"

struct client;

enum { CLIENT_REASON_BYTES = 512 };

struct client_address {
    const char *host;
    int port;
};

/* Connects, all addresses of the name one after the other, logs in as `security` (which outlives the client) says, and
 * asks for the versions; all within the time-out. `reason` says why not. */
NODISCARD err client_open(struct client_address to, const struct client_security *security,
                          int timeout_ms, struct client **client, char reason[CLIENT_REASON_BYTES]);
void client_close(struct client *client); /* NULL is fine */

/* Asks, and waits for the answer, which lives as long as the arena. `version_max` is a bound on the version, for
 * messages of which newer ones mean something else; 0: none. After an error other than E_UNSUPPORTED the connection
 * is of no more use. */
struct client_question {
    int16_t api_key;
    int16_t version_min; /* an older one cannot carry the request */
    int16_t version_max;
    const void *request;
    void *response;
};
NODISCARD err client_ask(struct client *client, const struct client_question *question,
                         struct arena *arena);
/* For what has no answer: a Produce with acks=0. */
NODISCARD err client_tell(struct client *client, const struct client_question *question);
/* Why the last one failed. */
const char *client_reason(const struct client *client);
/* Of an answer that may take longer (or shorter) from now on. */
void client_set_timeout(struct client *client, int timeout_ms);

/* The broker's range for an API. False: it does not have it. */
bool client_versions(const struct client *client, int16_t api_key, int16_t *min, int16_t *max);
/* Everything it said. */
const struct api_versions_response *client_apis(const struct client *client);

#endif
