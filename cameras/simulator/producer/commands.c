/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What a written command register does. Called with camera.lock held. */
#include "linesim.h"

/* Triggers that came before are lost: no camera delivers what it saw before it was started. */
static void acquisition_start(struct camera *camera)
{
    if (camera->acquiring)
        return;
    uint64_t now = now_ns();
    camera->acquisition_start_ns = now;
    camera->next_free_run_ns = now;
    camera->busy_until_ns = 0;
    camera->frame_id = 0;
    camera->frames_this_start = 0;
    camera->pending_count = 0;
    if (line_triggered(camera))
        feed_skip_all(camera);
    /* The engine looks for a feed at once: one that was made just before the start counts from the first frame. */
    camera->feed.checked_ns = 0;
    camera->acquiring = true;
    feed_publish_state(camera);
}

void acquisition_stop(struct camera *camera)
{
    camera->acquiring = false;
    camera->pending_count = 0;
    feed_publish_state(camera);
}

static gc_error device_lost(struct camera *camera)
{
    fault_lose(camera, register_u32(camera, REG_SimDeviceLostTime));
    return GC_OK;
}

gc_error run_command(struct camera *camera, uint32_t address)
{
    gc_error error = GC_OK;

    switch (address) {
    case REG_AcquisitionStart:
        acquisition_start(camera);
        break;
    case REG_AcquisitionStop:
        acquisition_stop(camera);
        break;
    case REG_TriggerSoftware:
        (void)software_trigger(camera);
        break;
    case REG_TimestampLatch:
        set_register_i64(camera, REG_TimestampLatchValue, (int64_t)now_ns());
        break;
    case REG_EncoderReset:
        camera->encoder_zero = feed_encoder(camera, camera->encoder_count);
        break;
    case REG_CounterReset:
        camera->counter = 0;
        break;
    case REG_UserSetLoad:
        error = user_set_load(camera);
        break;
    case REG_UserSetSave:
        error = user_set_save(camera);
        break;
    case REG_SimDeviceLost:
        error = device_lost(camera);
        break;
    default:
        error = fail(GC_ERR_INVALID_ADDRESS, "no command at 0x%x", address);
        break;
    }
    pthread_cond_broadcast(&camera->changed);
    return error;
}
