/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Questions about a stream and its buffers. */
#include "linesim.h"

struct camera *need_stream(gc_handle handle, gc_error *error);

/* What is asked is copied under the lock; the answer is given without it. */
static gc_error copy_buffer(gc_handle handle, gc_handle buffer_handle, struct buffer *copy, bool take_new)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    struct buffer *buffer = buffer_of(camera, buffer_handle);
    if (buffer == NULL) {
        error = fail(GC_ERR_INVALID_HANDLE, "not a buffer of this stream");
    } else {
        *copy = *buffer;
        if (take_new)
            buffer->new_data = false;
    }
    pthread_mutex_unlock(&camera->lock);
    return error;
}

static gc_error geometry_info(const struct buffer *buffer, info_command command, struct answer to)
{
    switch (command) {
    case BUFFER_WIDTH:
        return answer_size(to, buffer->width);
    case BUFFER_HEIGHT:
    case BUFFER_DELIVERED_HEIGHT:
        return answer_size(to, buffer->height);
    case BUFFER_XOFFSET:
        return answer_size(to, buffer->offset_x);
    case BUFFER_YOFFSET:
        return answer_size(to, buffer->offset_y);
    case BUFFER_XPADDING:
    case BUFFER_YPADDING:
    case BUFFER_IMAGE_OFFSET:
        return answer_size(to, 0);
    case BUFFER_IMAGE_PRESENT:
        return answer_bool(to, true);
    case BUFFER_PAYLOAD_TYPE:
        return answer_size(to, PAYLOAD_IMAGE);
    case BUFFER_PIXEL_FORMAT:
        return answer_u64(to, buffer->pixel_format);
    case BUFFER_PIXEL_NAMESPACE:
        return answer_u64(to, NAMESPACE_PFNC);
    case BUFFER_PIXEL_ENDIANNESS:
        return answer_i32(to, 1);
    default:
        return fail(GC_ERR_NOT_AVAILABLE, "buffer info %d", command);
    }
}

static gc_error buffer_info(const struct buffer *buffer, info_command command, struct answer to)
{
    switch (command) {
    case BUFFER_BASE:
        return answer_pointer(to, buffer->base);
    case BUFFER_SIZE:
        return answer_size(to, buffer->size);
    case BUFFER_USER:
        return answer_pointer(to, buffer->user);
    case BUFFER_TIMESTAMP:
    case BUFFER_TIMESTAMP_NS:
        return answer_u64(to, buffer->timestamp_ns);
    case BUFFER_NEW_DATA:
        return answer_bool(to, buffer->new_data);
    case BUFFER_IS_QUEUED:
        return answer_bool(to, buffer->state == BUFFER_INPUT || buffer->state == BUFFER_OUTPUT);
    case BUFFER_IS_ACQUIRING:
        return answer_bool(to, buffer->state == BUFFER_FILLING);
    case BUFFER_IS_INCOMPLETE:
        return answer_bool(to, buffer->incomplete);
    case BUFFER_TLTYPE:
        return answer_text(to, "Custom");
    case BUFFER_FILLED:
    case BUFFER_DATA_SIZE:
        return answer_size(to, buffer->filled);
    case BUFFER_FRAME_ID:
        return answer_u64(to, buffer->frame_id);
    case BUFFER_DELIVERED_CHUNK_SIZE:
        return answer_size(to, (size_t)buffer->chunk_count * 8);
    case BUFFER_TOO_LARGE:
        return answer_bool(to, buffer->too_large);
    case BUFFER_CONTAINS_CHUNKS:
        return answer_bool(to, buffer->chunk_count > 0);
    case BUFFER_IS_COMPOSITE:
        return answer_bool(to, false);
    default:
        return geometry_info(buffer, command, to);
    }
}

GENTL_EXPORT DSGetBufferInfo(gc_handle handle, gc_handle buffer_handle, info_command command, info_type *type,
                             void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    struct buffer copy;
    gc_error error = copy_buffer(handle, buffer_handle, &copy, command == BUFFER_NEW_DATA && buffer != NULL);

    return error != GC_OK ? error : buffer_info(&copy, command, to);
}

GENTL_EXPORT DSGetBufferInfoStacked(gc_handle handle, gc_handle buffer_handle, struct buffer_info_entry *entries,
                                    size_t count)
{
    if (entries == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the entries are NULL");
    for (size_t i = 0; i < count; i++) {
        /* The entries are packed: answer into aligned locals. */
        info_type type = entries[i].type;
        size_t size = entries[i].size;
        entries[i].result =
            DSGetBufferInfo(handle, buffer_handle, entries[i].command, &type, entries[i].buffer, &size);
        entries[i].type = type;
        entries[i].size = size;
    }
    return GC_OK;
}

GENTL_EXPORT DSGetBufferChunkData(gc_handle handle, gc_handle buffer_handle, struct chunk_entry *entries, size_t *count)
{
    struct buffer copy;
    gc_error error = copy_buffer(handle, buffer_handle, &copy, false);

    if (error != GC_OK)
        return error;
    if (count == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    if (copy.chunk_count == 0)
        return fail(GC_ERR_NO_DATA, "the buffer holds no chunks");
    if (entries != NULL && *count < copy.chunk_count)
        return fail(GC_ERR_BUFFER_TOO_SMALL, "the buffer holds %u chunks", copy.chunk_count);
    *count = copy.chunk_count;
    if (entries == NULL)
        return GC_OK;
    for (unsigned i = 0; i < copy.chunk_count; i++) {
        entries[i].id = copy.chunk_ids[i];
        entries[i].offset = (ptrdiff_t)copy.chunk_offsets[i];
        entries[i].length = 8;
    }
    return GC_OK;
}

GENTL_EXPORT DSGetNumBufferParts(gc_handle handle, gc_handle buffer, uint32_t *count)
{
    (void)handle;
    (void)buffer;
    if (count != NULL)
        *count = 0;
    return fail(GC_ERR_NO_DATA, "the payload is no multi-part payload");
}

GENTL_EXPORT DSGetBufferPartInfo(gc_handle handle, gc_handle buffer, uint32_t index, info_command command,
                                 info_type *type, void *data, size_t *size)
{
    (void)handle;
    (void)buffer;
    (void)index;
    (void)command;
    (void)type;
    (void)data;
    (void)size;
    return fail(GC_ERR_NO_DATA, "the payload is no multi-part payload");
}

GENTL_EXPORT DSGetBufferID(gc_handle handle, uint32_t index, gc_handle *buffer)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);
    uint32_t seen = 0;

    if (camera == NULL)
        return error;
    if (buffer == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    error = GC_ERR_INVALID_INDEX;
    pthread_mutex_lock(&camera->lock);
    for (unsigned i = 0; i < BUFFERS_MAX && error != GC_OK; i++) {
        if (!camera->stream.buffers[i].announced || seen++ != index)
            continue;
        *buffer = &camera->stream.buffers[i];
        error = GC_OK;
    }
    pthread_mutex_unlock(&camera->lock);
    return error == GC_OK ? GC_OK : fail(error, "there is no buffer number %u", index);
}

GENTL_EXPORT DSGetParentDev(gc_handle handle, gc_handle *device)
{
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera != NULL && device != NULL)
        *device = camera;
    return error;
}

static size_t announced(const struct stream *stream)
{
    size_t count = 0;

    for (unsigned i = 0; i < BUFFERS_MAX; i++)
        count += stream->buffers[i].announced ? 1 : 0;
    return count;
}

static gc_error stream_info(const struct camera *camera, info_command command, struct answer to)
{
    const struct stream *stream = &camera->stream;

    switch (command) {
    case STREAM_ID:
        return answer_text(to, "Stream0");
    case STREAM_DELIVERED:
        return answer_u64(to, stream->delivered);
    case STREAM_UNDERRUN:
        return answer_u64(to, stream->underrun);
    case STREAM_ANNOUNCED:
        return answer_size(to, announced(stream));
    case STREAM_QUEUED:
        return answer_size(to, stream->input_count);
    case STREAM_AWAIT_DELIVERY:
        return answer_size(to, stream->new_buffer.count);
    case STREAM_STARTED:
        return answer_u64(to, stream->started);
    case STREAM_PAYLOAD_SIZE:
        return answer_size(to, payload_bytes(camera));
    case STREAM_IS_GRABBING:
        return answer_bool(to, stream->run);
    case STREAM_DEFINES_PAYLOAD:
        return answer_bool(to, true);
    case STREAM_TLTYPE:
        return answer_text(to, "Custom");
    case STREAM_CHUNKS_MAX:
        return answer_size(to, CHUNK_COUNT);
    case STREAM_ANNOUNCE_MIN:
    case STREAM_ALIGNMENT:
        return answer_size(to, 1);
    default:
        return fail(GC_ERR_NOT_IMPLEMENTED, "stream info %d", command);
    }
}

GENTL_EXPORT DSGetInfo(gc_handle handle, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error;
    struct camera *camera = need_stream(handle, &error);

    if (camera == NULL)
        return error;
    pthread_mutex_lock(&camera->lock);
    error = stream_info(camera, command, to);
    pthread_mutex_unlock(&camera->lock);
    return error;
}

/*
 * Functions of later versions of the interface. Nothing calls them here, but the genicam package prints a line for each
 * one that is not there.
 */
#define NOT_IMPLEMENTED(name)                                                                                          \
    GENTL_EXPORT name(void);                                                                                           \
    GENTL_EXPORT name(void)                                                                                            \
    {                                                                                                                  \
        return fail(GC_ERR_NOT_IMPLEMENTED, #name " is not implemented");                                              \
    }
NOT_IMPLEMENTED(DSAnnounceCompositeBuffer)
NOT_IMPLEMENTED(DSGetNumFlows)
NOT_IMPLEMENTED(DSGetFlowInfo)
NOT_IMPLEMENTED(DSGetNumBufferSegments)
NOT_IMPLEMENTED(DSGetBufferSegmentInfo)
