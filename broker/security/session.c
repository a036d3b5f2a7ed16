#include "broker/security/session.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define ANONYMOUS(protocol_)                                                                       \
    {                                                                                              \
        .principal = {.type = {PRINCIPAL_USER, sizeof(PRINCIPAL_USER) - 1},                        \
                      .name = {PRINCIPAL_ANONYMOUS, sizeof(PRINCIPAL_ANONYMOUS) - 1}},             \
        .protocol = (protocol_), .expires_ms = INT64_MAX,                                          \
    }

static const struct session NOBODY[PROTOCOLS_N] = {
    [PROTOCOL_PLAINTEXT] = ANONYMOUS(PROTOCOL_PLAINTEXT),
    [PROTOCOL_SSL] = ANONYMOUS(PROTOCOL_SSL),
    [PROTOCOL_SASL_PLAINTEXT] = ANONYMOUS(PROTOCOL_SASL_PLAINTEXT),
    [PROTOCOL_SASL_SSL] = ANONYMOUS(PROTOCOL_SASL_SSL),
};

const struct session *session_anonymous(int16_t protocol)
{
    CHECK(protocol >= 0 && protocol < PROTOCOLS_N);
    return &NOBODY[protocol];
}

/* One piece of memory: the session, then its texts. */
struct session *session_new(const struct principal *principal, int16_t protocol)
{
    size_t type_len = principal->type.len;
    size_t name_len = principal->name.len;
    struct session *session = xcalloc(1, sizeof(*session) + type_len + name_len);
    char *texts = (char *)(session + 1);
    memcpy(texts, principal->type.data, type_len);
    memcpy(texts + type_len, principal->name.data, name_len);
    *session = (struct session){
        .principal = {.type = {.data = texts, .len = type_len},
                      .name = {.data = texts + type_len, .len = name_len}},
        .protocol = protocol,
        .expires_ms = INT64_MAX,
        .refs = 1,
    };
    return session;
}

const struct session *session_acquire(const struct session *session)
{
    if (session->refs > 0) {
        ((struct session *)(uintptr_t)session)->refs++;
    }
    return session;
}

void session_release(const struct session *session)
{
    struct session *counted = (struct session *)(uintptr_t)session;
    if (session->refs > 0 && --counted->refs == 0) {
        free(counted);
    }
}
