/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * Our own declarations of the part of the GenTL C interface that this producer implements.
 * Values and layouts are facts of the interface (GenTL 1.6); no text of EMVA's header is used.
 */
#ifndef LINESIM_GENTL_API_H
#define LINESIM_GENTL_API_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t gc_error;
typedef int32_t info_type;
typedef int32_t info_command;
typedef int32_t event_type;
typedef uint8_t bool8;
typedef void *gc_handle;

#define GENTL_EXPORT __attribute__((visibility("default"))) gc_error
#define GENTL_INFINITE UINT64_MAX

enum {
    GC_OK = 0,
    GC_ERR_ERROR = -1001,
    GC_ERR_NOT_INITIALIZED = -1002,
    GC_ERR_NOT_IMPLEMENTED = -1003,
    GC_ERR_RESOURCE_IN_USE = -1004,
    GC_ERR_ACCESS_DENIED = -1005,
    GC_ERR_INVALID_HANDLE = -1006,
    GC_ERR_INVALID_ID = -1007,
    GC_ERR_NO_DATA = -1008,
    GC_ERR_INVALID_PARAMETER = -1009,
    GC_ERR_IO = -1010,
    GC_ERR_TIMEOUT = -1011,
    GC_ERR_ABORT = -1012,
    GC_ERR_NOT_AVAILABLE = -1014,
    GC_ERR_INVALID_ADDRESS = -1015,
    GC_ERR_BUFFER_TOO_SMALL = -1016,
    GC_ERR_INVALID_INDEX = -1017,
    GC_ERR_INVALID_VALUE = -1019,
    GC_ERR_BUSY = -1022,
};

enum {
    TYPE_STRING = 1,
    TYPE_INT32 = 5,
    TYPE_UINT32 = 6,
    TYPE_UINT64 = 8,
    TYPE_PTR = 10,
    TYPE_BOOL8 = 11,
    TYPE_SIZET = 12,
    TYPE_BUFFER = 13,
};

enum { EVENT_NEW_BUFFER = 1, EVENT_REMOTE_DEVICE = 4, EVENT_MODULE = 5 };

enum { ACCESS_READWRITE = 1, ACCESS_NOACCESS = 3, ACCESS_BUSY = 4, ACCESS_OPEN_READWRITE = 5 };

enum {
    FLUSH_OUTPUT_DISCARD = 1,
    FLUSH_ALL_TO_INPUT = 2,
    FLUSH_UNQUEUED_TO_INPUT = 3,
    FLUSH_ALL_DISCARD = 4,
};

enum { PAYLOAD_IMAGE = 1, NAMESPACE_PFNC = 4 };

enum {
    TL_ID = 0,
    TL_VENDOR = 1,
    TL_MODEL = 2,
    TL_VERSION = 3,
    TL_TLTYPE = 4,
    TL_NAME = 5,
    TL_PATHNAME = 6,
    TL_DISPLAYNAME = 7,
    TL_CHAR_ENCODING = 8,
    TL_GENTL_MAJOR = 9,
    TL_GENTL_MINOR = 10,
};

enum { IF_ID = 0, IF_DISPLAYNAME = 1, IF_TLTYPE = 2 };

enum {
    DEVICE_ID = 0,
    DEVICE_VENDOR = 1,
    DEVICE_MODEL = 2,
    DEVICE_TLTYPE = 3,
    DEVICE_DISPLAYNAME = 4,
    DEVICE_ACCESS_STATUS = 5,
    DEVICE_USER_NAME = 6,
    DEVICE_SERIAL = 7,
    DEVICE_VERSION = 8,
    DEVICE_TIMESTAMP_FREQUENCY = 9,
};

enum {
    PORT_ID = 0,
    PORT_VENDOR = 1,
    PORT_MODEL = 2,
    PORT_TLTYPE = 3,
    PORT_MODULE = 4,
    PORT_LITTLE_ENDIAN = 5,
    PORT_BIG_ENDIAN = 6,
    PORT_ACCESS_READ = 7,
    PORT_ACCESS_WRITE = 8,
    PORT_ACCESS_NOT_AVAILABLE = 9,
    PORT_ACCESS_NOT_IMPLEMENTED = 10,
    PORT_VERSION = 11,
    PORT_PORTNAME = 12,
};

enum {
    URL_URL = 0,
    URL_SCHEMA_MAJOR = 1,
    URL_SCHEMA_MINOR = 2,
    URL_FILE_MAJOR = 3,
    URL_FILE_MINOR = 4,
    URL_FILE_SUBMINOR = 5,
    URL_ADDRESS = 7,
    URL_SIZE = 8,
    URL_SCHEME = 9,
    URL_FILENAME = 10,
};

enum {
    EVENT_INFO_TYPE = 0,
    EVENT_INFO_QUEUED = 1,
    EVENT_INFO_FIRED = 2,
    EVENT_INFO_SIZE_MAX = 3,
    EVENT_INFO_DATA_MAX = 4,
};

enum { EVENT_DATA_ID = 0, EVENT_DATA_VALUE = 1, EVENT_DATA_NUMERIC_ID = 2 };

enum {
    STREAM_ID = 0,
    STREAM_DELIVERED = 1,
    STREAM_UNDERRUN = 2,
    STREAM_ANNOUNCED = 3,
    STREAM_QUEUED = 4,
    STREAM_AWAIT_DELIVERY = 5,
    STREAM_STARTED = 6,
    STREAM_PAYLOAD_SIZE = 7,
    STREAM_IS_GRABBING = 8,
    STREAM_DEFINES_PAYLOAD = 9,
    STREAM_TLTYPE = 10,
    STREAM_CHUNKS_MAX = 11,
    STREAM_ANNOUNCE_MIN = 12,
    STREAM_ALIGNMENT = 13,
};

enum {
    BUFFER_BASE = 0,
    BUFFER_SIZE = 1,
    BUFFER_USER = 2,
    BUFFER_TIMESTAMP = 3,
    BUFFER_NEW_DATA = 4,
    BUFFER_IS_QUEUED = 5,
    BUFFER_IS_ACQUIRING = 6,
    BUFFER_IS_INCOMPLETE = 7,
    BUFFER_TLTYPE = 8,
    BUFFER_FILLED = 9,
    BUFFER_WIDTH = 10,
    BUFFER_HEIGHT = 11,
    BUFFER_XOFFSET = 12,
    BUFFER_YOFFSET = 13,
    BUFFER_XPADDING = 14,
    BUFFER_YPADDING = 15,
    BUFFER_FRAME_ID = 16,
    BUFFER_IMAGE_PRESENT = 17,
    BUFFER_IMAGE_OFFSET = 18,
    BUFFER_PAYLOAD_TYPE = 19,
    BUFFER_PIXEL_FORMAT = 20,
    BUFFER_PIXEL_NAMESPACE = 21,
    BUFFER_DELIVERED_HEIGHT = 22,
    BUFFER_DELIVERED_CHUNK_SIZE = 23,
    BUFFER_PIXEL_ENDIANNESS = 26,
    BUFFER_DATA_SIZE = 27,
    BUFFER_TIMESTAMP_NS = 28,
    BUFFER_TOO_LARGE = 29,
    BUFFER_CONTAINS_CHUNKS = 30,
    BUFFER_IS_COMPOSITE = 31,
};

/* The interface passes these structures packed to one byte. */
#pragma pack(push, 1)
struct new_buffer_data {
    gc_handle buffer;
    void *user;
};
struct register_stack_entry {
    uint64_t address;
    void *buffer;
    size_t size;
};
struct chunk_entry {
    uint64_t id;
    ptrdiff_t offset;
    size_t length;
};
struct buffer_info_entry {
    info_command command;
    info_type type;
    void *buffer;
    size_t size;
    gc_error result;
};
#pragma pack(pop)

#endif
