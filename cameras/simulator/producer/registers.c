/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The register file of a camera: typed access, checked writes, live values, user sets. */
#include <stdio.h>
#include <string.h>

#include "linesim.h"

enum register_kind { KIND_INTEGER, KIND_FLOAT, KIND_TEXT, KIND_COMMAND };

struct register_entry {
    const char *name;
    uint32_t address;
    uint32_t length;
    uint32_t count;
    enum register_kind kind;
    bool writable;
    bool locked;
    bool saved;
    uint32_t increment;
    double minimum;
    double maximum;
};

static const struct register_entry TABLE[] = {
#include "device_registers.inc"
};
#define TABLE_LENGTH (sizeof TABLE / sizeof TABLE[0])

/* Registers may lie at any address: memcpy, never a cast. */
uint32_t register_u32(const struct camera *camera, uint32_t address)
{
    uint32_t value;

    memcpy(&value, camera->registers + address, sizeof value);
    return value;
}

double register_f64(const struct camera *camera, uint32_t address)
{
    double value;

    memcpy(&value, camera->registers + address, sizeof value);
    return value;
}

void set_register_u32(struct camera *camera, uint32_t address, uint32_t value)
{
    memcpy(camera->registers + address, &value, sizeof value);
}

void set_register_i64(struct camera *camera, uint32_t address, int64_t value)
{
    memcpy(camera->registers + address, &value, sizeof value);
}

static void set_f64(struct camera *camera, uint32_t address, double value)
{
    memcpy(camera->registers + address, &value, sizeof value);
}

static void set_text(struct camera *camera, uint32_t address, const char *text)
{
    (void)snprintf((char *)camera->registers + address, 64, "%s", text);
}

/* Power-on values. The size of the sensor and the user sets, which lie in flash memory, stay. */
void registers_power_on(struct camera *camera)
{
    uint32_t width = register_u32(camera, REG_WidthMax);
    uint32_t height = register_u32(camera, REG_HeightMax);
    char name[16];

    memset(camera->registers, 0, sizeof camera->registers);
    set_text(camera, REG_DeviceVendorName, VENDOR_NAME);
    set_text(camera, REG_DeviceModelName, MODEL_NAME);
    set_text(camera, REG_DeviceVersion, PRODUCER_VERSION);
    set_text(camera, REG_DeviceSerialNumber, camera->serial);
    (void)snprintf(name, sizeof name, "cam%u", camera->index);
    set_text(camera, REG_DeviceUserID, name);
    set_register_u32(camera, REG_WidthMax, width);
    set_register_u32(camera, REG_HeightMax, height);
    set_register_u32(camera, REG_Width, width);
    set_register_u32(camera, REG_Height, height);
    set_register_u32(camera, REG_PixelFormat, PixelFormat_Mono8);
    set_register_u32(camera, REG_TestPattern, TestPattern_GreyHorizontalRampMoving);
    set_register_u32(camera, REG_AcquisitionFrameCount, 1);
    set_f64(camera, REG_AcquisitionFrameRate, 30.0);
    set_register_u32(camera, REG_AcquisitionFrameRateEnable, 1);
    set_f64(camera, REG_ExposureTime, 1000.0);
    set_register_u32(camera, REG_CounterEventSource, CounterEventSource_FrameTrigger);
    for (uint32_t i = 0; i < CHUNK_COUNT; i++)
        set_register_u32(camera, REG_ChunkEnable + 4 * i, 1);
    set_register_u32(camera, REG_SimDeviceLostTime, 1000);
    set_register_u32(camera, REG_SimMissWhenBusy, 1);
    set_register_u32(camera, REG_SimReadoutTime, 200);
    camera->counter = 0;
    camera->missed = 0;
    camera->encoder_zero = 0;
    camera->encoder_count = 0;
}

/* As it leaves the factory. */
void registers_reset(struct camera *camera)
{
    registers_power_on(camera);
    for (unsigned i = 0; i < USER_SETS; i++)
        memcpy(camera->user_sets[i], camera->registers, sizeof camera->registers);
}

static bool known_pixel_format(uint32_t format)
{
    switch (format) {
    case PixelFormat_Mono8:
    case PixelFormat_Mono10:
    case PixelFormat_Mono12:
    case PixelFormat_Mono12p:
    case PixelFormat_Mono16:
    case PixelFormat_BayerGR8:
    case PixelFormat_BayerRG8:
    case PixelFormat_BayerGB8:
    case PixelFormat_BayerBG8:
    case PixelFormat_RGB8:
        return true;
    default:
        return false;
    }
}

/* Bits a pixel are part of a PFNC value: bits 16 to 23. */
size_t image_bytes(const struct camera *camera)
{
    size_t pixels = (size_t)register_u32(camera, REG_Width) * register_u32(camera, REG_Height);
    size_t bits = (register_u32(camera, REG_PixelFormat) >> 16) & 0xffu;

    return (pixels * bits + 7) / 8;
}

/* Chunks follow the picture on an 8-byte border. */
size_t payload_bytes(const struct camera *camera)
{
    size_t bytes = (image_bytes(camera) + 7) / 8 * 8;

    if (register_u32(camera, REG_ChunkModeActive) == 0)
        return bytes;
    for (uint32_t i = 0; i < CHUNK_COUNT; i++) {
        if (register_u32(camera, REG_ChunkEnable + 4 * i) != 0)
            bytes += 8;
    }
    return bytes;
}

static const struct register_entry *entry_at(uint64_t address)
{
    for (size_t i = 0; i < TABLE_LENGTH; i++) {
        const struct register_entry *entry = &TABLE[i];
        if (address >= entry->address && address < entry->address + (uint64_t)entry->length * entry->count)
            return entry;
    }
    return NULL;
}

/* The picture must lie on the sensor, whatever the order of writes. */
static bool region_fits(const struct camera *camera, uint32_t address, uint32_t value)
{
    switch (address) {
    case REG_Width:
        return value <= register_u32(camera, REG_WidthMax) - register_u32(camera, REG_OffsetX);
    case REG_OffsetX:
        return value <= register_u32(camera, REG_WidthMax) - register_u32(camera, REG_Width);
    case REG_Height:
        return value <= register_u32(camera, REG_HeightMax) - register_u32(camera, REG_OffsetY);
    case REG_OffsetY:
        return value <= register_u32(camera, REG_HeightMax) - register_u32(camera, REG_Height);
    case REG_PixelFormat:
        return known_pixel_format(value);
    default:
        return true;
    }
}

static gc_error check_value(const struct camera *camera, const struct register_entry *entry, uint32_t address,
                            const void *data)
{
    double number = 0.0;
    uint32_t value = 0;

    if (entry->kind == KIND_TEXT)
        return GC_OK;
    if (entry->kind == KIND_FLOAT) {
        memcpy(&number, data, sizeof number);
    } else {
        memcpy(&value, data, sizeof value);
        number = (double)value;
    }
    /* A NaN fails both comparisons, and so is refused. */
    if (!(number >= entry->minimum && number <= entry->maximum))
        return fail(GC_ERR_INVALID_VALUE, "%s: %g is outside %g to %g", entry->name, number, entry->minimum,
                    entry->maximum);
    bool stepped = entry->kind == KIND_INTEGER && entry->increment > 1;
    if (stepped && (value - (uint32_t)entry->minimum) % entry->increment != 0)
        return fail(GC_ERR_INVALID_VALUE, "%s: %u is no step of %u", entry->name, value, entry->increment);
    if (!region_fits(camera, address, value))
        return fail(GC_ERR_INVALID_VALUE, "%s: %u does not fit", entry->name, value);
    return GC_OK;
}

gc_error register_write(struct camera *camera, uint64_t address, const void *data, size_t length)
{
    const struct register_entry *entry = entry_at(address);

    if (entry == NULL || (address - entry->address) % entry->length != 0)
        return fail(GC_ERR_INVALID_ADDRESS, "no register at 0x%llx", (unsigned long long)address);
    bool text = entry->kind == KIND_TEXT;
    if (length > entry->length || (!text && length != entry->length))
        return fail(GC_ERR_INVALID_ADDRESS, "%s has %u bytes, not %zu", entry->name, entry->length, length);
    if (!entry->writable)
        return fail(GC_ERR_ACCESS_DENIED, "%s is read-only", entry->name);
    if (entry->locked && register_u32(camera, REG_TLParamsLocked) != 0)
        return fail(GC_ERR_ACCESS_DENIED, "%s is locked while acquiring", entry->name);
    gc_error error = check_value(camera, entry, (uint32_t)address, data);
    if (error != GC_OK)
        return error;
    if (entry->kind == KIND_COMMAND)
        return run_command(camera, entry->address);
    unsigned char *target = camera->registers + address;
    memcpy(target, data, length);
    if (text) {
        memset(target + length, 0, entry->length - length);
        target[entry->length - 1] = '\0';
    }
    pthread_cond_broadcast(&camera->changed);
    return GC_OK;
}

/* Values that the camera changes by itself are put into their registers just before a read. */
static void refresh_live(struct camera *camera)
{
    double wobble = (double)(now_ns() / NS_PER_MS % 1000u) / 1000.0;

    set_f64(camera, REG_DeviceTemperature, 41.5 + wobble);
    set_register_u32(camera, REG_PayloadSize, (uint32_t)payload_bytes(camera));
    set_register_i64(camera, REG_TriggerMissedCount, (int64_t)camera->missed);
    set_register_i64(camera, REG_CounterValue, (int64_t)camera->counter);
    int64_t encoder = feed_encoder(camera, camera->encoder_count);
    set_register_i64(camera, REG_EncoderValue, (int64_t)((uint64_t)encoder - (uint64_t)camera->encoder_zero));
}

gc_error register_read(struct camera *camera, uint64_t address, void *data, size_t length)
{
    if (length > REGISTER_SPACE || address > REGISTER_SPACE - length)
        return fail(GC_ERR_INVALID_ADDRESS, "0x%llx is outside the register file", (unsigned long long)address);
    refresh_live(camera);
    memcpy(data, camera->registers + address, length);
    return GC_OK;
}

static void copy_saved(unsigned char *to, const unsigned char *from)
{
    for (size_t i = 0; i < TABLE_LENGTH; i++) {
        if (TABLE[i].saved)
            memcpy(to + TABLE[i].address, from + TABLE[i].address, (size_t)TABLE[i].length * TABLE[i].count);
    }
}

gc_error user_set_load(struct camera *camera)
{
    if (register_u32(camera, REG_TLParamsLocked) != 0 || camera->acquiring)
        return fail(GC_ERR_ACCESS_DENIED, "a user set cannot be loaded while acquiring");
    copy_saved(camera->registers, camera->user_sets[register_u32(camera, REG_UserSetSelector) % USER_SETS]);
    return GC_OK;
}

gc_error user_set_save(struct camera *camera)
{
    uint32_t set = register_u32(camera, REG_UserSetSelector) % USER_SETS;

    if (set == UserSetSelector_Default)
        return fail(GC_ERR_ACCESS_DENIED, "the user set Default cannot be changed");
    copy_saved(camera->user_sets[set], camera->registers);
    return GC_OK;
}
