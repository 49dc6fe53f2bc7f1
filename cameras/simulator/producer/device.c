/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The interface's list of cameras; opening and closing one; the lock that keeps a second process out. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "linesim.h"

/* An unplugged camera is not in the list. The list is made by IFUpdateDeviceList and stays until the next one. */
static unsigned listed[CAMERAS_MAX];
static unsigned listed_count;

static gc_error need_interface(gc_handle handle)
{
    struct camera *camera;
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    if (module_of(handle, &camera) != MODULE_INTERFACE)
        return fail(GC_ERR_INVALID_HANDLE, "not an interface");
    return GC_OK;
}

static struct camera *camera_by_id(const char *id)
{
    if (id == NULL)
        return NULL;
    for (unsigned i = 0; i < library.camera_count; i++) {
        if (strcmp(id, library.cameras[i].id) == 0)
            return &library.cameras[i];
    }
    return NULL;
}

GENTL_EXPORT IFUpdateDeviceList(gc_handle handle, bool8 *changed, uint64_t timeout_ms)
{
    gc_error error = need_interface(handle);
    unsigned found[CAMERAS_MAX] = {0};
    unsigned count = 0;

    (void)timeout_ms;
    if (error != GC_OK)
        return error;
    for (unsigned i = 0; i < library.camera_count; i++) {
        struct camera *camera = &library.cameras[i];
        pthread_mutex_lock(&camera->lock);
        if (!camera->stream.thread_running)
            feed_refresh(camera);
        bool absent = fault_lost(camera);
        pthread_mutex_unlock(&camera->lock);
        if (!absent)
            found[count++] = i;
    }
    pthread_mutex_lock(&library.lock);
    if (changed != NULL)
        *changed = count != listed_count || memcmp(found, listed, sizeof found) != 0;
    memcpy(listed, found, sizeof listed);
    listed_count = count;
    pthread_mutex_unlock(&library.lock);
    return GC_OK;
}

GENTL_EXPORT IFGetNumDevices(gc_handle handle, uint32_t *count)
{
    gc_error error = need_interface(handle);

    if (error != GC_OK)
        return error;
    if (count == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    pthread_mutex_lock(&library.lock);
    *count = listed_count;
    pthread_mutex_unlock(&library.lock);
    return GC_OK;
}

GENTL_EXPORT IFGetDeviceID(gc_handle handle, uint32_t index, char *text, size_t *size)
{
    struct answer to = {NULL, text, size};
    gc_error error = need_interface(handle);
    const char *id = NULL;

    if (error != GC_OK)
        return error;
    pthread_mutex_lock(&library.lock);
    if (index < listed_count)
        id = library.cameras[listed[index]].id;
    pthread_mutex_unlock(&library.lock);
    if (id == NULL)
        return fail(GC_ERR_INVALID_INDEX, "there is no camera number %u", index);
    return answer_text(to, id);
}

/* Whether another process has the camera open. */
static bool held_elsewhere(const struct camera *camera)
{
    struct flock query = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(camera->lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return false;
    bool held = fcntl(fd, F_GETLK, &query) == 0 && query.l_type != F_UNLCK;
    close(fd);
    return held;
}

static int32_t access_status(struct camera *camera)
{
    if (camera->open)
        return camera->dead ? ACCESS_NOACCESS : ACCESS_OPEN_READWRITE;
    if (fault_lost(camera))
        return ACCESS_NOACCESS;
    return held_elsewhere(camera) ? ACCESS_BUSY : ACCESS_READWRITE;
}

static gc_error device_info(struct camera *camera, struct answer to, info_command command)
{
    char text[96];

    switch (command) {
    case DEVICE_ID:
        return answer_text(to, camera->id);
    case DEVICE_VENDOR:
        return answer_text(to, VENDOR_NAME);
    case DEVICE_MODEL:
        return answer_text(to, MODEL_NAME);
    case DEVICE_TLTYPE:
        return answer_text(to, "Custom");
    case DEVICE_DISPLAYNAME:
        (void)snprintf(text, sizeof text, "%s %s (%s)", VENDOR_NAME, MODEL_NAME, camera->serial);
        return answer_text(to, text);
    case DEVICE_ACCESS_STATUS: {
        pthread_mutex_lock(&camera->lock);
        int32_t status = access_status(camera);
        pthread_mutex_unlock(&camera->lock);
        return answer_i32(to, status);
    }
    case DEVICE_USER_NAME:
        pthread_mutex_lock(&camera->lock);
        memcpy(text, camera->registers + REG_DeviceUserID, 64);
        pthread_mutex_unlock(&camera->lock);
        text[63] = '\0';
        return answer_text(to, text);
    case DEVICE_SERIAL:
        return answer_text(to, camera->serial);
    case DEVICE_VERSION:
        return answer_text(to, PRODUCER_VERSION);
    case DEVICE_TIMESTAMP_FREQUENCY:
        return answer_u64(to, NS_PER_S);
    default:
        return fail(GC_ERR_NOT_IMPLEMENTED, "device info %d", command);
    }
}

GENTL_EXPORT IFGetDeviceInfo(gc_handle handle, const char *id, info_command command, info_type *type, void *buffer,
                             size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error = need_interface(handle);
    struct camera *camera = camera_by_id(id);

    if (error != GC_OK)
        return error;
    if (camera == NULL)
        return fail(GC_ERR_INVALID_ID, "no camera is called %s", id != NULL ? id : "(null)");
    return device_info(camera, to, command);
}

/*
 * A camera belongs to one process. A POSIX record lock, and not flock: it is not inherited over fork, so a child
 * that outlives a killed station does not keep the camera. The kernel lets it go with the process.
 */
static gc_error take_lock(struct camera *camera)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(camera->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return fail(GC_ERR_IO, "%s: %s", camera->lock_path, strerror(errno));
    if (fcntl(fd, F_SETLK, &whole) != 0) {
        int reason = errno;
        close(fd);
        if (reason == EACCES || reason == EAGAIN)
            return fail(GC_ERR_RESOURCE_IN_USE, "camera %s is open in another process", camera->serial);
        return fail(GC_ERR_IO, "%s: %s", camera->lock_path, strerror(reason));
    }
    camera->lock_fd = fd;
    return GC_OK;
}

static gc_error device_open(struct camera *camera)
{
    if (camera->open)
        return fail(GC_ERR_RESOURCE_IN_USE, "camera %s is open already", camera->serial);
    camera->feed.checked_ns = 0;
    feed_refresh(camera);
    if (fault_lost(camera))
        return fail(GC_ERR_ACCESS_DENIED, "camera %s does not answer", camera->serial);
    gc_error error = take_lock(camera);
    if (error != GC_OK)
        return error;
    /* A camera that was unplugged has lost its settings. */
    if (camera->dead)
        registers_power_on(camera);
    camera->open = true;
    camera->dead = false;
    camera->acquiring = false;
    camera->missed = 0;
    camera->counter = 0;
    return GC_OK;
}

GENTL_EXPORT IFOpenDevice(gc_handle handle, const char *id, int32_t flags, gc_handle *device)
{
    gc_error error = need_interface(handle);
    struct camera *camera = camera_by_id(id);

    (void)flags;
    if (error != GC_OK)
        return error;
    if (camera == NULL)
        return fail(GC_ERR_INVALID_ID, "no camera is called %s", id != NULL ? id : "(null)");
    if (device == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the handle pointer is NULL");
    pthread_mutex_lock(&camera->lock);
    error = device_open(camera);
    pthread_mutex_unlock(&camera->lock);
    if (error == GC_OK)
        *device = camera;
    return error;
}

/* With camera.lock held and the stream closed. */
void device_close_locked(struct camera *camera)
{
    acquisition_stop(camera);
    event_drop(&camera->remote_events);
    event_drop(&camera->module_events);
    set_register_u32(camera, REG_TLParamsLocked, 0);
    feed_close(camera);
    if (camera->lock_fd >= 0) {
        close(camera->lock_fd);
        camera->lock_fd = -1;
    }
    camera->open = false;
}

static struct camera *open_device(gc_handle handle, gc_error *error)
{
    struct camera *camera = camera_of_device(handle);

    *error = need_library();
    if (*error != GC_OK)
        return NULL;
    if (camera == NULL) {
        *error = fail(GC_ERR_INVALID_HANDLE, "not a device");
        return NULL;
    }
    pthread_mutex_lock(&camera->lock);
    bool open = camera->open;
    pthread_mutex_unlock(&camera->lock);
    if (!open)
        *error = fail(GC_ERR_INVALID_HANDLE, "camera %s is not open", camera->serial);
    return open ? camera : NULL;
}

GENTL_EXPORT DevClose(gc_handle handle)
{
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    if (camera == NULL)
        return error;
    stream_close(camera);
    pthread_mutex_lock(&camera->lock);
    device_close_locked(camera);
    pthread_mutex_unlock(&camera->lock);
    return GC_OK;
}

GENTL_EXPORT DevGetInfo(gc_handle handle, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    return camera == NULL ? error : device_info(camera, to, command);
}

GENTL_EXPORT DevGetPort(gc_handle handle, gc_handle *port)
{
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    if (camera != NULL && port != NULL)
        *port = &camera->port_marker;
    return error;
}

GENTL_EXPORT DevGetParentIF(gc_handle handle, gc_handle *interface)
{
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    if (camera != NULL && interface != NULL)
        *interface = &interface_marker;
    return error;
}

GENTL_EXPORT DevGetNumDataStreams(gc_handle handle, uint32_t *count)
{
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    if (camera != NULL && count != NULL)
        *count = 1;
    return error;
}

GENTL_EXPORT DevGetDataStreamID(gc_handle handle, uint32_t index, char *text, size_t *size)
{
    struct answer to = {NULL, text, size};
    gc_error error;
    struct camera *camera = open_device(handle, &error);

    if (camera == NULL)
        return error;
    if (index != 0)
        return fail(GC_ERR_INVALID_INDEX, "there is one stream, number 0");
    return answer_text(to, "Stream0");
}
