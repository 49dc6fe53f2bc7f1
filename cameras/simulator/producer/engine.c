/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * The acquisition thread. Whether a trigger is taken or missed is decided by its own time stamp, never by when this
 * thread gets to run, so that a busy machine changes no count. A frame is delivered at the instant when the exposure,
 * the read-out and an injected delay are over; later triggers wait in the ring meanwhile, as in a camera's pipeline.
 */
#include <string.h>
#include <time.h>

#include "linesim.h"

#define SLICE_NS (20 * NS_PER_MS)

static uint64_t exposure_ns(const struct camera *camera)
{
    return (uint64_t)(register_f64(camera, REG_ExposureTime) * 1000.0);
}

static uint64_t readout_ns(const struct camera *camera)
{
    return (uint64_t)register_u32(camera, REG_SimReadoutTime) * NS_PER_US;
}

/* Shortest time from one frame to the next. */
static uint64_t period_ns(const struct camera *camera)
{
    uint64_t busy = exposure_ns(camera) + readout_ns(camera);

    if (register_u32(camera, REG_AcquisitionFrameRateEnable) == 0)
        return busy;
    uint64_t period = (uint64_t)(1e9 / register_f64(camera, REG_AcquisitionFrameRate));
    return period > busy ? period : busy;
}

bool line_triggered(const struct camera *camera)
{
    return register_u32(camera, REG_TriggerMode) != 0
           && register_u32(camera, REG_TriggerSource) != TriggerSource_Software;
}

static void count(struct camera *camera, uint32_t event, uint64_t amount)
{
    if (register_u32(camera, REG_CounterEventSource) == event)
        camera->counter += amount;
}

static void miss(struct camera *camera, uint64_t edge_ns, uint64_t amount)
{
    camera->missed += amount;
    post_remote_event(camera, EventSelector_FrameTriggerMissed, EVENT_ID_FrameTriggerMissed, edge_ns, camera->frame_id);
}

static void begin_exposure(struct camera *camera, uint64_t start_ns, struct exposure *exposure)
{
    exposure->start_ns = start_ns;
    exposure->frame_id = ++camera->frame_id;
    camera->frames_this_start++;
    count(camera, CounterEventSource_FrameStart, 1);
}

/* One edge of the selected trigger while acquiring: it begins a frame, or finds the camera busy and is missed. */
bool trigger_edge(struct camera *camera, uint64_t edge_ns, struct exposure *exposure)
{
    count(camera, CounterEventSource_FrameTrigger, 1);
    if (edge_ns < camera->busy_until_ns) {
        if (register_u32(camera, REG_SimMissWhenBusy) != 0) {
            miss(camera, edge_ns, 1);
            return false;
        }
        edge_ns = camera->busy_until_ns;
    }
    uint64_t delay = (uint64_t)(register_f64(camera, REG_TriggerDelay) * 1000.0);
    camera->busy_until_ns = edge_ns + delay + period_ns(camera);
    begin_exposure(camera, edge_ns + delay, exposure);
    return true;
}

/* TriggerSoftware was written. Ignored, as in a camera, when it is not the selected source. */
bool software_trigger(struct camera *camera)
{
    struct exposure exposure = {0};
    bool selected = register_u32(camera, REG_TriggerMode) != 0
                    && register_u32(camera, REG_TriggerSource) == TriggerSource_Software;

    if (!selected || !camera->acquiring || camera->dead)
        return false;
    if (camera->pending_count == PENDING_MAX) {
        count(camera, CounterEventSource_FrameTrigger, 1);
        miss(camera, now_ns(), 1);
        return false;
    }
    if (!trigger_edge(camera, now_ns(), &exposure))
        return false;
    camera->encoder_count++;
    exposure.encoder = feed_encoder(camera, camera->encoder_count);
    camera->pending[(camera->pending_head + camera->pending_count) % PENDING_MAX] = exposure;
    camera->pending_count++;
    return true;
}

/* Sleep until then. False when the stream was stopped or the camera was lost meanwhile. */
static bool sleep_until(struct camera *camera, uint64_t then_ns)
{
    for (;;) {
        if (!camera->stream.run || camera->dead || fault_lost(camera))
            return false;
        uint64_t now = now_ns();
        if (now >= then_ns)
            return true;
        uint64_t wake = then_ns - now > SLICE_NS ? now + SLICE_NS : then_ns;
        struct timespec until = to_timespec(wake);
        pthread_cond_timedwait(&camera->changed, &camera->lock, &until);
    }
}

static void idle(struct camera *camera)
{
    struct timespec until = to_timespec(now_ns() + SLICE_NS);

    pthread_cond_timedwait(&camera->changed, &camera->lock, &until);
}

/* What the sensor sees when no line trigger says so: the newest picture of the feed, or the pattern. */
static void look(struct camera *camera, uint64_t frame_id)
{
    struct scene *scene = &camera->scene;
    bool moving = register_u32(camera, REG_TestPattern) != TestPattern_Off;
    uint32_t width = register_u32(camera, REG_WidthMax);
    uint32_t height = register_u32(camera, REG_HeightMax);

    if (fault_frozen(camera) && scene->pixels != NULL)
        return;
    if (feed_attached(camera)) {
        pthread_mutex_unlock(&camera->lock);
        bool seen = feed_latest(camera);
        pthread_mutex_lock(&camera->lock);
        if (seen)
            return;
    }
    pthread_mutex_unlock(&camera->lock);
    scene_pattern(scene, width, height, frame_id, moving);
    pthread_mutex_lock(&camera->lock);
}

static bool next_free_running(struct camera *camera, struct exposure *exposure)
{
    uint64_t now = now_ns();

    if (now < camera->next_free_run_ns) {
        (void)sleep_until(camera, camera->next_free_run_ns);
        return false;
    }
    /* A machine that slept does not make up for a second of frames. */
    if (now - camera->next_free_run_ns > NS_PER_S)
        camera->next_free_run_ns = now;
    count(camera, CounterEventSource_FrameTrigger, 1);
    begin_exposure(camera, camera->next_free_run_ns, exposure);
    camera->next_free_run_ns += period_ns(camera);
    camera->encoder_count++;
    exposure->encoder = feed_encoder(camera, camera->encoder_count);
    look(camera, exposure->frame_id);
    return true;
}

static bool next_software(struct camera *camera, struct exposure *exposure)
{
    if (camera->pending_count == 0) {
        idle(camera);
        return false;
    }
    *exposure = camera->pending[camera->pending_head];
    camera->pending_head = (camera->pending_head + 1) % PENDING_MAX;
    camera->pending_count--;
    look(camera, exposure->frame_id);
    return true;
}

/* Edges that the full ring refused were seen and could not be taken. */
static void count_refused(struct camera *camera)
{
    uint64_t refused = feed_refused(camera);

    if (refused == 0)
        return;
    count(camera, CounterEventSource_FrameTrigger, refused);
    miss(camera, now_ns(), refused);
    feed_count(camera, FEED_MISSED, refused);
}

static bool take_edge(struct camera *camera, const struct edge *edge, struct exposure *exposure)
{
    /* An edge from before the start is lost: a camera that does not acquire sees no trigger. */
    bool nonsense = !edge->valid || edge->edge_ns > now_ns() + NS_PER_S;
    if (nonsense || edge->edge_ns < camera->acquisition_start_ns) {
        feed_count(camera, FEED_LOST, 1);
        return false;
    }
    if (!trigger_edge(camera, edge->edge_ns, exposure)) {
        feed_count(camera, FEED_MISSED, 1);
        return false;
    }
    feed_count(camera, FEED_ACCEPTED, 1);
    camera->encoder_count = edge->encoder;
    exposure->encoder = edge->encoder;
    exposure->drop = edge->drop;
    exposure->incomplete = edge->incomplete;
    return true;
}

static bool next_line(struct camera *camera, struct exposure *exposure)
{
    struct edge edge;

    if (!feed_attached(camera)) {
        idle(camera);
        return false;
    }
    count_refused(camera);
    uint32_t seen = feed_position(&camera->feed);
    if (feed_empty(&camera->feed)) {
        pthread_mutex_unlock(&camera->lock);
        feed_wait(&camera->feed, seen);
        pthread_mutex_lock(&camera->lock);
        return false;
    }
    if (!feed_peek(camera, &edge))
        return false;
    bool taken = take_edge(camera, &edge, exposure);
    if (taken && !fault_frozen(camera)) {
        pthread_mutex_unlock(&camera->lock);
        bool read = feed_picture(camera, &edge);
        pthread_mutex_lock(&camera->lock);
        if (!read)
            exposure->incomplete = true;
    }
    feed_release(camera, &edge);
    return taken;
}

static bool next_exposure(struct camera *camera, struct exposure *exposure)
{
    memset(exposure, 0, sizeof *exposure);
    if (register_u32(camera, REG_TriggerMode) == 0)
        return next_free_running(camera, exposure);
    if (line_triggered(camera))
        return next_line(camera, exposure);
    return next_software(camera, exposure);
}

static struct buffer *take_input(struct stream *stream)
{
    if (stream->input_count == 0)
        return NULL;
    struct buffer *buffer = &stream->buffers[stream->input[stream->input_head]];
    stream->input_head = (stream->input_head + 1) % BUFFERS_MAX;
    stream->input_count--;
    buffer->state = BUFFER_FILLING;
    return buffer;
}

static void describe(const struct camera *camera, struct buffer *buffer, const struct exposure *exposure)
{
    buffer->width = register_u32(camera, REG_Width);
    buffer->height = register_u32(camera, REG_Height);
    buffer->offset_x = register_u32(camera, REG_OffsetX);
    buffer->offset_y = register_u32(camera, REG_OffsetY);
    buffer->pixel_format = register_u32(camera, REG_PixelFormat);
    buffer->image_bytes = image_bytes(camera);
    buffer->frame_id = exposure->frame_id;
    buffer->timestamp_ns = exposure->start_ns;
    buffer->too_large = buffer->image_bytes > buffer->size;
    buffer->incomplete = exposure->incomplete || buffer->too_large;
    buffer->filled = buffer->too_large ? 0 : buffer->image_bytes;
    buffer->chunk_count = 0;
}

static void append_chunks(const struct camera *camera, struct buffer *buffer, const struct exposure *exposure)
{
    double exposure_us = register_f64(camera, REG_ExposureTime);
    double gain = register_f64(camera, REG_Gain);
    int64_t encoder = (int64_t)((uint64_t)exposure->encoder - (uint64_t)camera->encoder_zero);
    const void *values[CHUNK_COUNT] = {&buffer->frame_id, &buffer->timestamp_ns, &exposure_us, &gain, &encoder};
    static const uint64_t ids[CHUNK_COUNT] = {
        CHUNK_ID_FrameID, CHUNK_ID_Timestamp, CHUNK_ID_ExposureTime, CHUNK_ID_Gain, CHUNK_ID_EncoderValue,
    };
    size_t offset = (buffer->image_bytes + 7) / 8 * 8;

    if (register_u32(camera, REG_ChunkModeActive) == 0)
        return;
    for (uint32_t i = 0; i < CHUNK_COUNT; i++) {
        if (register_u32(camera, REG_ChunkEnable + 4 * i) == 0 || offset + 8 > buffer->size)
            continue;
        memcpy(buffer->base + offset, values[i], 8);
        buffer->chunk_ids[buffer->chunk_count] = ids[i];
        buffer->chunk_offsets[buffer->chunk_count] = offset;
        buffer->chunk_count++;
        offset += 8;
        buffer->filled = offset;
    }
}

/* Fill a buffer and put it into the output queue. The lock is let go while the pixels are written. */
static void deliver(struct camera *camera, const struct exposure *exposure)
{
    struct stream *stream = &camera->stream;
    struct buffer *buffer = take_input(stream);

    if (buffer == NULL) {
        stream->underrun++;
        return;
    }
    describe(camera, buffer, exposure);
    pthread_mutex_unlock(&camera->lock);
    if (!buffer->too_large)
        render(&camera->scene, buffer);
    pthread_mutex_lock(&camera->lock);
    if (buffer->incomplete) {
        /* The rest of the packets never came: no second half, and no trailer with chunks. */
        buffer->filled /= 2;
        if (!buffer->too_large)
            memset(buffer->base + buffer->filled, 0, buffer->image_bytes - buffer->filled);
    } else {
        append_chunks(camera, buffer, exposure);
    }
    buffer->new_data = true;
    buffer->state = BUFFER_OUTPUT;
    stream->delivered++;
    struct new_buffer_data message = {buffer, buffer->user};
    event_post(&stream->new_buffer, 0, &message, sizeof message);
}

static bool enough_frames(struct camera *camera)
{
    uint32_t mode = register_u32(camera, REG_AcquisitionMode);
    struct stream *stream = &camera->stream;

    if (stream->frames_left != GENTL_INFINITE && --stream->frames_left == 0)
        return true;
    if (mode == AcquisitionMode_SingleFrame)
        return true;
    return mode == AcquisitionMode_MultiFrame
           && camera->frames_this_start >= register_u32(camera, REG_AcquisitionFrameCount);
}

static void take_frame(struct camera *camera, struct exposure *exposure)
{
    uint64_t end_ns = exposure->start_ns + exposure_ns(camera);

    camera->stream.started++;
    if (fault_take_drop(camera))
        exposure->drop = true;
    if (fault_take_incomplete(camera))
        exposure->incomplete = true;
    bool last = enough_frames(camera);
    if (!sleep_until(camera, end_ns))
        return;
    post_remote_event(camera, EventSelector_ExposureEnd, EVENT_ID_ExposureEnd, end_ns, exposure->frame_id);
    if (!sleep_until(camera, end_ns + readout_ns(camera) + fault_slow_ns(camera)))
        return;
    if (!exposure->drop)
        deliver(camera, exposure);
    if (last)
        acquisition_stop(camera);
}

void *engine_main(void *argument)
{
    struct camera *camera = argument;
    struct exposure exposure;

    pthread_mutex_lock(&camera->lock);
    while (camera->stream.run) {
        feed_refresh(camera);
        if (!camera->acquiring || camera->dead || fault_lost(camera)) {
            idle(camera);
            continue;
        }
        if (next_exposure(camera, &exposure))
            take_frame(camera, &exposure);
    }
    pthread_mutex_unlock(&camera->lock);
    return NULL;
}
