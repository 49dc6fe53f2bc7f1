/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* From what the sensor sees to the pixel format that was asked for. */
#include <stdlib.h>
#include <string.h>

#include "linesim.h"

/* Room for a picture; false when there is no memory, and the old picture stays. */
bool scene_reserve(struct scene *scene, uint32_t width, uint32_t height, uint32_t samples)
{
    size_t needed = (size_t)width * height * samples;

    if (needed > scene->capacity) {
        unsigned char *larger = realloc(scene->pixels, needed);
        if (larger == NULL)
            return false;
        scene->pixels = larger;
        scene->capacity = needed;
    }
    scene->width = width;
    scene->height = height;
    scene->samples = samples;
    return true;
}

/* A grey ramp that moves one step a frame, or black. */
void scene_pattern(struct scene *scene, uint32_t width, uint32_t height, uint64_t frame_id, bool moving)
{
    if (!scene_reserve(scene, width, height, 1))
        return;
    for (uint32_t y = 0; y < height; y++) {
        unsigned char *row = scene->pixels + (size_t)y * width;
        uint32_t start = (uint32_t)frame_id + y;
        if (!moving) {
            memset(row, 0, width);
            continue;
        }
        for (uint32_t x = 0; x < width; x++)
            row[x] = (unsigned char)(x + start);
    }
}

/* Channel 0 red, 1 green, 2 blue, 3 grey; full scale is 65535. */
static uint32_t sample(const struct scene *scene, const unsigned char *row, uint32_t x, unsigned channel)
{
    if (scene->samples == 1)
        return row[x] * 257u;
    if (scene->samples == 2) {
        uint16_t value;
        memcpy(&value, row + (size_t)x * 2, sizeof value);
        return value;
    }
    const unsigned char *pixel = row + (size_t)x * 3;
    if (channel < 3)
        return pixel[channel] * 257u;
    /* ITU-R BT.601 luma in 1/256. */
    return (77u * pixel[0] + 150u * pixel[1] + 29u * pixel[2]) * 257u / 256u;
}

/* Colour of the filter over pixel (x, y) of the sensor. */
static unsigned bayer_channel(uint32_t format, uint32_t x, uint32_t y)
{
    static const unsigned char rggb[4] = {0, 1, 1, 2};
    static const unsigned char grbg[4] = {1, 0, 2, 1};
    static const unsigned char gbrg[4] = {1, 2, 0, 1};
    static const unsigned char bggr[4] = {2, 1, 1, 0};
    uint32_t place = (y & 1u) * 2 + (x & 1u);

    switch (format) {
    case PixelFormat_BayerRG8:
        return rggb[place];
    case PixelFormat_BayerGR8:
        return grbg[place];
    case PixelFormat_BayerGB8:
        return gbrg[place];
    case PixelFormat_BayerBG8:
        return bggr[place];
    default:
        return 3;
    }
}

static void store_u16(unsigned char *to, uint32_t value)
{
    to[0] = (unsigned char)(value & 0xffu);
    to[1] = (unsigned char)(value >> 8);
}

static void encode_pixel(uint32_t format, unsigned char *row, uint32_t x, uint32_t value)
{
    switch (format) {
    case PixelFormat_Mono10:
        store_u16(row + (size_t)x * 2, value >> 6);
        break;
    case PixelFormat_Mono12:
        store_u16(row + (size_t)x * 2, value >> 4);
        break;
    case PixelFormat_Mono16:
        store_u16(row + (size_t)x * 2, value);
        break;
    case PixelFormat_Mono12p: {
        /* Two pixels in three bytes, least significant bits first; widths are multiples of four. */
        unsigned char *group = row + (size_t)(x / 2) * 3;
        uint32_t bits = value >> 4;
        if (x % 2 == 0) {
            group[0] = (unsigned char)(bits & 0xffu);
            group[1] = (unsigned char)(bits >> 8);
        } else {
            group[1] = (unsigned char)(group[1] | ((bits & 0xfu) << 4));
            group[2] = (unsigned char)(bits >> 4);
        }
        break;
    }
    default:
        row[x] = (unsigned char)(value >> 8);
        break;
    }
}

/* Whether a row can be copied as it is. */
static bool same_format(const struct scene *scene, uint32_t format)
{
    uint32_t bits = (format >> 16) & 0xffu;

    if (scene->samples == 1)
        return bits == 8;
    if (scene->samples == 2)
        return format == PixelFormat_Mono16;
    return format == PixelFormat_RGB8;
}

static void convert_row(const struct scene *scene, const unsigned char *from, struct buffer *buffer, uint32_t y,
                        unsigned char *to, uint32_t columns)
{
    uint32_t format = buffer->pixel_format;

    for (uint32_t x = 0; x < columns; x++) {
        uint32_t sensor_x = x + buffer->offset_x;
        if (format == PixelFormat_RGB8) {
            for (unsigned channel = 0; channel < 3; channel++)
                to[(size_t)x * 3 + channel] = (unsigned char)(sample(scene, from, sensor_x, channel) >> 8);
        } else {
            unsigned channel = bayer_channel(format, sensor_x, y + buffer->offset_y);
            encode_pixel(format, to, x, sample(scene, from, sensor_x, channel));
        }
    }
}

/* Write the region of interest into the buffer, which is large enough; what lies outside the scene is black. */
void render(const struct scene *scene, struct buffer *buffer)
{
    size_t row_bytes = (size_t)buffer->width * ((buffer->pixel_format >> 16) & 0xffu) / 8;
    size_t pixel_bytes = ((buffer->pixel_format >> 16) & 0xffu) / 8;
    uint32_t columns = 0;
    uint32_t rows = 0;

    if (scene->pixels != NULL && scene->width > buffer->offset_x && scene->height > buffer->offset_y) {
        columns = scene->width - buffer->offset_x;
        rows = scene->height - buffer->offset_y;
    }
    if (columns > buffer->width)
        columns = buffer->width;
    if (rows > buffer->height)
        rows = buffer->height;
    if (columns < buffer->width || rows < buffer->height)
        memset(buffer->base, 0, buffer->image_bytes);
    bool copy = same_format(scene, buffer->pixel_format);
    for (uint32_t y = 0; y < rows; y++) {
        size_t scene_row = (size_t)(y + buffer->offset_y) * scene->width * scene->samples;
        const unsigned char *from = scene->pixels + scene_row;
        unsigned char *to = buffer->base + (size_t)y * row_bytes;
        if (copy)
            memcpy(to, from + (size_t)buffer->offset_x * pixel_bytes, (size_t)columns * pixel_bytes);
        else
            convert_row(scene, from, buffer, y, to, columns);
    }
}
