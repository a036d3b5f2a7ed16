/* kafka-storage: Kafka's KRaft brokers start only on directories that this tool has formatted, and images and scripts
 * run it. Here a broker makes what it needs when it starts; the tool is there to say so, with exit status 0, and to
 * hand out ids. Its arguments are checked as far as they are understood; no file is touched. */
#define _GNU_SOURCE
#include "base/bytes.h"
#include "base/random.h"
#include "cli/tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int usage(const char *what)
{
    fprintf(
        stderr,
        "kafka-storage: %s\nusage: kafka-storage random-uuid | format [options] | info [options]\n",
        what);
    return 1;
}

/* As Kafka's: none begins with '-', so that it can be an argument. */
static int random_uuid(void)
{
    char text[UUID_TEXT_LEN + 1];
    do {
        uuid_format(uuid_random(random_system()), text);
    } while (text[0] == '-');
    puts(text);
    return 0;
}

/* The value of --long or -s among the arguments, or NULL. */
static const char *value_of(int argc, char **argv, const char *long_name, const char *short_name)
{
    for (int i = 1; i < argc; i++) {
        size_t len = strlen(long_name);
        if (strncmp(argv[i], long_name, len) == 0 && argv[i][len] == '=') {
            return argv[i] + len + 1;
        }
        if ((strcmp(argv[i], long_name) == 0 || strcmp(argv[i], short_name) == 0) && i + 1 < argc) {
            return argv[i + 1];
        }
    }
    return NULL;
}

static int check_file(int argc, char **argv)
{
    const char *file = value_of(argc, argv, "--config", "-c");
    if (file == NULL) {
        return usage("error: argument --config/-c is required");
    }
    if (access(file, R_OK) != 0) {
        fprintf(stderr, "kafka-storage: cannot read %s: %s\n", file, strerror(errno));
        return 1;
    }
    return 0;
}

static int format(int argc, char **argv)
{
    if (value_of(argc, argv, "--cluster-id", "-t") == NULL) {
        return usage("error: argument --cluster-id/-t is required");
    }
    if (check_file(argc, argv) != 0) {
        return 1;
    }
    puts("Ottla needs no formatted directories: a broker makes what it needs when it starts. "
         "Nothing was changed. The id "
         "of a new cluster is what CLUSTER_ID says, or a random one.");
    return 0;
}

static int info(int argc, char **argv)
{
    if (check_file(argc, argv) != 0) {
        return 1;
    }
    puts("Ottla needs no formatted directories; meta.properties in each log directory says whose "
         "it is.");
    return 0;
}

int tool_storage(int argc, char **argv)
{
    if (argc == 0) {
        return usage("error: too few arguments");
    }
    if (strcmp(argv[0], "random-uuid") == 0) {
        return random_uuid();
    }
    if (strcmp(argv[0], "format") == 0) {
        return format(argc, argv);
    }
    if (strcmp(argv[0], "info") == 0) {
        return info(argc, argv);
    }
    return usage(strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0
                     ? "help"
                     : "error: unknown command");
}
