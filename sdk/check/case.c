/* Cases: the process that each runs in, its outcome, and what suites share.
 *
 * A case runs in a child so that a crash or a hang is its outcome and not the end of the tool. The
 * tool is a subreaper: what a plugin leaves running, even detached, becomes its child and is killed
 * after the case.
 */
#include "case.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A joined thread stays in the process table for a moment. */
enum { THREAD_SETTLE_MS = 20, THREAD_EXIT_MS = 1000 };

/* ---- In the child ---- */

static int outcome_fd = -1;
static int outcome_is_sent;

void case_set_outcome_fd(int fd)
{
    outcome_fd = fd;
}

/* The first thread to come here decides. */
static void __attribute__((format(printf, 2, 0)))
send_outcome(char kind, const char *format, va_list args)
{
    char text[1024];
    int len;

    if (__atomic_exchange_n(&outcome_is_sent, 1, __ATOMIC_ACQ_REL))
        for (;;)
            pause();
    text[0] = kind;
    len = 1 + vsnprintf(text + 1, sizeof(text) - 1, format, args);
    if (len >= (int)sizeof(text))
        len = (int)sizeof(text) - 1;
    if (write(outcome_fd, text, (size_t)len) < 0)
        _exit(3);
}

void case_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send_outcome('F', format, args);
    va_end(args);
    _exit(0);
}

void case_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send_outcome('S', format, args);
    va_end(args);
    _exit(0);
}

static void send_pass(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    send_outcome('O', format, args);
    va_end(args);
}

void case_pass(void)
{
    send_pass("%s", "");
    /* Not _exit: a leak checker may want a word. */
    exit(0);
}

static void run_in_child(const struct check_case *one, const struct options *options,
                         const struct fng_plugin *plugin, const char *dir, int fd)
{
    struct case_context context = {options, plugin, dir};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    case_set_outcome_fd(fd);
    one->run(&context);
    case_pass();
}

/* ---- In the parent ---- */

static void outcome_set(struct outcome *outcome, enum outcome_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void outcome_set(struct outcome *outcome, enum outcome_kind kind, const char *format, ...)
{
    va_list args;

    outcome->kind = kind;
    va_start(args, format);
    vsnprintf(outcome->text, sizeof(outcome->text), format, args);
    va_end(args);
}

/* Bytes until end of file; -1 when the time is over first. */
static ssize_t read_outcome(int fd, char *text, size_t cap, int64_t limit_ms)
{
    int64_t end_ms = now_ms() + limit_ms;
    size_t len = 0;

    while (len < cap) {
        int64_t left_ms = end_ms - now_ms();
        struct pollfd poll_fd = {fd, POLLIN, 0};
        ssize_t got;

        if (left_ms <= 0 || poll(&poll_fd, 1, (int)left_ms) == 0)
            return -1;
        got = read(fd, text + len, cap - len);
        if (got == 0)
            break;
        if (got > 0)
            len += (size_t)got;
    }
    return (ssize_t)len;
}

static bool wait_until(pid_t child, int *status, int64_t end_ms)
{
    while (waitpid(child, status, WNOHANG) == 0) {
        if (now_ms() >= end_ms)
            return false;
        sleep_ms(2);
    }
    return true;
}

static void judge(struct outcome *outcome, const char *text, ssize_t len, int status)
{
    if (WIFSIGNALED(status))
        outcome_set(outcome, OUTCOME_FAILED, "the plugin crashed: signal %d (%s)", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    else if (len <= 0)
        outcome_set(outcome, OUTCOME_FAILED, "the plugin ended the process with status %d",
                    WEXITSTATUS(status));
    else if (text[0] == 'F')
        outcome_set(outcome, OUTCOME_FAILED, "%.*s", (int)len - 1, text + 1);
    else if (text[0] == 'S')
        outcome_set(outcome, OUTCOME_SKIPPED, "%.*s", (int)len - 1, text + 1);
    else if (WEXITSTATUS(status) != 0)
        outcome_set(outcome, OUTCOME_FAILED, "the process ended with status %d after the case",
                    WEXITSTATUS(status));
    else
        outcome_set(outcome, OUTCOME_OK, "%s", "");
}

static void await_child(pid_t child, int fd, int64_t limit_ms, struct outcome *outcome)
{
    int64_t end_ms = now_ms() + limit_ms;
    char text[1024];
    ssize_t len = read_outcome(fd, text, sizeof(text), limit_ms);
    int status;

    if (len >= 0 && wait_until(child, &status, end_ms)) {
        judge(outcome, text, len, status);
        return;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    outcome_set(outcome, OUTCOME_FAILED, "it did not end within %lld ms%s", (long long)limit_ms,
                len > 0 ? ", although the case was over" : "");
}

/* Kills what the case left behind, however deep: orphans come to us, the subreaper. */
static void kill_leftovers(void)
{
    char name[64], line[4096];
    size_t len;
    FILE *stream;

    snprintf(name, sizeof(name), "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        stream = fopen(name, "re");
        len = stream ? fread(line, 1, sizeof(line) - 1, stream) : 0;
        if (stream)
            fclose(stream);
        line[len] = 0;
        if (len == 0)
            return;
        /* Each by its number: children of theirs come to us meanwhile, and are in the next list. */
        for (char *at = line, *end; strtol(at, &end, 10) > 0; at = end) {
            pid_t child = (pid_t)strtol(at, NULL, 10);

            /* Not one that is no child of ours, should the list have been cut inside a number. */
            if (waitpid(child, NULL, WNOHANG) != 0)
                continue;
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
    }
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

struct outcome case_run(const struct check_case *one, const struct options *options,
                        const struct fng_plugin *plugin)
{
    char dir[] = "/tmp/fngate-check-XXXXXX";
    struct outcome outcome;
    int fds[2];
    pid_t child;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!mkdtemp(dir) || pipe2(fds, O_CLOEXEC) != 0 || (child = fork()) < 0) {
        outcome_set(&outcome, OUTCOME_FAILED, "the tool cannot begin: %s", strerror(errno));
        return outcome;
    }
    if (child == 0) {
        close(fds[0]);
        run_in_child(one, options, plugin, dir, fds[1]);
    }
    close(fds[1]);
    await_child(child, fds[0], options->limit_ms, &outcome);
    close(fds[0]);
    kill_leftovers();
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return outcome;
}

/* ---- What suites share ---- */

struct instance *case_open(struct case_context *context, const char *name, struct kv *kv,
                           struct view *view)
{
    struct instance *instance = must_zalloc(sizeof(*instance));
    char *dir = must_printf("%s/%s", context->dir, name);
    struct host *host;
    char *wrong;

    mkdir(dir, 0700);
    host = host_new(name, dir, context->options->libexec_dir, kv, view);
    host->is_loud = context->options->is_loud;
    free(dir);
    wrong = instance_open(instance, context->plugin, host, &context->options->settings);
    CHECK(!wrong, "the plugin refuses its configuration: %s", wrong);
    return instance;
}

struct instance *case_start(struct case_context *context, const char *name, struct kv *kv,
                            struct view *view)
{
    struct instance *instance = case_open(context, name, kv, view);
    struct call call;
    int32_t error = instance_start(instance, &call);

    CHECK(error == 0, "start: %s: %s", error_name(error), call.text);
    return instance;
}

void case_close(struct instance *instance)
{
    struct host *host = instance->host;

    instance_close(instance);
    host_free(host);
    free(instance);
}

void case_stop(struct instance *instance)
{
    instance_drain(instance);
    instance_stop(instance);
    case_close(instance);
}

const char *error_name(int32_t error)
{
    static const char *const names[] = {
        "OK",          "INTERNAL",    "NOT_FOUND", "CONFLICT",  "INVALID",
        "UNAVAILABLE", "UNSUPPORTED", "TIMEOUT",   "CANCELLED", "LIMIT",
    };

    return error <= 0 && (size_t)-error < COUNT_OF(names) ? names[-error] : "an unknown error";
}

struct thread_start {
    void (*body)(unsigned index, void *arg);
    void *arg;
    unsigned index;
    pthread_t thread;
};

static void *thread_main(void *arg)
{
    struct thread_start *start = arg;

    start->body(start->index, start->arg);
    return NULL;
}

void run_threads(unsigned count, void (*body)(unsigned index, void *arg), void *arg)
{
    struct thread_start *starts = must_zalloc(count * sizeof(*starts));

    for (unsigned i = 0; i < count; i++) {
        starts[i] = (struct thread_start){body, arg, i, 0};
        CHECK(pthread_create(&starts[i].thread, NULL, thread_main, &starts[i]) == 0,
              "the tool cannot start a thread");
    }
    for (unsigned i = 0; i < count; i++)
        pthread_join(starts[i].thread, NULL);
    free(starts);
}

static unsigned count_entries(const char *name)
{
    DIR *dir = opendir(name);
    unsigned count = 0;

    CHECK(dir, "the tool cannot read %s", name);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

unsigned count_descriptors(void)
{
    return count_entries("/proc/self/fd") - 1; /* without the folder itself */
}

static void do_nothing(unsigned index, void *arg)
{
    (void)index;
    (void)arg;
}

unsigned count_threads(void)
{
    /* A sanitizer begins a thread of its own with the first one. */
    run_threads(1, do_nothing, NULL);
    sleep_ms(THREAD_SETTLE_MS);
    return count_entries("/proc/self/task");
}

unsigned threads_left(unsigned before)
{
    int64_t end_ms = now_ms() + THREAD_EXIT_MS;
    unsigned count;

    while ((count = count_entries("/proc/self/task")) > before && now_ms() < end_ms)
        sleep_ms(2);
    return count > before ? count - before : 0;
}
