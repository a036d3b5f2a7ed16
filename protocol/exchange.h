/* A request to another broker and its answer, with the headers that stand before them. */
#ifndef OTTLA_PROTOCOL_EXCHANGE_H
#define OTTLA_PROTOCOL_EXCHANGE_H

#include "protocol/codec.h"
#include "protocol/messages.h"

/* What one asks with. */
struct exchange {
    int16_t api_key;
    int version;
};

/* Adds header and body; the correlation id is 0, who sends sets it (at byte 4). E_LIMIT, E_MALFORMED as
 * message_encode. */
NODISCARD err exchange_encode(const struct exchange *exchange, struct str client_id,
                              const void *request, struct writer *out);
/* The same for a body that is encoded already. */
NODISCARD err exchange_encode_body(const struct exchange *exchange, struct str client_id,
                                   struct bytes body, struct writer *out);
/* `response` is of the API's type; its views point into the frame, its arrays into the arena. */
NODISCARD err exchange_decode(const struct exchange *exchange, struct bytes frame,
                              struct arena *arena, void *response);

#endif
