/* The inbox: events from lane threads and from plugins' own threads to the control loop.
 *
 * A loop's mailbox cannot say that the loop is gone. Threads inside foreign code may outlive it, so
 * they post here: under a lock, and only while somebody reads.
 */
#include "plugin/internal.h"

static void wake_run(struct loop_msg *msg)
{
    struct wake *wake = CONTAINER_OF(msg, struct wake, msg);
    struct plugins *plugins = wake->plugins;
    struct list *node;

    if (plugins) {
        wake->is_running = true;
        pthread_mutex_lock(&plugins->lock);
        wake->is_posted = false;
        while ((node = list_pop(&plugins->inbox)))
            list_push(&plugins->due, node);
        pthread_mutex_unlock(&plugins->lock);
    }
    /* An event may close the inbox, and free what is behind it. */
    while (wake->plugins && (node = list_pop(&plugins->due))) {
        struct event *event = CONTAINER_OF(node, struct event, node);

        event->run(event);
    }
    wake->is_running = false;
    if (!wake->plugins)
        mem_free(wake);
}

void inbox_init(struct plugins *plugins)
{
    pthread_mutex_init(&plugins->lock, NULL);
    list_init(&plugins->inbox);
    list_init(&plugins->due);
    plugins->wake = xcalloc(1, sizeof(*plugins->wake));
    plugins->wake->msg.run = wake_run;
    plugins->wake->plugins = plugins;
}

bool inbox_post(struct plugins *plugins, struct event *event)
{
    bool is_taken;

    pthread_mutex_lock(&plugins->lock);
    is_taken = !plugins->is_gone;
    if (is_taken) {
        list_push(&plugins->inbox, &event->node);
        if (!plugins->wake->is_posted)
            loop_post(plugins->config.control, &plugins->wake->msg);
        plugins->wake->is_posted = true;
    }
    pthread_mutex_unlock(&plugins->lock);
    return is_taken;
}

void inbox_close(struct plugins *plugins)
{
    struct wake *wake = plugins->wake;
    struct list *node;

    pthread_mutex_lock(&plugins->lock);
    plugins->is_gone = true;
    while ((node = list_pop(&plugins->inbox)))
        list_push(&plugins->due, node);
    pthread_mutex_unlock(&plugins->lock);

    while ((node = list_pop(&plugins->due))) {
        struct event *event = CONTAINER_OF(node, struct event, node);

        event->drop(event);
    }
    plugins->wake = NULL;
    wake->plugins = NULL;
    if (!wake->is_posted && !wake->is_running)
        mem_free(wake);
}

/* ---- Questions ---- */

void ask_answer(struct ask *ask, int32_t result)
{
    struct plugins *plugins = ask->instance->plugins;

    pthread_mutex_lock(&plugins->lock);
    ASSERT(!ask->is_answered);
    ask->is_answered = true;
    ask->result = result;
    pthread_cond_signal(&ask->answered);
    pthread_mutex_unlock(&plugins->lock);
}

static void ask_run(struct event *event)
{
    struct ask *ask = CONTAINER_OF(event, struct ask, event);

    if (!atomic_load(&ask->instance->is_open))
        ask_answer(ask, FNG_E_CANCELLED);
    else
        ask->question(ask);
}

static void ask_drop(struct event *event)
{
    ask_answer(CONTAINER_OF(event, struct ask, event), FNG_E_CANCELLED);
}

int32_t ask_control(struct instance *instance, struct ask *ask, void (*question)(struct ask *ask))
{
    struct plugins *plugins = instance->plugins;

    ask->event = (struct event){.run = ask_run, .drop = ask_drop};
    ask->instance = instance;
    ask->question = question;
    ask->is_answered = false;
    /* Main thread (load, unload): it would wait for itself. */
    if (!atomic_load(&instance->is_open) || loop_current())
        return FNG_E_CANCELLED;

    pthread_cond_init(&ask->answered, NULL);
    if (inbox_post(plugins, &ask->event)) {
        pthread_mutex_lock(&plugins->lock);
        while (!ask->is_answered)
            pthread_cond_wait(&ask->answered, &plugins->lock);
        pthread_mutex_unlock(&plugins->lock);
    } else {
        ask->result = FNG_E_CANCELLED;
    }
    pthread_cond_destroy(&ask->answered);
    return ask->result;
}
