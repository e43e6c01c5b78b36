// From a file to grey values between 0 and 1, as hilum.data.grey_values makes them. The browser decodes PNG and JPEG;
// what it would decode otherwise than hilum does, or in part only, is refused before.

import { BOX, resize } from "./reduction.js";

const LUMA = [19595, 38470, 7471]; // ITU-R BT.601, in 65536ths
const SMALLEST_SIDE = 32;
const LARGEST_SIDE = 16384; // of a canvas, in all browsers
const LARGEST_PIXELS = 89_478_485;
const LARGEST_FILE = 2 ** 28;
const AT_ONCE = 2 ** 20; // pixels
const SEEN_FOR_CHROMA = 64;
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const OTHERS = [
  [128, "DICM", "a DICOM object"], [0, "II*\0", "a TIFF image"], [0, "MM\0*", "a TIFF image"], [0, "BM", "a BMP image"],
  [0, "GIF8", "a GIF image"], [8, "WEBP", "a WebP image"], [4, "ftypavif", "an AVIF image"], [0, "%PDF-", "a PDF document"],
];
const ELSEWHERE = "This page reads PNG and JPEG of 8 bits. Use hilum predict or hilum serve for it.";
const DAMAGED = "damaged. Fetch it again, or remove it.";

// A browser would apply colour spaces, and more, of the other chunks; hilum takes grey values as they are stored.
const KEPT = ["IHDR", "PLTE", "tRNS", "IDAT", "eXIf", "IEND"];
const COLOUR_PROFILE = 0xe2; // a segment of JPEG, APP2
const TURNED = /tiff:Orientation(?:="|>)[2-8]/;
const START = 2 ** 16;

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
const refuse = (why) => { throw new Error(why); };

const CRC = Uint32Array.from({ length: 256 }, (_, i) => {
  let value = i;
  for (let k = 0; k < 8; k += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (let i = 0; i < bytes.length; i += 1) value = CRC[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function readPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts = [bytes.subarray(0, 8)];
  let header = null;
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = text(bytes, at + 4, 4);
    const end = at + 8 + length;
    if (end + 4 > bytes.length || view.getUint32(end) !== crc(bytes.subarray(at + 4, end))) refuse(DAMAGED);
    if (kind === "IHDR" && length === 13) header = { width: view.getUint32(at + 8), height: view.getUint32(at + 12), bits: bytes[at + 16], grey: bytes[at + 17] % 4 === 0 };
    if (kind === "acTL") refuse("holds several frames; a radiograph is one image. Extract the frame that is meant.");
    if (KEPT.includes(kind)) parts.push(bytes.subarray(at, end + 4));
    if (kind === "IEND") return header ? { ...header, parts } : refuse(DAMAGED);
    at = end + 4;
  }
  return refuse(DAMAGED);
}

function readJpeg(bytes) {
  const parts = [bytes.subarray(0, 2)];
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      if (marker > 0xc2 || ![1, 3].includes(bytes[at + 9])) refuse(`a JPEG of a kind that a browser cannot read. ${ELSEWHERE}`);
      let end = bytes.length - 1;
      while (end > at && !(bytes[end] === 0xd9 && bytes[end - 1] === 0xff)) end -= 1;
      if (end === at) refuse(DAMAGED); // cut short: a browser would fill up with grey
      parts.push(bytes.subarray(at));
      return { width: bytes[at + 7] * 256 + bytes[at + 8], height: bytes[at + 5] * 256 + bytes[at + 6], bits: bytes[at + 4], grey: bytes[at + 9] === 1, parts };
    }
    const next = at + 2 + bytes[at + 2] * 256 + bytes[at + 3];
    if (marker !== COLOUR_PROFILE) parts.push(bytes.subarray(at, next));
    at = next;
  }
  return refuse(DAMAGED);
}

// Width, height, bits of a channel, whether it has no colours, and the parts of the file that its grey values come from.
export function readHeader(bytes) {
  if (bytes.length > LARGEST_FILE) refuse("larger than any radiograph; refused unread. Check where it comes from.");
  const isPng = PNG.every((byte, i) => bytes[i] === byte);
  if (!isPng && !(bytes[0] === 0xff && bytes[1] === 0xd8)) {
    const [, , kind] = OTHERS.find(([at, magic]) => text(bytes, at, magic.length) === magic) || [];
    refuse(kind ? `${kind}. ${ELSEWHERE}` : "not an image that can be read. Replace or remove it.");
  }
  const found = isPng ? readPng(bytes) : readJpeg(bytes);
  const size = `${found.width}x${found.height} pixels`;
  if (found.width * found.height > LARGEST_PIXELS || Math.max(found.width, found.height) > LARGEST_SIDE) refuse(`claims ${size}, more than are read here. Reduce the image.`);
  if (Math.min(found.width, found.height) < SMALLEST_SIDE) refuse(`${size}; a radiograph needs at least ${SMALLEST_SIDE} a side. Remove it.`);
  if (TURNED.test(new TextDecoder("latin1").decode(bytes.subarray(0, START)))) refuse("turned by its XMP metadata, which browsers pass over. Save it upright.");
  if (found.bits > 8) refuse(`an image of ${found.bits} bits, and browsers keep 8 of them. ${ELSEWHERE}`);
  return found;
}

let trusted = false;

// Some browsers alter what scripts read of a canvas, against fingerprinting.
function checkCanvas() {
  if (trusted) return;
  const to = new OffscreenCanvas(256, 16).getContext("2d", { alpha: false, willReadFrequently: true });
  const ramp = new ImageData(256, 16);
  for (let i = 0; i < ramp.data.length; i += 1) ramp.data[i] = i % 4 === 3 ? 255 : (i >> 2) & 255;
  to.putImageData(ramp, 0, 0);
  const { data } = to.getImageData(0, 0, 256, 16);
  trusted = ramp.data.every((value, i) => value === data[i]);
  if (!trusted) refuse("this browser alters the pixels that pages read (protection against fingerprinting). Switch that off for this page.");
}

// Mean of the largest minus the smallest of red, green and blue, 0 (grey) to 1, as hilum.data.grey_values.chroma.
function chroma(channels, width, height) {
  const side = SEEN_FOR_CHROMA;
  const small = channels.map((channel) => resize(channel, width, height, [side, side], { filter: BOX }));
  let sum = 0;
  for (let i = 0; i < side * side; i += 1) {
    const three = small.map((channel) => channel[i]);
    sum += Math.max(...three) - Math.min(...three);
  }
  return sum / (side * side) / 255;
}

// Width, height and grey values of a file (Float32Array, row by row), and how colourful it is.
export async function decode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = readHeader(bytes);
  checkCanvas();
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(header.parts), { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    refuse(DAMAGED);
  }
  const { width, height } = bitmap;
  const values = new Float32Array(width * height);
  const channels = header.grey ? [] : [0, 1, 2].map(() => new Uint8Array(width * height));
  const each = Math.max(1, Math.floor(AT_ONCE / width));
  let lowest = 255;
  let highest = 0;
  for (let top = 0; top < height; top += each) {
    const rows = Math.min(each, height - top);
    const to = new OffscreenCanvas(width, rows).getContext("2d", { alpha: false, willReadFrequently: true });
    to.imageSmoothingEnabled = false;
    to.drawImage(bitmap, 0, -top);
    const { data } = to.getImageData(0, 0, width, rows);
    for (let i = 0; i < width * rows; i += 1) {
      const grey = (data[4 * i] * LUMA[0] + data[4 * i + 1] * LUMA[1] + data[4 * i + 2] * LUMA[2] + 0x8000) >> 16;
      lowest = Math.min(lowest, grey);
      highest = Math.max(highest, grey);
      values[top * width + i] = grey / 255;
    }
    channels.forEach((channel, c) => {
      for (let i = 0; i < width * rows; i += 1) channel[top * width + i] = data[4 * i + c];
    });
  }
  bitmap.close();
  if (lowest === highest) refuse("every pixel has the same value; there is nothing to see. Check how it was made, or remove it.");
  return { width, height, values, chroma: header.grey ? 0 : chroma(channels, width, height) };
}
