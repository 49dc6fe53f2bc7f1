/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Ports: register access and the URL of the XML. Every module has one; only the remote device's can be written. */
#include <stdio.h>
#include <string.h>

#include "linesim.h"

extern const unsigned char device_xml[];
extern const size_t device_xml_size;
extern const unsigned char module_xml[];
extern const size_t module_xml_size;

struct port {
    enum module_kind kind;
    struct camera *camera;
    const unsigned char *xml;
    size_t xml_size;
};

static gc_error find_port(gc_handle handle, struct port *port)
{
    gc_error error = need_library();

    if (error != GC_OK)
        return error;
    port->kind = module_of(handle, &port->camera);
    if (port->kind == MODULE_NONE)
        return fail(GC_ERR_INVALID_HANDLE, "not a port");
    bool remote = port->kind == MODULE_PORT;
    port->xml = remote ? device_xml : module_xml;
    port->xml_size = remote ? device_xml_size : module_xml_size;
    return GC_OK;
}

/* A camera that was unplugged does not answer until it is opened again. */
static gc_error need_link(struct camera *camera)
{
    if (!camera->stream.thread_running)
        feed_refresh(camera);
    if (!camera->open)
        return fail(GC_ERR_ACCESS_DENIED, "camera %s is not open", camera->serial);
    if (fault_lost(camera) || camera->dead)
        return fail(GC_ERR_IO, "camera %s is lost", camera->serial);
    return GC_OK;
}

static gc_error read_module(const struct port *port, uint64_t address, void *buffer, size_t size)
{
    const char *name = module_name(port->kind);

    if (size > REGISTER_SPACE || address > REGISTER_SPACE - size)
        return fail(GC_ERR_INVALID_ADDRESS, "0x%llx is outside the module", (unsigned long long)address);
    memset(buffer, 0, size);
    if (address == 0) {
        size_t length = strlen(name);
        memcpy(buffer, name, length < size ? length : size);
    }
    return GC_OK;
}

GENTL_EXPORT GCReadPort(gc_handle handle, uint64_t address, void *buffer, size_t *size)
{
    struct port port;
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    if (buffer == NULL || size == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the buffer or its size is NULL");
    if (address >= XML_ADDRESS) {
        uint64_t offset = address - XML_ADDRESS;
        if (*size > port.xml_size || offset > port.xml_size - *size)
            return fail(GC_ERR_INVALID_ADDRESS, "0x%llx is behind the XML", (unsigned long long)address);
        memcpy(buffer, port.xml + offset, *size);
        return GC_OK;
    }
    if (port.kind != MODULE_PORT)
        return read_module(&port, address, buffer, *size);
    pthread_mutex_lock(&port.camera->lock);
    error = need_link(port.camera);
    if (error == GC_OK)
        error = register_read(port.camera, address, buffer, *size);
    pthread_mutex_unlock(&port.camera->lock);
    return error;
}

GENTL_EXPORT GCWritePort(gc_handle handle, uint64_t address, const void *buffer, size_t *size)
{
    struct port port;
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    if (buffer == NULL || size == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the buffer or its size is NULL");
    if (port.kind != MODULE_PORT)
        return fail(GC_ERR_ACCESS_DENIED, "%s is read-only", module_name(port.kind));
    pthread_mutex_lock(&port.camera->lock);
    error = need_link(port.camera);
    if (error == GC_OK)
        error = register_write(port.camera, address, buffer, *size);
    pthread_mutex_unlock(&port.camera->lock);
    return error;
}

GENTL_EXPORT GCReadPortStacked(gc_handle handle, struct register_stack_entry *entries, size_t *count)
{
    if (entries == NULL || count == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the entries or their count is NULL");
    for (size_t i = 0; i < *count; i++) {
        size_t size = entries[i].size;
        gc_error error = GCReadPort(handle, entries[i].address, entries[i].buffer, &size);
        if (error != GC_OK) {
            *count = i;
            return error;
        }
    }
    return GC_OK;
}

GENTL_EXPORT GCWritePortStacked(gc_handle handle, struct register_stack_entry *entries, size_t *count)
{
    if (entries == NULL || count == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the entries or their count is NULL");
    for (size_t i = 0; i < *count; i++) {
        size_t size = entries[i].size;
        gc_error error = GCWritePort(handle, entries[i].address, entries[i].buffer, &size);
        if (error != GC_OK) {
            *count = i;
            return error;
        }
    }
    return GC_OK;
}

static const char *file_name(const struct port *port)
{
    return port->kind == MODULE_PORT ? "linesim_device.xml" : "linesim_module.xml";
}

static void write_url(const struct port *port, char *text, size_t size)
{
    unsigned long long address = XML_ADDRESS;

    (void)snprintf(text, size, "Local:///%s;%llX;%zX", file_name(port), address, port->xml_size);
}

GENTL_EXPORT GCGetPortURL(gc_handle handle, char *text, size_t *size)
{
    struct answer to = {NULL, text, size};
    struct port port;
    char url[128];
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    write_url(&port, url, sizeof url);
    return answer_text(to, url);
}

GENTL_EXPORT GCGetNumPortURLs(gc_handle handle, uint32_t *count)
{
    struct port port;
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    if (count == NULL)
        return fail(GC_ERR_INVALID_PARAMETER, "the count pointer is NULL");
    *count = 1;
    return GC_OK;
}

GENTL_EXPORT GCGetPortURLInfo(gc_handle handle, uint32_t index, info_command command, info_type *type, void *buffer,
                              size_t *size)
{
    struct answer to = {type, buffer, size};
    struct port port;
    char url[128];
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    if (index != 0)
        return fail(GC_ERR_INVALID_INDEX, "there is one URL, number 0");
    switch (command) {
    case URL_URL:
        write_url(&port, url, sizeof url);
        return answer_text(to, url);
    case URL_SCHEMA_MAJOR:
    case URL_SCHEMA_MINOR:
    case URL_FILE_MAJOR:
        return answer_i32(to, 1);
    case URL_FILE_MINOR:
    case URL_FILE_SUBMINOR:
    case URL_SCHEME:
        return answer_i32(to, 0);
    case URL_ADDRESS:
        return answer_u64(to, XML_ADDRESS);
    case URL_SIZE:
        return answer_u64(to, port.xml_size);
    case URL_FILENAME:
        return answer_text(to, file_name(&port));
    default:
        return fail(GC_ERR_NOT_AVAILABLE, "URL info %d", command);
    }
}

GENTL_EXPORT GCGetPortInfo(gc_handle handle, info_command command, info_type *type, void *buffer, size_t *size)
{
    struct answer to = {type, buffer, size};
    struct port port;
    gc_error error = find_port(handle, &port);

    if (error != GC_OK)
        return error;
    bool remote = port.kind == MODULE_PORT;
    const char *name = module_name(port.kind);
    switch (command) {
    case PORT_ID:
        return answer_text(to, remote ? port.camera->id : name);
    case PORT_VENDOR:
        return answer_text(to, VENDOR_NAME);
    case PORT_MODEL:
        return answer_text(to, remote ? MODEL_NAME : name);
    case PORT_TLTYPE:
        return answer_text(to, "Custom");
    case PORT_MODULE:
        return answer_text(to, name);
    case PORT_LITTLE_ENDIAN:
    case PORT_ACCESS_READ:
        return answer_bool(to, true);
    case PORT_ACCESS_WRITE:
        return answer_bool(to, remote);
    case PORT_BIG_ENDIAN:
    case PORT_ACCESS_NOT_AVAILABLE:
    case PORT_ACCESS_NOT_IMPLEMENTED:
        return answer_bool(to, false);
    case PORT_VERSION:
        return answer_text(to, PRODUCER_VERSION);
    case PORT_PORTNAME:
        return answer_text(to, "Device");
    default:
        return fail(GC_ERR_NOT_IMPLEMENTED, "port info %d", command);
    }
}
