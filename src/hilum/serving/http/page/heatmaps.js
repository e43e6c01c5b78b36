// Where the model sees what it answers, as hilum.serving.explain.

import { BOX, atMost, quantise, resize, round } from "./reduction.js";
import { whyNoProbabilities } from "./triage.js";

const SHIFTS = 2;
const [PATCH, STRIDE] = [0.2, 0.1];
const BATCH = 32;
const SMALLEST = 1e-12;
const FAINT = 2; // log-odds
const SIDE = 160; // pixels of a heatmap's longer side
const total = (values) => values.reduce((sum, value) => sum + value, 0);

// Each position between those of one pass comes from a shifted image.
async function activations(network, pixels, size) {
  const [, , side] = (await network.run(pixels, ["maps"])).maps.dims.slice(1);
  const shifts = Array.from({ length: SHIFTS }, (_, k) => round(((k + 0.5) / SHIFTS - 0.5) * (size / side)));
  const moved = new Uint8Array(SHIFTS * SHIFTS * size * size);
  const inside = (place) => Math.min(size - 1, Math.max(0, place));
  let at = 0;
  for (const down of shifts) {
    for (const across of shifts) {
      for (let y = 0; y < size; y += 1) {
        for (let x = 0; x < size; x += 1) moved[at++] = pixels[inside(y + down) * size + inside(x + across)];
      }
    }
  }
  const { dims: [, count, height, width], data } = (await network.run(moved, ["maps"])).maps;
  return Array.from({ length: count }, (_, m) => {
    const values = new Float32Array(SHIFTS * height * SHIFTS * width);
    for (let i = 0; i < values.length; i += 1) {
      const [y, x] = [Math.floor(i / (SHIFTS * width)), i % (SHIFTS * width)];
      const shifted = (y % SHIFTS) * SHIFTS + (x % SHIFTS);
      values[i] = data[((shifted * count + m) * height + Math.floor(y / SHIFTS)) * width + Math.floor(x / SHIFTS)];
    }
    return { width: SHIFTS * width, height: SHIFTS * height, values };
  });
}

// How far the log-odds of some labels fall for each place of a patch that is blurred away.
async function occlusion(network, pixels, size, inside, others) {
  const patch = Math.max(1, round(size * PATCH));
  const stride = Math.max(1, round(size * STRIDE));
  const blurred = resize(resize(pixels, size, size, [6, 6], { filter: BOX }), 6, 6, [size, size]);
  const centres = [];
  for (let place = Math.floor(stride / 2); place < size; place += stride) centres.push(place);
  const range = (centre) => [Math.max(0, centre - Math.floor(patch / 2)), Math.min(size, centre + Math.floor((patch + 1) / 2))];
  const hidden = [pixels];
  for (const [top, bottom] of centres.map(range)) {
    for (const [left, right] of centres.map(range)) {
      const covered = pixels.slice();
      for (let y = top; y < bottom; y += 1) covered.set(blurred.subarray(y * size + left, y * size + right), y * size + left);
      hidden.push(covered);
    }
  }
  const found = [];
  for (let start = 0; start < hidden.length; start += BATCH) {
    const part = hidden.slice(start, start + BATCH);
    const batch = new Uint8Array(part.length * size * size);
    part.forEach((image, i) => batch.set(image, i * size * size));
    const { probabilities: { dims: [, count], data } } = await network.run(batch, ["probabilities"]);
    part.forEach((_, i) => {
      const row = data.subarray(i * count, (i + 1) * count);
      const logOf = (labels) => Math.log(Math.max(total(labels.map((k) => row[k])), SMALLEST));
      found.push(whyNoProbabilities(row) ? NaN : logOf(inside) - logOf(others));
    });
  }
  return { width: centres.length, height: centres.length, values: Float32Array.from(found.slice(1), (odds) => found[0] - odds) };
}

// A map of the network's square input, where it belongs on the image.
function ontoImage(map, fit, width, height) {
  const place = (target, box) => resize(map.values, map.width, map.height, target, box ? { box } : {});
  if (fit === "crop") {
    const side = Math.min(height, width);
    const square = place([side, side]);
    const whole = new Float32Array(width * height);
    const [above, before] = [Math.floor((height - side) / 2), Math.floor((width - side) / 2)];
    for (let y = 0; y < side; y += 1) whole.set(square.subarray(y * side, (y + 1) * side), (above + y) * width + before);
    return whole;
  }
  if (fit !== "pad") return place([width, height]);
  const longest = Math.max(height, width);
  const inner = [(map.width * width) / longest, (map.height * height) / longest];
  const [left, top] = [(map.width - inner[0]) / 2, (map.height - inner[1]) / 2];
  return place([width, height], [left, top, left + inner[0], top + inner[1]]);
}

// One heatmap for each decision of the network: what speaks for its most probable child, 0 to 255 (full colour).
export async function explain(network, pixels, picture, prediction, { description, decisions, maps, reduction: { size, fit } }) {
  const found = maps.length ? await activations(network, pixels, size) : null;
  const values = description.labels.map(({ label }) => prediction.probabilities[label]);
  const heatmaps = [];
  for (const { decision, children } of decisions) {
    const shares = children.map(({ members }) => total(members.map((k) => values[k])));
    const best = shares.indexOf(Math.max(...shares));
    const { child, members, healthy } = children[best];
    const others = children.flatMap((one, i) => (i === best ? [] : one.members));
    const map = found ? found[maps.findIndex(([of, its]) => of === decision && its === child)] : await occlusion(network, pixels, size, members, others);
    if (!map.values.every(Number.isFinite)) throw new Error("the model cannot say where its reasons lie (they are no numbers). Export it anew.");
    const onto = ontoImage(map, fit, picture.width, picture.height);
    const full = onto.reduce((most, value) => Math.max(most, value), FAINT);
    const small = atMost({ ...picture, values: onto }, SIDE);
    heatmaps.push({
      decision,
      child,
      healthy,
      share: shares[best] / Math.max(total(shares), SMALLEST),
      width: small.width,
      height: small.height,
      values: quantise(small.values.map((value) => value / full), 255, Uint8Array),
    });
  }
  return heatmaps;
}
