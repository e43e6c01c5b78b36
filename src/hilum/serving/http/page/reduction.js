// From a radiograph to the network's input, to the same bytes as hilum.data.images.reduce.

const TRIANGLE = { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) };
export const BOX = { support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const PRECISION = 22; // bits of Pillow's weights for bytes

export function round(value) { // half to even, as Python and NumPy do
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}

// Pillow's weights (precompute_coeffs of Resample.c): for each new pixel the first old one, and a weight for each.
function weights(size, from, to, target, filter) {
  const start = Math.fround(from);
  const scale = Math.fround(Math.fround(to) - start) / target;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: target }, (_, i) => {
    const centre = start + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(size, Math.trunc(centre + support + 0.5));
    const found = new Float64Array(end - first);
    let sum = 0;
    for (let k = 0; k < found.length; k += 1) {
      found[k] = filter.at((k + first - centre + 0.5) * (1 / stretch));
      sum += found[k];
    }
    if (sum) for (let k = 0; k < found.length; k += 1) found[k] /= sum;
    return { first, found };
  });
}

function asIntegers(all) {
  for (const { found } of all) for (let k = 0; k < found.length; k += 1) found[k] = Math.trunc(found[k] * 2 ** PRECISION + 0.5);
  return all;
}

const toByte = (sum) => Math.min(255, Math.max(0, (sum + 2 ** (PRECISION - 1)) >> PRECISION));

// Weighted sums of `count` lines: values of a line lie `step` apart, lines `apart`.
function pass(values, into, all, count, [step, apart], [newStep, newApart]) {
  const bytes = values instanceof Uint8Array;
  all.forEach(({ first, found }, i) => {
    for (let line = 0; line < count; line += 1) {
      let at = line * apart + first * step;
      let sum = 0;
      for (let k = 0; k < found.length; k += 1) {
        sum += values[at] * found[k];
        at += step;
      }
      into[line * newApart + i * newStep] = bytes ? toByte(sum) : sum;
    }
  });
  return into;
}

// As Pillow 13 resizes mode F (Float32Array) and mode L (Uint8Array). Along the columns first where the height shrinks by
// more than twice as much as the width; the order changes the last bit of what lies between.
export function resize(values, width, height, [newWidth, newHeight], { box = [0, 0, width, height], filter = TRIANGLE } = {}) {
  const [left, top, right, bottom] = box;
  const across = weights(width, left, right, newWidth, filter);
  const down = weights(height, top, bottom, newHeight, filter);
  const Kind = values.constructor;
  if (Kind === Uint8Array) [across, down].forEach(asIntegers);
  if (height > newHeight && height - newHeight > 2 * (width - newWidth)) {
    const low = pass(values, new Kind(width * newHeight), down, width, [width, 1], [width, 1]);
    return pass(low, new Kind(newWidth * newHeight), across, newHeight, [1, width], [1, newWidth]);
  }
  const narrow = pass(values, new Kind(newWidth * height), across, height, [1, width], [1, newWidth]);
  return pass(narrow, new Kind(newWidth * newHeight), down, newWidth, [newWidth, 1], [newWidth, 1]);
}

export function atMost({ width, height, values }, side) {
  const scale = side / Math.max(height, width);
  if (scale >= 1) return { width, height, values };
  const size = [width, height].map((length) => Math.max(1, round(length * scale)));
  return { width: size[0], height: size[1], values: resize(values, width, height, size) };
}

// Pillow's ImageOps.equalize.
export function equalise(bytes) {
  const counts = new Uint32Array(256);
  for (const byte of bytes) counts[byte] += 1;
  const used = counts.filter((count) => count);
  const step = Math.floor((bytes.length - used[used.length - 1]) / 255);
  if (used.length <= 1 || !step) return bytes;
  let sum = Math.floor(step / 2);
  const shown = Uint8Array.from(counts, (count) => {
    const value = Math.min(255, Math.floor(sum / step));
    sum += count;
    return value;
  });
  return bytes.map((byte) => shown[byte]);
}

export function quantise(values, highest, Kind) {
  return Kind.from(values, (value) => Math.min(highest, Math.max(0, round(Math.fround(value * highest)))));
}

// Bytes of size x size from grey values between 0 and 1.
export function reduce({ width, height, values }, { size, fit, equalise: equal }) {
  let box = [0, 0, width, height];
  let target = [size, size];
  if (fit === "crop") {
    const side = Math.min(height, width);
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    box = [left, top, left + side, top + side];
  } else if (fit === "pad") {
    const longest = Math.max(height, width);
    target = [width, height].map((length) => Math.max(1, round((size * length) / longest)));
  }
  let bytes = quantise(resize(values, width, height, target, { box }), 255, Uint8Array);
  if (equal) bytes = equalise(bytes);
  if (fit !== "pad") return bytes;
  const square = new Uint8Array(size * size);
  const [left, top] = target.map((length) => Math.floor((size - length) / 2));
  for (let y = 0; y < target[1]; y += 1) square.set(bytes.subarray(y * target[0], (y + 1) * target[0]), (top + y) * size + left);
  return square;
}
