/* The call that a thread is in: its deadline, its cancellation, and why it fails. */
#include "plugin/internal.h"

#include "base/sys.h"

#include <sys/eventfd.h>
#include <unistd.h>

static _Thread_local struct call *current;

void call_init(struct call *call, struct instance *instance, const char *operation)
{
    *call = (struct call){.instance = instance, .operation = operation};
    atomic_init(&call->is_cancelled, false);
    atomic_init(&call->cancel_fd, -1);
}

void call_close(struct call *call)
{
    int fd = atomic_load(&call->cancel_fd);

    if (fd >= 0)
        close(fd);
    atomic_store(&call->cancel_fd, -1);
}

void call_set_current(struct call *call)
{
    current = call;
}

struct call *call_current(const struct instance *instance)
{
    return current && current->instance == instance ? current : NULL;
}

static void signal_fd(int fd)
{
    static const uint64_t one = 1;

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        /* full: it is readable already */
    }
}

/* Order matters here and in call_fd: one of the two sees what the other has stored. */
void plugin_call_cancel(struct call *call)
{
    atomic_store(&call->is_cancelled, true);
    signal_fd(atomic_load(&call->cancel_fd));
}

int call_fd(struct call *call)
{
    int fd = atomic_load(&call->cancel_fd);

    if (fd >= 0)
        return fd;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -1;
    atomic_store(&call->cancel_fd, fd);
    if (atomic_load(&call->is_cancelled))
        signal_fd(fd);
    return fd;
}

int64_t call_left_ms(const struct call *call)
{
    int64_t left;

    if (call->deadline_at_ms == 0)
        return -1;
    left = call->deadline_at_ms - sys_monotonic_ms();
    return left > 0 ? left : 0;
}

bool call_is_cancelled(const struct call *call)
{
    return atomic_load(&call->is_cancelled) || call_left_ms(call) == 0;
}

static size_t keep(char *space, size_t cap, struct str s)
{
    size_t len = s.len < cap ? s.len : cap;

    if (len > 0)
        memcpy(space, s.ptr, len);
    return len;
}

void call_record(struct call *call, int32_t error, struct str field, struct str text,
                 uint32_t retry_after_ms)
{
    call->error = error;
    call->retry_after_ms = retry_after_ms;
    call->field_len = keep(call->field, FIELD_MAX, field);
    call->text_len = keep(call->text, TEXT_MAX, text);
}
