// What service.js does, on this page: `hilum export --page` puts this module in its place, and the model into the page.

import { decode } from "./decoding.js";
import { Detector } from "./detector.js";
import { explain } from "./heatmaps.js";
import { Network } from "./network.js";
import { atMost, quantise, reduce } from "./reduction.js";
import { say } from "./triage.js";

const LARGEST = 1600; // pixels of the picture's longer side
const COMPARABLE = 1e6;
const KINDS = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array };

function fromBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// What a block of the page holds: base64 of a gzip stream, whose checksum the browser checks.
async function unpack(name) {
  const block = document.getElementById(`page-${name}`);
  const bytes = fromBase64(block.textContent);
  block.remove();
  try {
    return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  } catch (error) {
    throw new Error(`This page cannot be opened (${error.message}). Use a current browser, or fetch the file again.`);
  }
}

async function open() {
  for (const one of document.querySelectorAll("[data-offline]")) one.textContent = one.dataset.offline;
  const facts = JSON.parse(new TextDecoder().decode(await unpack("facts")));
  const { reference } = facts;
  if (reference) {
    for (const [name, { type, data }] of Object.entries(reference.arrays)) reference[name] = new KINDS[type](fromBase64(data).buffer);
    facts.detector = new Detector(reference);
  }
  facts.network = Promise.all([unpack("model"), unpack("wasm")]).then(([model, wasm]) => new Network(model, wasm, { name: facts.input, size: facts.reduction.size }));
  facts.network.catch(() => {}); // is thrown where it is waited for
  return facts;
}

const opened = open();
opened.catch(() => {});

export function onTokenNeeded() {}

export async function models() {
  const { name, sha256 } = (await opened).description;
  return [{ name, sha256 }];
}

export const describe = async () => (await opened).description;

export async function example(number) {
  const content = fromBase64((await opened).examples[number - 1]);
  return new File([content], `simulated example ${number}.png`, { type: "image/png" });
}

async function ask(file) {
  const facts = await opened;
  const picture = await decode(file);
  const pixels = reduce(picture, facts.reduction);
  const network = await facts.network;
  const { probabilities, features } = await network.run(pixels, facts.detector ? ["probabilities", "features"] : ["probabilities"]);
  let likeness = null;
  if (facts.detector) {
    const usable = features.data.every((value) => Math.abs(value) <= COMPARABLE);
    likeness = usable ? facts.detector.judge(features.data, pixels, facts.reduction.size) : { p: NaN, reason: "" };
  }
  return { facts, network, picture, pixels, prediction: say(probabilities.data, picture.chroma, likeness, facts) };
}

export const predict = async (file) => (await ask(file)).prediction;

export async function view(file, model, heatmaps) {
  const { facts, network, picture, pixels, prediction } = await ask(file);
  const shown = atMost(picture, LARGEST);
  return {
    prediction,
    width: shown.width,
    height: shown.height,
    pixels: quantise(shown.values, 65535, Uint16Array),
    heatmaps: heatmaps ? await explain(network, pixels, picture, prediction, facts) : [],
  };
}
