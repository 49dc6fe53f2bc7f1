/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Data streams: start, stop, queues of buffers. */
#include <stdlib.h>
#include <string.h>

#include "linesim.h"

struct camera *need_stream(gc_handle handle, gc_error *error)
{
    struct camera *camera = camera_of_stream(handle);

    *error = need_library();
    if (*error == GC_OK && camera == NULL)
        *error = fail(GC_ERR_INVALID_HANDLE, "not a data stream");
    return *error == GC_OK ? camera : NULL;
}

GENTL_EXPORT DevOpenDataStream(gc_handle handle, const char *id, gc_handle *stream)
{
    gc_error error = need_library();
    struct camera *camera = camera_of_device(handle);

    if (error != GC_OK)
        return error;
    if (camera == NULL)
        return fail(GC_ERR_INVALID_HANDLE, "not a device");
    if (id == NULL || strcmp(id, "Stream0") != 0)
        return fail(GC_ERR_INVALID_ID, "the data stream is called Stream0");
    if (stream == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    pthread_mutex_lock(&camera->lock);
    bool taken = camera->stream.open;
    bool device_open = camera->open;
    camera->stream.open = taken || device_open;
    pthread_mutex_unlock(&camera->lock);
    if (!device_open)
        return fail(GC_ERR_INVALID_HANDLE, "camera %s is not open", camera->serial);
    if (taken)
        return fail(GC_ERR_RESOURCE_IN_USE, "the data stream is open already");
    *stream = &camera->stream;
    return GC_OK;
}

static gc_error start_thread(struct camera *camera, uint64_t frames)
{
    struct stream *stream = &camera->stream;

    if (!stream->open)
        return fail(GC_ERR_INVALID_HANDLE, "the data stream is not open");
    if (stream->thread_running)
        return fail(GC_ERR_RESOURCE_IN_USE, "the data stream is started already");
    stream->frames_left = frames == 0 ? GENTL_INFINITE : frames;
    stream->delivered = 0;
    stream->underrun = 0;
    stream->started = 0;
    stream->run = true;
    if (pthread_create(&stream->thread, NULL, engine_main, camera) != 0) {
        stream->run = false;
        return fail(GC_ERR_ERROR, "no thread for the data stream");
    }
    stream->thread_running = true;
    return GC_OK;
}

GENTL_EXPORT DSStartAcquisition(gc_handle handle, int32_t flags, uint64_t frames)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    (void)flags;
    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    error = start_thread(camera, frames);
    pthread_mutex_unlock(&camera->lock);
    return error;
}

/* One caller joins, the one that turns `run` off; any other waits until the thread is gone. */
gc_error stream_stop(struct camera *camera)
{
    struct stream *stream = &camera->stream;

    pthread_mutex_lock(&camera->lock);
    bool mine = stream->thread_running && stream->run;
    stream->run = false;
    pthread_cond_broadcast(&camera->changed);
    while (!mine && stream->thread_running)
        pthread_cond_wait(&camera->changed, &camera->lock);
    pthread_t thread = stream->thread;
    pthread_mutex_unlock(&camera->lock);
    if (!mine)
        return fail(GC_ERR_RESOURCE_IN_USE, "the data stream is not started");
    pthread_join(thread, NULL);
    pthread_mutex_lock(&camera->lock);
    stream->thread_running = false;
    pthread_cond_broadcast(&camera->changed);
    pthread_mutex_unlock(&camera->lock);
    return GC_OK;
}

GENTL_EXPORT DSStopAcquisition(gc_handle handle, int32_t flags)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    (void)flags;
    return camera == NULL ? error : stream_stop(camera);
}

static void forget_buffer(struct buffer *buffer)
{
    if (buffer->owned)
        free(buffer->base);
    memset(buffer, 0, sizeof *buffer);
}

/* Also drops the event registration: harvesters never unregisters. */
void stream_close(struct camera *camera)
{
    struct stream *stream = &camera->stream;

    (void)stream_stop(camera);
    pthread_mutex_lock(&camera->lock);
    event_drop(&stream->new_buffer);
    stream->input_count = 0;
    for (unsigned i = 0; i < BUFFERS_MAX; i++)
        forget_buffer(&stream->buffers[i]);
    stream->open = false;
    free(camera->scene.pixels);
    memset(&camera->scene, 0, sizeof camera->scene);
    camera->feed.scene_taken = false;
    pthread_mutex_unlock(&camera->lock);
}

GENTL_EXPORT DSClose(gc_handle handle)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    stream_close(camera);
    return GC_OK;
}

static gc_error announce(struct camera *camera, void *base, size_t size, void *user, bool owned, gc_handle *handle)
{
    struct stream *stream = &camera->stream;

    if (base == NULL || size == 0 || handle == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "a buffer needs memory, a size and a place for its handle");
    for (unsigned i = 0; i < BUFFERS_MAX; i++) {
        struct buffer *buffer = &stream->buffers[i];
        if (buffer->announced)
            continue;
        memset(buffer, 0, sizeof *buffer);
        buffer->announced = true;
        buffer->owned = owned;
        buffer->base = base;
        buffer->size = size;
        buffer->user = user;
        *handle = buffer;
        return GC_OK;
    }
    return fail(GC_ERR_RESOURCE_IN_USE, "at most %d buffers", BUFFERS_MAX);
}

GENTL_EXPORT DSAnnounceBuffer(gc_handle handle, void *base, size_t size, void *user, gc_handle *buffer)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    error = announce(camera, base, size, user, false, buffer);
    pthread_mutex_unlock(&camera->lock);
    return error;
}

GENTL_EXPORT DSAllocAndAnnounceBuffer(gc_handle handle, size_t size, void *user, gc_handle *buffer)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    void *base = calloc(1, size > 0 ? size : 1);
    pthread_mutex_lock(&camera->lock);
    error = announce(camera, base, size, user, true, buffer);
    pthread_mutex_unlock(&camera->lock);
    if (error != GC_OK)
        free(base);
    return error;
}

static void enqueue(struct stream *stream, struct buffer *buffer)
{
    unsigned index = (unsigned)(buffer - stream->buffers);

    buffer->state = BUFFER_INPUT;
    stream->input[(stream->input_head + stream->input_count) % BUFFERS_MAX] = index;
    stream->input_count++;
}

static struct buffer *need_buffer(struct camera *camera, gc_handle handle, gc_error *error)
{
    struct buffer *buffer = buffer_of(camera, handle);

    if (buffer == NULL)
        *error = fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    return buffer;
}

GENTL_EXPORT DSQueueBuffer(gc_handle handle, gc_handle buffer_handle)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    struct buffer *buffer = need_buffer(camera, buffer_handle, &error);
    if (buffer != NULL && (buffer->state == BUFFER_FREE || buffer->state == BUFFER_DELIVERED))
        enqueue(&camera->stream, buffer);
    else if (buffer != NULL)
        error = fail(GC_ERR_RESOURCE_IN_USE, "the buffer is queued already");
    pthread_mutex_unlock(&camera->lock);
    return error;
}

static void discard(struct stream *stream, bool input_too)
{
    event_empty(&stream->new_buffer);
    if (input_too)
        stream->input_count = 0;
    for (unsigned i = 0; i < BUFFERS_MAX; i++) {
        struct buffer *buffer = &stream->buffers[i];
        bool waiting = buffer->state == BUFFER_OUTPUT || (input_too && buffer->state == BUFFER_INPUT);
        if (buffer->announced && waiting)
            buffer->state = BUFFER_FREE;
    }
}

static void refill(struct stream *stream, bool output_too)
{
    if (output_too)
        event_empty(&stream->new_buffer);
    for (unsigned i = 0; i < BUFFERS_MAX; i++) {
        struct buffer *buffer = &stream->buffers[i];
        bool idle = buffer->state == BUFFER_FREE || buffer->state == BUFFER_DELIVERED;
        bool waiting = output_too && buffer->state == BUFFER_OUTPUT;
        if (buffer->announced && (idle || waiting))
            enqueue(stream, buffer);
    }
}

GENTL_EXPORT DSFlushQueue(gc_handle handle, int32_t operation)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    switch (operation) {
    case FLUSH_OUTPUT_DISCARD:
        discard(&camera->stream, false);
        break;
    case FLUSH_ALL_DISCARD:
        discard(&camera->stream, true);
        break;
    case FLUSH_ALL_TO_INPUT:
        refill(&camera->stream, true);
        break;
    case FLUSH_UNQUEUED_TO_INPUT:
        refill(&camera->stream, false);
        break;
    default:
        /* 0, input to output, has no meaning here: nothing is half filled. */
        break;
    }
    pthread_mutex_unlock(&camera->lock);
    return GC_OK;
}

GENTL_EXPORT DSRevokeBuffer(gc_handle handle, gc_handle buffer_handle, void **base, void **user)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    struct buffer *buffer = need_buffer(camera, buffer_handle, &error);
    if (buffer != NULL && (buffer->state == BUFFER_INPUT || buffer->state == BUFFER_FILLING)) {
        error = fail(GC_ERR_BUSY, "the buffer is queued");
    } else if (buffer != NULL) {
        if (base != NULL)
            *base = buffer->owned ? NULL : buffer->base;
        if (user != NULL)
            *user = buffer->user;
        forget_buffer(buffer);
    }
    pthread_mutex_unlock(&camera->lock);
    return error;
}
