// Is this a picture of the kind that was learnt from? As hilum.decision.ood, which says why.

import { round } from "./reduction.js";

const SIDE = 15;
const CELLS = SIDE * SIDE;
const UPRIGHT = [0, 2];

// Means over 15 x 15 blocks, as bytes.
function layout(pixels, size) {
  const edges = Array.from({ length: SIDE + 1 }, (_, i) => (i === SIDE ? size : Math.trunc(i * (size / SIDE))));
  const found = new Uint8Array(CELLS);
  for (let row = 0; row < SIDE; row += 1) {
    for (let column = 0; column < SIDE; column += 1) {
      let sum = 0;
      for (let y = edges[row]; y < edges[row + 1]; y += 1) {
        for (let x = edges[column]; x < edges[column + 1]; x += 1) sum += pixels[y * size + x];
      }
      found[row * SIDE + column] = round(Math.fround(sum / ((edges[row + 1] - edges[row]) * (edges[column + 1] - edges[column]))));
    }
  }
  return found;
}

function rows(values, width, change) {
  return Array.from({ length: values.length / width }, (_, i) => change(values.subarray(i * width, (i + 1) * width)));
}

function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i += 1) sum += one[i] * other[i];
  return sum;
}

function centred(grey) {
  const mean = grey.reduce((sum, value) => sum + value, 0) / grey.length;
  const found = Float64Array.from(grey, (value) => value - mean);
  const length = Math.sqrt(dot(found, found));
  return length > SIDE * 0.5 ? found.map((value) => value / length) : found.fill(0); // a blank picture has none
}

function unit(features) {
  const length = Math.max(Math.sqrt(dot(features, features)), 1e-12);
  return Float64Array.from(features, (value) => value / length);
}

const turned = (grey) => grey.map((_, i) => grey[(i % SIDE) * SIDE + SIDE - 1 - Math.floor(i / SIDE)]);
const mirrored = (grey) => grey.map((_, i) => grey[Math.floor(i / SIDE) * SIDE + SIDE - 1 - (i % SIDE)]);

const distances = (asked, known) => Float64Array.from(known, (one) => 1 - dot(asked, one)).sort();

// Share of calibration patients, and of the asked one, who are at least as far.
function conformal(distance, calibration) {
  const near = calibration.findIndex((value) => value >= distance);
  return (1 + (near < 0 ? 0 : calibration.length - near)) / (calibration.length + 1);
}

export class Detector {
  constructor({ neighbours, level, boundary, wrong, reasons, columns, features, layouts, feature_distances: ofFeatures, layout_distances: ofLayouts }) {
    Object.assign(this, { neighbours, level, wrong, reasons, ofFeatures, ofLayouts });
    this.boundary = Math.fround(boundary);
    this.layouts = rows(layouts, CELLS, centred);
    this.features = rows(features, columns, unit);
  }

  // How far an image is from the nearest layouts in 16 poses: 4 q + 2 m + i is q quarter turns, mirrored, inverted.
  poses(grey) {
    const place = Math.min(this.neighbours, this.layouts.length) - 1;
    const found = [];
    let poses = [grey, mirrored(grey)];
    for (let q = 0; q < 4; q += 1) {
      for (const pose of poses) {
        const apart = distances(pose, this.layouts);
        found.push(Math.fround(apart[place]), Math.fround(2 - Math.fround(apart[apart.length - 1 - place])));
      }
      poses = poses.map(turned);
    }
    return found;
  }

  // The p-value, and why to abstain; empty where there is no reason to.
  judge(features, pixels, size) {
    const apart = this.poses(centred(layout(pixels, size)));
    const upright = Math.min(...UPRIGHT.map((pose) => apart[pose]));
    const bestInWrong = this.wrong.some((pose) => apart[pose] <= upright);
    const near = distances(unit(features), this.features);
    const distance = Math.fround(near[Math.min(this.neighbours, near.length) - 1]);
    const ofLayout = conformal(Math.fround(apart[0] + 2 * bestInWrong), this.ofLayouts);
    const p = Math.min(1, 2 * Math.min(ofLayout, conformal(distance, this.ofFeatures)));
    const far = apart[0] > this.boundary || bestInWrong;
    return { p, reason: p > this.level ? "" : this.reasons[far ? "far" : "unfamiliar"] };
  }
}
