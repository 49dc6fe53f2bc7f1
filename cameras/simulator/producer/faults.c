/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Faults that a test switches on, by a node of this camera or by a word in the feed. With camera.lock held. */
#include "feed_layout.h"
#include "linesim.h"

static struct feed_header *words(const struct camera *camera)
{
    return camera->feed.header;
}

static void cut_session(struct camera *camera)
{
    uint64_t values[2] = {now_ns(), camera->frame_id};

    if (!camera->open || camera->dead)
        return;
    camera->dead = true;
    acquisition_stop(camera);
    event_post(&camera->module_events, EVENT_ID_DeviceLost, values, sizeof values);
    pthread_cond_broadcast(&camera->changed);
}

/* The open session dies for good, as a cable pull does it; the camera itself may come back and be opened again. */
void fault_lose(struct camera *camera, uint64_t for_ms)
{
    const struct feed_header *feed = words(camera);

    camera->lost_by_command = true;
    camera->lost_until_ns = for_ms == 0 ? UINT64_MAX : now_ns() + for_ms * NS_PER_MS;
    camera->back_seen = feed != NULL ? atomic_load(&feed->back_count) : 0;
    cut_session(camera);
}

bool fault_lost(struct camera *camera)
{
    const struct feed_header *feed = words(camera);

    if (feed != NULL && atomic_load(&feed->lost) != 0) {
        cut_session(camera);
        return true;
    }
    if (!camera->lost_by_command)
        return false;
    bool called_back = feed != NULL && atomic_load(&feed->back_count) != camera->back_seen;
    if (called_back || now_ns() >= camera->lost_until_ns)
        camera->lost_by_command = false;
    return camera->lost_by_command;
}

/* The node counts down. Of the feed's requests the camera counts what it has done: neither writes the other's word. */
static bool take_one(struct camera *camera, uint32_t address, const _Atomic uint64_t *requested, _Atomic uint64_t *done)
{
    uint32_t left = register_u32(camera, address);

    if (left > 0) {
        set_register_u32(camera, address, left - 1);
        return true;
    }
    if (requested == NULL || atomic_load(requested) <= atomic_load(done))
        return false;
    atomic_fetch_add(done, 1);
    return true;
}

bool fault_take_drop(struct camera *camera)
{
    struct feed_header *feed = words(camera);

    if (feed == NULL)
        return take_one(camera, REG_SimDropNext, NULL, NULL);
    return take_one(camera, REG_SimDropNext, &feed->drop_requested, &feed->drop_done);
}

bool fault_take_incomplete(struct camera *camera)
{
    struct feed_header *feed = words(camera);

    if (feed == NULL)
        return take_one(camera, REG_SimIncompleteNext, NULL, NULL);
    return take_one(camera, REG_SimIncompleteNext, &feed->incomplete_requested, &feed->incomplete_done);
}

bool fault_frozen(const struct camera *camera)
{
    const struct feed_header *feed = words(camera);

    return register_u32(camera, REG_SimFrozen) != 0 || (feed != NULL && atomic_load(&feed->frozen) != 0);
}

uint64_t fault_slow_ns(const struct camera *camera)
{
    const struct feed_header *feed = words(camera);
    uint64_t slow_ms = register_u32(camera, REG_SimSlow);

    if (feed != NULL)
        slow_ms += atomic_load(&feed->slow_ms);
    return slow_ms * NS_PER_MS;
}
