#include "tests/unit/client/daemon.h"

#include <assert.h>
#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/file.h"

#define ARGUMENTS_MAX   40
#define ENVIRONMENT_MAX 256

extern char **environ;

void daemon_prepare(struct daemon *daemon)
{
    *daemon = (struct daemon){0};
    (void)snprintf(daemon->folder, sizeof(daemon->folder), "/tmp/confed-client-test-XXXXXX");
    const char *made = mkdtemp(daemon->folder);
    assert(made != NULL);
}

void daemon_clean(struct daemon *daemon)
{
    static const char *const parts[] = {"/state/updates", "/state/tmp", "/state", "/data", ""};
    char path[512];

    if (daemon->pid > 0) {
        (void)kill(daemon->pid, SIGKILL);
        (void)waitpid(daemon->pid, NULL, 0);
        daemon->pid = 0;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", daemon->folder, parts[i]);
        (void)!fed_folder_remove(path, NULL);
    }
}

void daemon_start(struct daemon *daemon, const char *const arguments[], const char *fault)
{
    static char program[] = CONFED_CLIENT;
    char state[300];
    char copies[ARGUMENTS_MAX][300];
    char fault_text[128];
    char *argv[ARGUMENTS_MAX] = {program, state};
    char *envp[ENVIRONMENT_MAX];
    size_t n = 2;
    size_t n_env = 0;
    int rc;

    assert(daemon->pid == 0);
    (void)snprintf(state, sizeof(state), "--state=%s/state", daemon->folder);
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert(n < ARGUMENTS_MAX - 1);
        (void)snprintf(copies[n], sizeof(copies[n]), "%s", arguments[i]);
        argv[n] = copies[n];
        n++;
    }
    for (size_t i = 0; environ[i] != NULL && n_env < ENVIRONMENT_MAX - 2; i++) {
        envp[n_env++] = environ[i];
    }
    if (fault != NULL) {
        (void)snprintf(fault_text, sizeof(fault_text), "CONFED_FAULT=%s", fault);
        envp[n_env++] = fault_text;
    }
    envp[n_env] = NULL;
    rc = posix_spawn(&daemon->pid, program, NULL, NULL, argv, envp);
    assert(rc == 0);
}

int daemon_wait(struct daemon *daemon)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int status = 0;

    for (unsigned i = 0; i < 2000; i++) {
        const pid_t pid = waitpid(daemon->pid, &status, WNOHANG);
        if (pid == daemon->pid) {
            daemon->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
        (void)nanosleep(&pause, NULL);
    }
    (void)fprintf(stderr, "the daemon does not end\n");
    abort();
}

void daemon_signal(const struct daemon *daemon, int number)
{
    assert(daemon->pid > 0);
    (void)kill(daemon->pid, number);
}

bool daemon_has_file(const struct daemon *daemon, const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", daemon->folder, name);
    return access(path, F_OK) == 0;
}
