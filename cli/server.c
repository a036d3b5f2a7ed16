/* kafka-server-stop, and the background of kafka-server-start.
 *
 * Kafka's script ends every process of this machine that runs kafka.Kafka. Here it ends every broker that was started
 * from the same binary: a process of which /proc says that it runs this very file, and whose arguments do not ask for a
 * tool. Those of other users are not ours to end, and are said. */
#define _GNU_SOURCE
#include "cli/server.h"

#include "base/refuse.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/tools.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGUMENTS_BYTES = 4096, ARGUMENTS_MAX = 64 };

err server_to_background(char *reason)
{
    const char *dir = getenv("LOG_DIR");
    dir = dir == NULL || *dir == '\0' ? "logs" : dir;
    char *path = xasprintf("%s/kafkaServer.out", dir);
    int out = mkdir(dir, 0777) == 0 || errno == EEXIST
                  ? open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0666)
                  : -1;
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out < 0 || in < 0) {
        err e = refuse_with(err_from_errno(errno), reason, CLI_REASON_BYTES, "cannot write %s: %s",
                            path, strerror(errno));
        free(path);
        return e;
    }
    free(path);
    pid_t child = fork();
    if (child < 0) {
        return refuse_with(err_from_errno(errno), reason, CLI_REASON_BYTES,
                           "cannot go to the background: %s", strerror(errno));
    }
    if (child > 0) {
        _exit(0);
    }
    (void)setsid();
    (void)dup2(in, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    return OK;
}

static bool is_this_binary(const char *pid)
{
    struct stat ours;
    struct stat theirs;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.20s/exe", pid);
    return stat("/proc/self/exe", &ours) == 0 && stat(path, &theirs) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* Do its arguments ask for a broker? */
static bool is_broker(const char *pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    char text[ARGUMENTS_BYTES + 1];
    ssize_t len = read(fd, text, ARGUMENTS_BYTES);
    close(fd);
    if (len <= 0) {
        return false; /* it has ended */
    }
    text[len] = '\0';
    char *argv[ARGUMENTS_MAX];
    int argc = 0;
    for (char *at = text; at < text + len && argc < ARGUMENTS_MAX; at += strlen(at) + 1) {
        argv[argc++] = at;
    }
    return cli_asks_for_broker(argc, argv);
}

static int stop_all(DIR *processes, int *failed)
{
    int stopped = 0;
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        const char *pid = entry->d_name;
        char *end;
        long number = strtol(pid, &end, 10);
        if (*end != '\0' || number <= 1 || number == getpid() || !is_this_binary(pid) ||
            !is_broker(pid)) {
            continue;
        }
        if (kill((pid_t)number, SIGTERM) == 0) {
            stopped++;
        } else if (errno != ESRCH) {
            fprintf(stderr, "cannot stop process %ld: %s\n", number, strerror(errno));
            (*failed)++;
        }
    }
    return stopped;
}

int tool_server_stop(int argc, char **argv)
{
    if (argc > 0) {
        fprintf(stderr,
                "kafka-server-stop: \"%s\" is not understood: it takes no arguments, and stops all "
                "brokers that run from this "
                "binary\n",
                argv[0]);
        return 1;
    }
    DIR *processes = opendir("/proc");
    if (processes == NULL) {
        perror("kafka-server-stop: /proc");
        return 1;
    }
    int failed = 0;
    int stopped = stop_all(processes, &failed);
    closedir(processes);
    if (stopped == 0 && failed == 0) {
        puts("No kafka server to stop");
    }
    return stopped > 0 && failed == 0 ? 0 : 1;
}
