// Talks to the service. Names of files stay here: they may be names of people.

let token = "";
let askForToken = async () => "";
const RETRIES = 8;

export function onTokenNeeded(ask) {
  askForToken = ask;
}

export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function ask(address, options = {}) {
  for (let attempt = 0; ; attempt += 1) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let response;
    try {
      response = await fetch(address, { ...options, headers: { ...headers, ...options.headers } });
    } catch {
      throw new ServiceError("The service cannot be reached. Check that it still runs.", 0);
    }
    if (response.status === 401) {
      token = await askForToken();
      continue;
    }
    if (response.status === 503 && attempt < RETRIES) {
      await pause(Number(response.headers.get("Retry-After") || 1) * (1 + Math.random()));
      continue;
    }
    return response;
  }
}

async function refusal(response) {
  let message = `The service answered with status ${response.status}.`;
  try {
    message = (await response.json()).error.message;
  } catch { /* not its own answer, such as that of a proxy */ }
  return new ServiceError(message.replace(/^image \d+: /, ""), response.status);
}

async function json(address) {
  const response = await ask(address);
  if (!response.ok) throw await refusal(response);
  return response.json();
}

const named = (model) => `model=${encodeURIComponent(model)}`;

export const models = async () => (await json("v1/models")).models;
export const describe = (model) => json(`v1/model?${named(model)}`);

export async function example(number) {
  const response = await ask(`v1/examples/${number}`);
  if (!response.ok) throw await refusal(response);
  return new File([await response.blob()], `simulated example ${number}.png`, { type: "image/png" });
}

const upload = (file) => ({ method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });

// The answer about one file: a line as `hilum predict --json` has it, with an `error` where it cannot be read.
export async function predict(file, model) {
  const response = await ask(`v1/predict?${named(model)}`, upload(file));
  const body = await response.json().catch(() => ({}));
  if (body.predictions) return body.predictions[0];
  throw new ServiceError(body.error ? body.error.message : `The service answered with status ${response.status}.`, response.status);
}

// The answer, the grey values (0 to 65535) and heatmaps (0 to 255); see hilum.serving.http.picture.
export async function view(file, model, heatmaps) {
  const response = await ask(`v1/view?${named(model)}&heatmaps=${heatmaps}`, upload(file));
  if (!response.ok) throw await refusal(response);
  const bytes = await response.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  let at = 4 + length;
  const pixels = new Uint16Array(bytes, at, facts.width * facts.height);
  at += 2 * pixels.length;
  const maps = facts.heatmaps.map((map) => {
    const values = new Uint8Array(bytes, at, map.width * map.height);
    at += values.length;
    return { ...map, values };
  });
  return { prediction: facts.prediction, width: facts.width, height: facts.height, pixels, heatmaps: maps };
}
