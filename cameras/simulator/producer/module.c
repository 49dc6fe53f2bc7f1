/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The library, the transport layer and its one interface. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "linesim.h"

#define SYSTEM_ID "LineSimTL"
#define INTERFACE_ID "LineSimIF"


/* Mutexes live as long as the library is loaded: GCInitLib and GCCloseLib may follow each other any number of times. */
__attribute__((constructor)) static void prepare_locks(void)
{
    event_init(&library.system_events, EVENT_MODULE, &library.lock);
    event_init(&library.interface_events, EVENT_MODULE, &library.lock);
    for (unsigned i = 0; i < CAMERAS_MAX; i++) {
        struct camera *camera = &library.cameras[i];
        pthread_condattr_t attributes;
        pthread_mutex_init(&camera->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&camera->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        event_init(&camera->remote_events, EVENT_REMOTE_DEVICE, &camera->lock);
        event_init(&camera->module_events, EVENT_MODULE, &camera->lock);
        event_init(&camera->stream.new_buffer, EVENT_NEW_BUFFER, &camera->lock);
        camera->lock_fd = -1;
        camera->feed.fd = -1;
    }
    Dl_info info;
    char resolved[4096];
    (void)snprintf(library.path, sizeof library.path, "linesim.cti");
    if (dladdr(&library, &info) != 0 && info.dli_fname != NULL && realpath(info.dli_fname, resolved) != NULL)
        (void)snprintf(library.path, sizeof library.path, "%.*s", (int)sizeof library.path - 1, resolved);
}

/* A whole number from the environment. harvesters swallows the text of GCInitLib's errors, so it goes to stderr too. */
static gc_error setting(const char *name, long otherwise, long low, long high, uint32_t *value)
{
    const char *text = getenv(name);
    char *end = NULL;
    long number = otherwise;

    if (text != NULL) {
        errno = 0;
        number = strtol(text, &end, 10);
    }
    if (text != NULL && (end == text || *end != '\0' || errno != 0 || number < low || number > high)) {
        fprintf(stderr, "linesim: %s=%s must be a whole number from %ld to %ld\n", name, text, low, high);
        return fail(GC_ERR_INVALID_PARAMETER, "%s=%s must be a whole number from %ld to %ld", name, text, low, high);
    }
    *value = (uint32_t)number;
    return GC_OK;
}

/* Names are made in locals: the compiler cannot see that two parts of one static object do not overlap. */
static gc_error name_camera(struct camera *camera, unsigned index, const char *folder)
{
    char serial[sizeof camera->serial];
    char feed[PATH_BYTES] = "";
    char lock[PATH_BYTES];
    int feed_length = 0;
    int lock_length;

    (void)snprintf(serial, sizeof serial, "LS%04u", (index + 1) % 10000);
    if (folder != NULL) {
        feed_length = snprintf(feed, sizeof feed, "%s/%s.feed", folder, serial);
        lock_length = snprintf(lock, sizeof lock, "%s/%s.lock", folder, serial);
    } else {
        lock_length = snprintf(lock, sizeof lock, "/dev/shm/linesim-%u-%s.lock", (unsigned)getuid(), serial);
    }
    if (feed_length < 0 || feed_length >= PATH_BYTES || lock_length < 0 || lock_length >= PATH_BYTES)
        return fail(GC_ERR_INVALID_PARAMETER, "LINESIM_DIR is longer than %d characters", PATH_BYTES - 20);
    camera->index = index;
    memcpy(camera->serial, serial, sizeof serial);
    memcpy(camera->feed_path, feed, sizeof feed);
    memcpy(camera->lock_path, lock, sizeof lock);
    (void)snprintf(camera->id, sizeof camera->id, "linesim-%s", serial);
    return GC_OK;
}

static gc_error make_cameras(void)
{
    uint32_t count;
    uint32_t width;
    uint32_t height;
    gc_error error = setting("LINESIM_CAMERAS", 2, 0, CAMERAS_MAX, &count);

    if (error == GC_OK)
        error = setting("LINESIM_WIDTH", 2048, 16, 16384, &width);
    if (error == GC_OK)
        error = setting("LINESIM_HEIGHT", 2048, 2, 32768, &height);
    if (error != GC_OK)
        return error;
    const char *folder = getenv("LINESIM_DIR");
    for (unsigned i = 0; i < count; i++) {
        struct camera *camera = &library.cameras[i];
        error = name_camera(camera, i, folder != NULL && folder[0] != '\0' ? folder : NULL);
        if (error != GC_OK)
            return error;
        pthread_mutex_lock(&camera->lock);
        camera->dead = false;
        set_register_u32(camera, REG_WidthMax, width / 4 * 4);
        set_register_u32(camera, REG_HeightMax, height / 2 * 2);
        registers_reset(camera);
        pthread_mutex_unlock(&camera->lock);
    }
    library.camera_count = count;
    return GC_OK;
}

GENTL_EXPORT GCInitLib(void)
{
    pthread_mutex_lock(&library.lock);
    gc_error error = GC_OK;
    if (atomic_load(&library.initialised))
        error = fail(GC_ERR_RESOURCE_IN_USE, "the library is initialised already");
    else
        error = make_cameras();
    if (error == GC_OK)
        atomic_store(&library.initialised, true);
    pthread_mutex_unlock(&library.lock);
    return error;
}

GENTL_EXPORT GCCloseLib(void)
{
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    for (unsigned i = 0; i < library.camera_count; i++) {
        struct camera *camera = &library.cameras[i];
        stream_close(camera);
        pthread_mutex_lock(&camera->lock);
        device_close_locked(camera);
        pthread_mutex_unlock(&camera->lock);
    }
    pthread_mutex_lock(&library.lock);
    event_drop(&library.system_events);
    event_drop(&library.interface_events);
    library.system_open = false;
    library.interface_open = false;
    library.list_seen = false;
    atomic_store(&library.initialised, false);
    pthread_mutex_unlock(&library.lock);
    return GC_OK;
}

static gc_error system_info(struct answer to, info_command command)
{
    const char *slash = strrchr(library.path, '/');

    switch (command) {
    case TL_ID:
        return answer_text(to, SYSTEM_ID);
    case TL_VENDOR:
        return answer_text(to, VENDOR_NAME);
    case TL_MODEL:
        return answer_text(to, "LineSimProducer");
    case TL_VERSION:
        return answer_text(to, PRODUCER_VERSION);
    case TL_TLTYPE:
        return answer_text(to, "Custom");
    case TL_NAME:
        return answer_text(to, slash != NULL ? slash + 1 : library.path);
    case TL_PATHNAME:
        return answer_text(to, library.path);
    case TL_DISPLAYNAME:
        return answer_text(to, "Gatesight line simulator");
    case TL_CHAR_ENCODING:
        return answer_i32(to, 1);
    case TL_GENTL_MAJOR:
        return answer_u32(to, 1);
    case TL_GENTL_MINOR:
        return answer_u32(to, 6);
    default:
        return fail(GC_ERR_NOT_IMPLEMENTED, "system info %d", command);
    }
}

GENTL_EXPORT GCGetInfo(info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};

    return system_info(to, command);
}

static gc_error need_module(gc_handle handle, enum module_kind wanted)
{
    struct camera *camera;
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    if (module_of(handle, &camera) != wanted)
        return fail(GC_ERR_INVALID_HANDLE, "not a handle of %s", module_name(wanted));
    return GC_OK;
}

static gc_error open_once(bool *open, gc_handle object, gc_handle *handle)
{
    if (handle == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    pthread_mutex_lock(&library.lock);
    bool taken = *open;
    *open = true;
    pthread_mutex_unlock(&library.lock);
    if (taken)
        return fail(GC_ERR_RESOURCE_IN_USE, "the module is open already");
    *handle = object;
    return GC_OK;
}

static void close_module(bool *open, struct event_queue *events)
{
    pthread_mutex_lock(&library.lock);
    event_drop(events);
    *open = false;
    pthread_mutex_unlock(&library.lock);
}

GENTL_EXPORT TLOpen(gc_handle *handle)
{
    gc_error error = need_library();

    return error != GC_OK ? error : open_once(&library.system_open, &library, handle);
}

GENTL_EXPORT TLClose(gc_handle handle)
{
    gc_error error = need_module(handle, MODULE_SYSTEM);

    if (error == GC_OK)
        close_module(&library.system_open, &library.system_events);
    return error;
}

GENTL_EXPORT TLGetInfo(gc_handle handle, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error = need_module(handle, MODULE_SYSTEM);

    return error != GC_OK ? error : system_info(to, command);
}

GENTL_EXPORT TLUpdateInterfaceList(gc_handle handle, bool8 *changed, uint64_t timeout_ms)
{
    gc_error error = need_module(handle, MODULE_SYSTEM);

    (void)timeout_ms;
    if (error != GC_OK)
        return error;
    pthread_mutex_lock(&library.lock);
    if (changed != NULL)
        *changed = library.list_seen ? 0 : 1;
    library.list_seen = true;
    pthread_mutex_unlock(&library.lock);
    return GC_OK;
}

GENTL_EXPORT TLGetNumInterfaces(gc_handle handle, uint32_t *count)
{
    gc_error error = need_module(handle, MODULE_SYSTEM);

    if (error == GC_OK && count == NULL)
        error = fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    if (error == GC_OK)
        *count = 1;
    return error;
}

GENTL_EXPORT TLGetInterfaceID(gc_handle handle, uint32_t index, char *text, size_t *size)
{
    struct answer to = {NULL, text, size};
    gc_error error = need_module(handle, MODULE_SYSTEM);

    if (error != GC_OK)
        return error;
    if (index != 0)
        return fail(GC_ERR_INVALID_INDEX, "there is one interface, number 0");
    return answer_text(to, INTERFACE_ID);
}

static gc_error interface_info(struct answer to, info_command command)
{
    switch (command) {
    case IF_ID:
        return answer_text(to, INTERFACE_ID);
    case IF_DISPLAYNAME:
        return answer_text(to, "Line simulator");
    case IF_TLTYPE:
        return answer_text(to, "Custom");
    default:
        return fail(GC_ERR_NOT_IMPLEMENTED, "interface info %d", command);
    }
}

static gc_error need_interface_id(const char *id)
{
    if (id == NULL || strcmp(id, INTERFACE_ID) != 0)
        return fail(GC_ERR_INVALID_ID, "the interface is called " INTERFACE_ID);
    return GC_OK;
}

GENTL_EXPORT TLGetInterfaceInfo(gc_handle handle, const char *id, info_command command, info_type *type, void *buffer,
                                size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error = need_module(handle, MODULE_SYSTEM);

    if (error == GC_OK)
        error = need_interface_id(id);
    return error != GC_OK ? error : interface_info(to, command);
}

GENTL_EXPORT TLOpenInterface(gc_handle handle, const char *id, gc_handle *interface)
{
    gc_error error = need_module(handle, MODULE_SYSTEM);

    if (error == GC_OK)
        error = need_interface_id(id);
    return error != GC_OK ? error : open_once(&library.interface_open, &interface_marker, interface);
}

GENTL_EXPORT IFClose(gc_handle handle)
{
    gc_error error = need_module(handle, MODULE_INTERFACE);

    if (error == GC_OK)
        close_module(&library.interface_open, &library.interface_events);
    return error;
}

GENTL_EXPORT IFGetInfo(gc_handle handle, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error = need_module(handle, MODULE_INTERFACE);

    return error != GC_OK ? error : interface_info(to, command);
}

GENTL_EXPORT IFGetParentTL(gc_handle handle, gc_handle *system)
{
    gc_error error = need_module(handle, MODULE_INTERFACE);

    if (error == GC_OK && system == NULL)
        error = fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    if (error == GC_OK)
        *system = &library;
    return error;
}
