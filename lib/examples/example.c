/* Two brokers in one process, with a topic each:   cc example.c -I lib -L build/release -lottla && ./a.out
 *
 * Prints their addresses, waits for a line on standard input (or its end), and stops them. */
#include "ottla.h"

#include <stdio.h>

int main(void)
{
    char error[OTTLA_ERROR_BYTES];
    const char *const options[] = {"num.partitions=3", "log.retention.hours=1", NULL};
    struct ottla *brokers[2];
    for (int i = 0; i < 2; i++) {
        brokers[i] = ottla_start(options, error, sizeof(error));
        if (brokers[i] == NULL ||
            ottla_create_topic(brokers[i], "orders", error, sizeof(error)) != 0) {
            fprintf(stderr, "%s\n", error);
            return 1;
        }
        puts(ottla_address(brokers[i]));
    }
    fflush(stdout);
    (void)getchar();
    for (int i = 0; i < 2; i++) {
        ottla_stop(brokers[i]);
    }
    return 0;
}
