/* Answers that refuse, made from the schemas: what a request names is named again in the answer, with an error.
 *
 * How the answer to a request looks like it: an element of the answer's array has the name of the element of the request
 * that it answers (its first field, and its first text), an error code, or else an array of elements for those inside.
 * A field of the answer that is none of this keeps its default. Only for APIs whose messages are so: broker/api/api.def
 * says which, and a test goes through them all. */
#ifndef OTTLA_PROTOCOL_REFUSAL_H
#define OTTLA_PROTOCOL_REFUSAL_H

#include "protocol/codec.h"

/* An array of a message, or of a struct in one. */
struct message_array {
    const struct shape *shape; /* of the elements; NULL: they are texts or numbers */
    uint8_t *elements;
    int32_t count; /* -1: null */
    size_t size;   /* of one */
    int32_t *count_at;
    void **elements_at;
};

/* The array of that name in a message; false: this version has none. */
bool message_array_of(const struct message *message, int version, void *in, const char *name,
                      struct message_array *array);
/* A text of a message; false: this version has none. */
bool message_text_of(const struct message *message, int version, const void *in, const char *name,
                     struct str *text);
/* The text that names an element: itself, or its field of that name. */
struct str message_element_text(const struct message_array *array, int32_t at, const char *name);
/* The number that an element begins with; 0: it begins with none. */
int64_t message_element_number(const struct message_array *array, int32_t at);

struct refusal {
    int16_t error;
    struct str message; /* null: none is told */
    bool inside;        /* where the answer has an error of its own, those inside it are set too */
    const char *echoed; /* an array of an element that the answer's element repeats; NULL: none */
    bool flat;          /* the outermost array of the request has no counterpart */
};

/* Fills an answer (message_init() was called): all of the request is refused. E_LIMIT: no memory. */
NODISCARD err message_refuse(const struct message *request, const struct message *response,
                             int version, const void *in, void *out, const struct refusal *refusal,
                             struct arena *arena);

/* Some elements of one array of a request, refused: elements for the answer. */
struct refused {
    const struct shape *shape;
    uint8_t *elements; /* in the arena, with all that they point to */
    int32_t count;
    int32_t room;
};
/* Room for so many, in the answer's array that has errors. */
NODISCARD err refused_init(const struct message *response, int version, int32_t room,
                           struct refused *refused, struct arena *arena);
NODISCARD err refused_add(struct refused *refused, int version, const struct message_array *array,
                          int32_t at, const struct refusal *refusal, struct arena *arena);
/* Has the answer an error for all of it? */
bool message_has_error(const struct message *response, int version);
/* Puts them behind what the answer has, unless it is an error for all. */
NODISCARD err refused_append(const struct refused *refused, const struct message *response,
                             int version, void *out, struct arena *arena);

#endif
