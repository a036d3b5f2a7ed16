/* Base64, strictly: as SCRAM writes it (RFC 4648, with padding), and as tokens do (the alphabet for URLs, without). */
#ifndef OTTLA_BROKER_SECURITY_BASE64_H
#define OTTLA_BROKER_SECURITY_BASE64_H

#include "base/bytes.h"

enum base64_alphabet { BASE64_PADDED, BASE64_URL };

/* Room for the text of `len` bytes, with its terminator. */
#define BASE64_SIZE(len) (((len) + 2) / 3 * 4 + 1)

/* Writes the text, terminated; returns its length. */
size_t base64_encode(enum base64_alphabet alphabet, struct bytes data, char *text);
/* False: it is no such text, or longer than `size` bytes. Nothing but the alphabet is passed over. */
bool base64_decode(enum base64_alphabet alphabet, struct str text, uint8_t *data, size_t size,
                   size_t *len);

#endif
