/* Text from a peer, made valid UTF-8 as Java does it. */
#ifndef OTTLA_BASE_UTF8_H
#define OTTLA_BASE_UTF8_H

#include "base/arena.h"

/* The text itself where it is valid, else a copy in the arena with one U+FFFD for each malformed
 * part, divided as Java's decoder does. False when the arena is full. */
bool utf8_clean(struct str *text, struct arena *arena);

bool utf8_is_valid(struct str text);

#endif
