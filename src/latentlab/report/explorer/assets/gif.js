"use strict";
/* Animated GIF files: https://www.w3.org/Graphics/GIF/spec-gif89a.txt */

const GIF_DELAY = 8; // hundredths of a second per frame

/** Return the 256 colors of a GIF: gray levels, or 6 x 7 x 6 levels of red, green and blue. */
function gifPalette() {
  const palette = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const color = [Math.floor(i / 42) / 5, (Math.floor(i / 6) % 7) / 6, (i % 6) / 5];
    for (let c = 0; c < 3; c++) palette[3 * i + c] = DEPTH === 3 ? 255 * Math.min(1, color[c]) : i;
  }
  return palette;
}

/** Return the index of the color of a pixel in the palette. */
function gifIndex(values, pixel) {
  const level = (channel, steps) =>
    Math.round(clamp(values[channel * SIZE * SIZE + pixel], 0, 1) * steps);
  return DEPTH === 3 ? level(0, 5) * 42 + level(1, 6) * 6 + level(2, 5) : level(0, 255);
}

/** Compress indices of colors by LZW with a variable code size, in blocks of 255 bytes. */
function compressGif(indices) {
  const [clear, end] = [256, 257];
  const bytes = [];
  let [buffer, bits, size] = [0, 0, 9];
  const emit = (code) => {
    buffer |= code << bits;
    bits += size;
    for (; bits >= 8; bits -= 8, buffer >>>= 8) bytes.push(buffer & 255);
  };
  let table = new Map();
  let prefix = indices[0];
  emit(clear);
  for (const index of indices.subarray(1)) {
    const key = prefix * 256 + index;
    if (table.has(key)) {
      prefix = table.get(key);
      continue;
    }
    emit(prefix);
    const next = end + 1 + table.size;
    if (next < 4096) {
      table.set(key, next);
      if (next === 1 << size && size < 12) size++;
    } else {
      emit(clear);
      table = new Map();
      size = 9;
    }
    prefix = index;
  }
  emit(prefix);
  emit(end);
  if (bits) bytes.push(buffer & 255);
  const blocks = [8]; // minimum code size
  for (let start = 0; start < bytes.length; start += 255) {
    const block = bytes.slice(start, start + 255);
    blocks.push(block.length, ...block);
  }
  return [...blocks, 0];
}

/** Return the bytes of a GIF that repeats images forever, enlarged by an integer. */
function encodeGif(images, scale) {
  const width = SIZE * scale;
  const short = (value) => [value & 255, value >> 8];
  const text = (string) => Array.from(string, (character) => character.charCodeAt(0));
  const parts = [
    text("GIF89a"), short(width), short(width), [0xf7, 0, 0], [...gifPalette()],
    [0x21, 0xff, 11], text("NETSCAPE2.0"), [3, 1, 0, 0, 0],
  ];
  for (const values of images) {
    const indices = new Uint8Array(width * width);
    for (let y = 0; y < width; y++) {
      for (let x = 0; x < width; x++) {
        const pixel = Math.floor(y / scale) * SIZE + Math.floor(x / scale);
        indices[y * width + x] = gifIndex(values, pixel);
      }
    }
    parts.push([0x21, 0xf9, 4, 0], short(GIF_DELAY), [0, 0]);
    parts.push([0x2c, 0, 0, 0, 0], short(width), short(width), [0], compressGif(indices));
  }
  parts.push([0x3b]);
  return new Uint8Array(parts.flat());
}
