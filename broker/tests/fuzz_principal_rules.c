/* Arbitrary text as mapping rules, and as the name that they are applied to: the first zero byte is between the two. */
#include "broker/security/principal_rules.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char reason[256];
    struct principal_rules *rules = NULL;
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    size_t len = strlen(text);
    if (principal_rules_parse(text, &rules, reason, sizeof(reason)) == OK) {
        free(principal_rules_apply(rules, len < size ? text + len + 1 : "CN=x,O=y"));
        principal_rules_free(rules);
    }
    free(text);
    return 0;
}
