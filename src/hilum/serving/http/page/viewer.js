// Shows grey values on a canvas: window and level, invert, zoom, pan, and a heatmap above.

const FULL = 65535;
const SMALLEST_WINDOW = 650; // a hundredth of the full range
const RAMPS = { // as hilum.serving.explain draws them
  finding: [[255, 215, 0], [255, 150, 0], [245, 70, 20], [215, 10, 70]],
  healthy: [[150, 235, 190], [60, 200, 200], [30, 140, 230], [60, 80, 235]],
};

export function percentiles(pixels, low, high) {
  const counts = new Uint32Array(FULL + 1);
  for (let i = 0; i < pixels.length; i += 1) counts[pixels[i]] += 1;
  const found = [];
  let sum = 0;
  let value = 0;
  for (const share of [low, high]) {
    while (value < FULL && sum + counts[value] <= share * pixels.length) {
      sum += counts[value];
      value += 1;
    }
    found.push(value);
  }
  return found;
}

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.picture = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.opacity = 0;
    this.panning = false;
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  show({ width, height, pixels }) {
    Object.assign(this, { width, height, pixels, inverted: false, preset: "auto" });
    this.picture.width = width;
    this.picture.height = height;
    this.image = new ImageData(width, height);
    [this.low, this.high] = percentiles(pixels, 0.01, 0.99);
    this.setHeatmap(null);
    this.usePreset("auto");
    this.fit();
  }

  clear() {
    this.pixels = null;
    this.draw();
    this.changed();
  }

  usePreset(name) {
    const range = Math.max(this.high - this.low, SMALLEST_WINDOW);
    const presets = {
      auto: [this.low + range / 2, range],
      full: [FULL / 2, FULL],
      lungs: [this.low + 0.33 * range, 0.6 * range],
      mediastinum: [this.low + 0.75 * range, 0.5 * range],
    };
    if (!this.pixels || !presets[name]) return;
    [this.level, this.window] = presets[name];
    this.preset = name;
    this.render();
  }

  setWindow(level, window) {
    if (!this.pixels) return;
    this.level = Math.min(FULL, Math.max(0, level));
    this.window = Math.min(2 * FULL, Math.max(SMALLEST_WINDOW, window));
    this.preset = "own";
    this.render();
  }

  invert() {
    this.inverted = !this.inverted;
    this.render();
  }

  reset() {
    this.inverted = false;
    this.usePreset("auto");
    this.fit();
  }

  render() {
    if (!this.pixels) return;
    const grey = new Uint8ClampedArray(FULL + 1);
    const from = this.level - this.window / 2;
    for (let value = 0; value <= FULL; value += 1) {
      const shown = (255 * (value - from)) / this.window;
      grey[value] = this.inverted ? 255 - shown : shown;
    }
    const out = new Uint32Array(this.image.data.buffer);
    const { pixels } = this;
    for (let i = 0; i < pixels.length; i += 1) out[i] = 0xff000000 | (grey[pixels[i]] * 0x010101);
    this.picture.getContext("2d").putImageData(this.image, 0, 0);
    this.draw();
    this.changed();
  }

  setHeatmap(map) {
    this.heatmap = map;
    if (map) {
      this.overlay.width = map.width;
      this.overlay.height = map.height;
      const image = new ImageData(map.width, map.height);
      const ramp = RAMPS[map.healthy ? "healthy" : "finding"];
      map.values.forEach((value, i) => {
        const place = (value / 255) * (ramp.length - 1);
        const below = Math.min(Math.floor(place), ramp.length - 2);
        const part = place - below;
        for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = ramp[below][c] * (1 - part) + ramp[below + 1][c] * part;
        image.data[4 * i + 3] = value;
      });
      this.overlay.getContext("2d").putImageData(image, 0, 0);
    }
    this.draw();
  }

  setOpacity(share) {
    this.opacity = share;
    this.draw();
  }

  fit() {
    if (!this.pixels) return;
    this.scale = Math.min(this.canvas.width / this.width, this.canvas.height / this.height) || 1;
    this.x = (this.canvas.width - this.width * this.scale) / 2;
    this.y = (this.canvas.height - this.height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.pixels) return;
    const scale = Math.min(40, Math.max(0.05, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (!width || (width === this.canvas.width && height === this.canvas.height)) return;
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.fitted !== false) this.fit();
    else this.draw();
  }

  draw() {
    const to = this.canvas.getContext("2d");
    to.setTransform(1, 0, 0, 1, 0, 0);
    to.fillStyle = "#000";
    to.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.pixels) return;
    to.imageSmoothingEnabled = this.scale < 3;
    to.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
    to.drawImage(this.picture, 0, 0);
    if (this.heatmap && this.opacity) {
      to.imageSmoothingEnabled = true;
      to.globalAlpha = this.opacity;
      to.drawImage(this.overlay, 0, 0, this.width, this.height);
      to.globalAlpha = 1;
    }
  }

  listen() {
    const { canvas, pointers } = this;
    const ratio = () => canvas.width / canvas.getBoundingClientRect().width;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.pixels) return;
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = [event.offsetX, event.offsetY];
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      if (pointers.size === 2) this.pinch(event.pointerId, before, now, ratio());
      else if (this.panning || event.shiftKey || event.buttons === 4) this.move(dx * ratio(), dy * ratio());
      else this.setWindow(this.level - 120 * dy, this.window + 240 * dx);
      pointers.set(event.pointerId, now);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      if (!this.pixels) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX * ratio(), event.offsetY * ratio());
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.fit());
  }

  pinch(moved, before, now, ratio) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, place]) => place);
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    this.zoom(apart(now) / apart(before), ((now[0] + other[0]) / 2) * ratio, ((now[1] + other[1]) / 2) * ratio);
  }
}
