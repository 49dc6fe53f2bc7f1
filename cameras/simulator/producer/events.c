/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Event registrations and their queues. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "linesim.h"

void event_init(struct event_queue *queue, event_type type, pthread_mutex_t *lock)
{
    pthread_condattr_t attributes;

    queue->type = type;
    queue->lock = lock;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&queue->arrived, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* A full queue loses the new message: its reader is gone, and no camera waits for a reader. */
void event_post(struct event_queue *queue, uint64_t id, const void *data, size_t length)
{
    if (!queue->registered || queue->count == EVENT_QUEUE || length > EVENT_BYTES)
        return;
    struct queued_event *item = &queue->items[(queue->head + queue->count) % EVENT_QUEUE];
    item->id = id;
    item->length = length;
    memcpy(item->data, data, length);
    queue->count++;
    queue->fired++;
    pthread_cond_broadcast(&queue->arrived);
}

void event_empty(struct event_queue *queue)
{
    queue->head = 0;
    queue->count = 0;
}

/* A waiter of the old registration sees the new generation and gives up. */
void event_drop(struct event_queue *queue)
{
    queue->registered = false;
    queue->killed = false;
    queue->generation++;
    event_empty(queue);
    pthread_cond_broadcast(&queue->arrived);
}

void post_remote_event(struct camera *camera, unsigned index, uint64_t id, uint64_t timestamp_ns, uint64_t frame_id)
{
    uint64_t values[2] = {timestamp_ns, frame_id};

    if (register_u32(camera, REG_EventNotification + 4 * index) != 0)
        event_post(&camera->remote_events, id, values, sizeof values);
}

/* The queue of (module, event type), or NULL where the module has no such event. */
static struct event_queue *queue_of(gc_handle module, event_type type)
{
    struct camera *camera;

    switch (module_of(module, &camera)) {
    case MODULE_SYSTEM:
        return type == EVENT_MODULE ? &library.system_events : NULL;
    case MODULE_INTERFACE:
        return type == EVENT_MODULE ? &library.interface_events : NULL;
    case MODULE_DEVICE:
        if (type == EVENT_MODULE)
            return &camera->module_events;
        return type == EVENT_REMOTE_DEVICE ? &camera->remote_events : NULL;
    case MODULE_PORT:
        return type == EVENT_REMOTE_DEVICE ? &camera->remote_events : NULL;
    case MODULE_STREAM:
        return type == EVENT_NEW_BUFFER ? &camera->stream.new_buffer : NULL;
    default:
        return NULL;
    }
}

struct event_queue *event_of(gc_handle handle, struct camera **camera)
{
    *camera = NULL;
    if (!atomic_load(&library.initialised))
        return NULL;
    if (handle == &library.system_events)
        return &library.system_events;
    if (handle == &library.interface_events)
        return &library.interface_events;
    for (unsigned i = 0; i < library.camera_count; i++) {
        struct camera *candidate = &library.cameras[i];
        struct event_queue *queues[] = {
            &candidate->remote_events,
            &candidate->module_events,
            &candidate->stream.new_buffer,
        };
        for (size_t k = 0; k < sizeof queues / sizeof queues[0]; k++) {
            if (handle == queues[k]) {
                *camera = candidate;
                return queues[k];
            }
        }
    }
    return NULL;
}

GENTL_EXPORT GCRegisterEvent(gc_handle module, event_type type, gc_handle *event)
{
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    if (event == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the event pointer is NULL");
    struct event_queue *queue = queue_of(module, type);
    if (queue == NULL)
        return fail(GC_ERR_NOT_IMPLEMENTED, "this module has no event of type %d", type);
    pthread_mutex_lock(queue->lock);
    bool taken = queue->registered;
    if (!taken) {
        event_drop(queue);
        queue->registered = true;
        queue->fired = 0;
    }
    pthread_mutex_unlock(queue->lock);
    if (taken)
        return fail(GC_ERR_RESOURCE_IN_USE, "event type %d is registered already", type);
    *event = queue;
    return GC_OK;
}

GENTL_EXPORT GCUnregisterEvent(gc_handle module, event_type type)
{
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    struct event_queue *queue = queue_of(module, type);
    if (queue == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "this module has no event of type %d", type);
    pthread_mutex_lock(queue->lock);
    bool registered = queue->registered;
    event_drop(queue);
    pthread_mutex_unlock(queue->lock);
    if (!registered)
        return fail(GC_ERR_INVALID_PARAMETER, "event type %d is not registered", type);
    return GC_OK;
}

/* Wait, with the queue's lock held, until there is a message or a reason to give up. */
static gc_error wait_for_message(struct event_queue *queue, uint64_t timeout_ms)
{
    unsigned generation = queue->generation;
    bool forever = timeout_ms >= UINT64_MAX / NS_PER_MS / 4;
    struct timespec until = {0, 0};

    if (!forever)
        until = to_timespec(now_ns() + timeout_ms * NS_PER_MS);
    while (queue->registered && queue->generation == generation && queue->count == 0 && !queue->killed) {
        if (timeout_ms == 0)
            return GC_ERR_TIMEOUT;
        if (forever)
            pthread_cond_wait(&queue->arrived, queue->lock);
        else if (pthread_cond_timedwait(&queue->arrived, queue->lock, &until) == ETIMEDOUT)
            break;
    }
    if (queue->killed) {
        queue->killed = false;
        return GC_ERR_ABORT;
    }
    if (!queue->registered || queue->generation != generation)
        return GC_ERR_ABORT;
    return queue->count > 0 ? GC_OK : GC_ERR_TIMEOUT;
}

/* A remote or module event is its 8-byte id and then its data; a new-buffer event is the data alone. */
static gc_error take_message(struct event_queue *queue, void *data, size_t *size)
{
    const struct queued_event *item = &queue->items[queue->head];
    size_t id_bytes = queue->type == EVENT_NEW_BUFFER ? 0 : sizeof item->id;
    size_t needed = id_bytes + item->length;

    if (data == NULL) {
        *size = needed;
        return GC_OK;
    }
    if (*size < needed) {
        *size = needed;
        return GC_ERR_BUFFER_TOO_SMALL;
    }
    memcpy(data, &item->id, id_bytes);
    memcpy((unsigned char *)data + id_bytes, item->data, item->length);
    *size = needed;
    queue->head = (queue->head + 1) % EVENT_QUEUE;
    queue->count--;
    return GC_OK;
}

static void mark_delivered(struct camera *camera, const void *message)
{
    struct new_buffer_data taken;

    memcpy(&taken, message, sizeof taken);
    struct buffer *buffer = buffer_of(camera, taken.buffer);
    if (buffer != NULL && buffer->state == BUFFER_OUTPUT)
        buffer->state = BUFFER_DELIVERED;
}

GENTL_EXPORT EventGetData(gc_handle event, void *data, size_t *size, uint64_t timeout_ms)
{
    struct camera *camera;
    struct event_queue *queue = event_of(event, &camera);

    if (queue == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not an event");
    if (size == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the size pointer is NULL");
    pthread_mutex_lock(queue->lock);
    gc_error error = queue->registered ? wait_for_message(queue, timeout_ms) : GC_ERR_INVALID_HANDLE;
    if (error == GC_OK) {
        error = take_message(queue, data, size);
        if (error == GC_OK && data != NULL && queue->type == EVENT_NEW_BUFFER)
            mark_delivered(camera, data);
    }
    pthread_mutex_unlock(queue->lock);
    switch (error) {
    case GC_OK:
        return GC_OK;
    case GC_ERR_TIMEOUT:
        return fail(error, "no event within %llu ms", (unsigned long long)timeout_ms);
    case GC_ERR_ABORT:
        return fail(error, "the wait was ended by EventKill or by unregistering");
    case GC_ERR_BUFFER_TOO_SMALL:
        return fail(error, "the event needs %zu bytes", *size);
    default:
        return fail(error, "the event is not registered");
    }
}

GENTL_EXPORT EventGetDataInfo(gc_handle event, const void *message, size_t length, info_command command,
                              info_type *type, void *buffer, size_t *size)
{
    struct camera *camera;
    struct event_queue *queue = event_of(event, &camera);
    struct answer to = {type, buffer, size};

    if (queue == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not an event");
    if (message == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the message is NULL");
    if (queue->type == EVENT_NEW_BUFFER) {
        struct new_buffer_data taken;
        if (length < sizeof taken)
            return fail(GC_ERR_INVALID_PARAMETER, "a new-buffer message has %zu bytes", sizeof taken);
        memcpy(&taken, message, sizeof taken);
        if (command == EVENT_DATA_ID)
            return answer_pointer(to, taken.buffer);
        if (command == EVENT_DATA_VALUE)
            return answer_pointer(to, taken.user);
        return fail(GC_ERR_NOT_AVAILABLE, "event data info %d", command);
    }
    uint64_t id;
    if (length < sizeof id)
        return fail(GC_ERR_INVALID_PARAMETER, "the message has no id");
    memcpy(&id, message, sizeof id);
    char text[24];
    switch (command) {
    case EVENT_DATA_ID:
        (void)snprintf(text, sizeof text, "%04llX", (unsigned long long)id);
        return answer_text(to, text);
    case EVENT_DATA_VALUE:
        return answer_bytes(to, TYPE_BUFFER, (const unsigned char *)message + sizeof id, length - sizeof id);
    case EVENT_DATA_NUMERIC_ID:
        return answer_u64(to, id);
    default:
        return fail(GC_ERR_NOT_AVAILABLE, "event data info %d", command);
    }
}

GENTL_EXPORT EventGetInfo(gc_handle event, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct camera *camera;
    struct event_queue *queue = event_of(event, &camera);
    struct answer to = {type, buffer, size};

    if (queue == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not an event");
    pthread_mutex_lock(queue->lock);
    unsigned count = queue->count;
    uint64_t fired = queue->fired;
    pthread_mutex_unlock(queue->lock);
    switch (command) {
    case EVENT_INFO_TYPE:
        return answer_i32(to, queue->type);
    case EVENT_INFO_QUEUED:
        return answer_size(to, count);
    case EVENT_INFO_FIRED:
        return answer_u64(to, fired);
    case EVENT_INFO_SIZE_MAX:
    case EVENT_INFO_DATA_MAX:
        return answer_size(to, EVENT_BYTES + sizeof(uint64_t));
    default:
        return fail(GC_ERR_NOT_AVAILABLE, "event info %d", command);
    }
}

GENTL_EXPORT EventFlush(gc_handle event)
{
    struct camera *camera;
    struct event_queue *queue = event_of(event, &camera);

    if (queue == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not an event");
    pthread_mutex_lock(queue->lock);
    event_empty(queue);
    pthread_mutex_unlock(queue->lock);
    return GC_OK;
}

GENTL_EXPORT EventKill(gc_handle event)
{
    struct camera *camera;
    struct event_queue *queue = event_of(event, &camera);

    if (queue == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not an event");
    pthread_mutex_lock(queue->lock);
    queue->killed = true;
    pthread_cond_broadcast(&queue->arrived);
    pthread_mutex_unlock(queue->lock);
    return GC_OK;
}
