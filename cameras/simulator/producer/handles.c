/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Which object a handle is. Handles are addresses of static objects: they are compared, never followed. */
#include <string.h>

#include "linesim.h"

struct library library = {.lock = PTHREAD_MUTEX_INITIALIZER};
char interface_marker;

gc_error need_library(void)
{
    if (!atomic_load(&library.initialised))
        return fail(GC_ERR_NOT_INITIALIZED, "call GCInitLib first");
    return GC_OK;
}

struct camera *camera_of_device(gc_handle handle)
{
    struct camera *camera;

    return module_of(handle, &camera) == MODULE_DEVICE ? camera : NULL;
}

struct camera *camera_of_stream(gc_handle handle)
{
    struct camera *camera;

    return module_of(handle, &camera) == MODULE_STREAM ? camera : NULL;
}

struct buffer *buffer_of(struct camera *camera, gc_handle handle)
{
    for (unsigned i = 0; i < BUFFERS_MAX; i++) {
        struct buffer *buffer = &camera->stream.buffers[i];
        if (handle == buffer)
            return buffer->announced ? buffer : NULL;
    }
    return NULL;
}

/* Takes the locks of the cameras: never call it with one held. */
enum module_kind module_of(gc_handle handle, struct camera **camera)
{
    *camera = NULL;
    if (handle == NULL || !atomic_load(&library.initialised))
        return MODULE_NONE;
    if (handle == &library)
        return MODULE_SYSTEM;
    if (handle == &interface_marker)
        return MODULE_INTERFACE;
    for (unsigned i = 0; i < library.camera_count; i++) {
        struct camera *candidate = &library.cameras[i];
        *camera = candidate;
        if (handle == candidate)
            return MODULE_DEVICE;
        if (handle == &candidate->port_marker)
            return MODULE_PORT;
        if (handle == &candidate->stream)
            return MODULE_STREAM;
    }
    for (unsigned i = 0; i < library.camera_count; i++) {
        *camera = &library.cameras[i];
        pthread_mutex_lock(&(*camera)->lock);
        bool found = buffer_of(*camera, handle) != NULL;
        pthread_mutex_unlock(&(*camera)->lock);
        if (found)
            return MODULE_BUFFER;
    }
    *camera = NULL;
    return MODULE_NONE;
}

const char *module_name(enum module_kind kind)
{
    switch (kind) {
    case MODULE_SYSTEM:
        return "TLSystem";
    case MODULE_INTERFACE:
        return "TLInterface";
    case MODULE_DEVICE:
        return "TLDevice";
    case MODULE_PORT:
        return "Device";
    case MODULE_STREAM:
        return "TLDataStream";
    case MODULE_BUFFER:
        return "TLBuffer";
    case MODULE_NONE:
        break;
    }
    return "TLNone";
}
