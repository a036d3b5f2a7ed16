/* ApiVersions: which APIs this broker serves. An unknown version of it is answered in version 0
 * with UNSUPPORTED_VERSION and the one entry that helps (KIP-511). */
#include "broker/broker.h"

enum { API_VERSIONS_KEY = 18, CHECKED_FROM_VERSION = 3 };

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool name_is_legal(struct str name)
{
    if (name.len == 0 || !is_alnum(name.data[0]) || !is_alnum(name.data[name.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (!is_alnum(name.data[i]) && name.data[i] != '-' && name.data[i] != '.') {
            return false;
        }
    }
    return true;
}

static void add_key(struct api_versions_response *out, int16_t key)
{
    const struct api_schema *schema = api_schema_of(key);
    struct api_versions_response_api_key *entry = &out->api_keys[out->api_keys_n++];
    entry->api_key = schema->key;
    entry->min_version = schema->version_min;
    entry->max_version = schema->version_max;
}

enum req_status handle_api_versions(struct req *r)
{
    const struct api_versions_request *in = r->in;
    struct api_versions_response *out = r->out;
    size_t count = 0;
    const struct api_schema *schemas = api_schemas(&count);
    out->api_keys = req_array(r, (int32_t)count, sizeof(*out->api_keys));
    if (out->api_keys == NULL) {
        return REQ_CLOSE;
    }
    if (r->header_v0_body) {
        out->error_code = ERR_UNSUPPORTED_VERSION;
        add_key(out, API_VERSIONS_KEY);
        return REQ_DONE;
    }
    if (r->version >= CHECKED_FROM_VERSION &&
        (!name_is_legal(in->client_software_name) || !name_is_legal(in->client_software_version))) {
        out->error_code = ERR_INVALID_REQUEST;
        return REQ_DONE;
    }
    for (size_t i = 0; i < count; i++) {
        if (api_of(schemas[i].key) != NULL) {
            add_key(out, schemas[i].key);
        }
    }
    out->finalized_features_epoch = 0; /* the version of /feature, which has no features */
    return REQ_DONE;
}
