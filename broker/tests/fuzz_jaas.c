/* Any text as a JAAS entry: it is read or refused with a sentence, and what is read can be written and read again. */
#include "broker/security/jaas.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char HEAD[] = "org.apache.kafka.common.security.plain.PlainLoginModule required ";
    char reason[512];
    bool headed = size > 0 && data[0] == 'h'; /* past the class, which is hard to guess */
    char *text = calloc(1, sizeof(HEAD) + size);
    CHECK(text != NULL);
    if (headed) {
        memcpy(text, HEAD, sizeof(HEAD) - 1);
    }
    if (size > 0) {
        memcpy(text + strlen(text), data, size);
    }
    struct jaas jaas;
    reason[0] = '\0';
    err e = jaas_parse(text, &jaas, reason, sizeof(reason));
    CHECK((e == OK) == (reason[0] == '\0'));
    jaas_deinit(&jaas);
    free(text);
    return 0;
}
