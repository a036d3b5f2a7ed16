/* The rules of org.apache.kafka.common.internals.Topic. */
#include "protocol/topic_name.h"

bool topic_is_internal(struct str name)
{
    return str_is(name, "__consumer_offsets") || str_is(name, "__transaction_state");
}

bool topic_name_is_legal(struct str name)
{
    if (name.len == 0 || name.len > TOPIC_NAME_MAX || str_is(name, ".") || str_is(name, "..")) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_' || c == '-';
        if (!legal) {
            return false;
        }
    }
    return true;
}
