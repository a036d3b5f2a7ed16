/* What the two APIs that commit offsets share. */
#ifndef OTTLA_BROKER_API_OFFSET_METADATA_H
#define OTTLA_BROKER_API_OFFSET_METADATA_H

#include "base/bytes.h"
#include "base/err.h"
#include "broker/config.h"

/* offset.metadata.max.bytes, which counts as Java does: in units of UTF-16. */
bool offset_metadata_fits(const struct config *config, struct str metadata);
/* Errors of storing, as committers know them. */
err offset_store_err(err outcome);

#endif
