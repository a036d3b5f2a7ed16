/* The text beside a committed offset. */
#ifndef OTTLA_BROKER_API_OFFSET_METADATA_H
#define OTTLA_BROKER_API_OFFSET_METADATA_H

#include "base/bytes.h"
#include "broker/config.h"

/* offset.metadata.max.bytes, which counts as Java does: in units of UTF-16. */
bool offset_metadata_fits(const struct config *config, struct str metadata);

#endif
