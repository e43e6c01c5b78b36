// The model file in ONNX Runtime's WebAssembly, one thread, on this page.

import * as ort from "./ort.js";

export class Network {
  constructor(model, wasm, { name, size }) {
    Object.assign(this, { name, size });
    this.last = Promise.resolve();
    Object.assign(ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: wasm });
    ort.env.logLevel = "error";
    this.session = ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    this.session.catch(() => {}); // is thrown where it is waited for
  }

  // Outputs by name, as { dims, data }, for B images of size x size bytes behind each other; one call after another.
  run(pixels, outputs) {
    const asked = this.last.then(async () => {
      const session = await this.session.catch((error) => {
        throw new Error(`This browser cannot run the model (${error.message}). Use a current one, or hilum predict.`);
      });
      const images = new ort.Tensor("uint8", pixels, [pixels.length / this.size ** 2, this.size, this.size]);
      return session.run({ [this.name]: images }, outputs);
    });
    this.last = asked.catch(() => {});
    return asked;
  }
}
