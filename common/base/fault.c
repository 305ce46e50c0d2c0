#include "common/base/fault.h"

#ifdef CONFED_FAULTS

#    include <pthread.h>
#    include <signal.h>
#    include <stdatomic.h>
#    include <stdint.h>
#    include <stdlib.h>
#    include <string.h>
#    include <unistd.h>

static struct {
    const char *name;           /* (size,) of the environment's text; NULL: none */
    size_t size;                /* bytes of the name */
    _Atomic uint32_t n_to_pass; /* the point kills when this comes to 0 */
    int signal;
} fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load_fault(void)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): set before the process starts, and never changed */
    const char *text = getenv("CONFED_FAULT");
    const char *colon;

    if (text == NULL) {
        return;
    }
    colon = strchr(text, ':');
    fault.signal = strstr(text, ":stop") != NULL ? SIGSTOP : SIGKILL;
    fault.size = colon == NULL ? strlen(text) : (size_t)(colon - text);
    atomic_store(&fault.n_to_pass, colon == NULL ? 1U : (uint32_t)strtoul(colon + 1, NULL, 10));
    fault.name = text;
}

void fed_fault_point(const char *name)
{
    (void)pthread_once(&once, load_fault);
    if (fault.name != NULL && strlen(name) == fault.size &&
        memcmp(name, fault.name, fault.size) == 0 && atomic_fetch_sub(&fault.n_to_pass, 1) == 1) {
        (void)kill(getpid(), fault.signal);
    }
}

#else

/* C17 wants something in a file. */
typedef int fed_fault_none_fn(void);

#endif
