// Joins the parts of the page: files come in, answers are asked for, one of them is shown.

import * as service from "./service.js";
import { WORDS, element, kindOf, percent, showAnswer, showDataErrors, showModel } from "./answer.js";
import { Viewer } from "./viewer.js";
import { Worklist, download, toCsv } from "./worklist.js";

const AT_A_TIME = 4;
const KEPT = 6; // pictures that stay in memory
const find = (id) => document.getElementById(id);

let model = null;
let running = 0;
const waiting = [];
const pictures = new Map(); // by item, the last ones that were shown

const viewer = new Viewer(find("picture"), showWindow);
const NARROW = matchMedia("(max-width: 720px)");
const worklist = new Worklist(find("worklist"), show, () => NARROW.matches && find("answer").scrollIntoView());

function showWindow() {
  find("preset").value = viewer.preset;
  find("invert").setAttribute("aria-pressed", String(viewer.inverted));
  find("window-shown").textContent = viewer.pixels ? `Level ${percent(viewer.level / 65535)}, window ${percent(viewer.window / 65535)}` : "";
}

service.onTokenNeeded(() => new Promise((resolve) => {
  const dialog = find("token-dialog");
  dialog.addEventListener("close", () => resolve(find("token").value.trim()), { once: true });
  if (!dialog.open) dialog.showModal();
}));

async function start() {
  try {
    const names = (await service.models()).map((one) => one.name);
    find("model").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    find("model-choice").hidden = names.length < 2;
    await useModel(names[0]);
  } catch (error) {
    find("model-line").textContent = error.message;
  }
}

async function useModel(name) {
  model = await service.describe(name);
  find("model-line").textContent = `${model.name}, version ${model.sha256.slice(0, 12)}`;
  showDataErrors(find("data-errors"), model);
  showModel(find("model-facts"), model);
  find("scope").textContent = model.scope;
  find("labels").textContent = `It distinguishes: ${model.labels.map((label) => label.name).join("; ")}.`;
  pictures.clear();
  for (const item of worklist.items) {
    Object.assign(item, { prediction: null, error: "" });
    worklist.update(item);
    enqueue(item);
  }
  if (worklist.current) worklist.choose(worklist.current);
}

function add(files) {
  const items = [...files].map((file) => worklist.add(file));
  if (!items.length) return;
  items.forEach(enqueue);
  refresh();
  if (!worklist.current) worklist.choose(items[0]);
}

function refresh() {
  const { items } = worklist;
  document.body.classList.toggle("empty", !items.length);
  find("view").hidden = find("answer").hidden = find("downloads").hidden = !items.length;
  const done = items.filter((item) => item.prediction || item.error).length;
  const count = (kind) => items.filter((item) => kindOf(item) === kind).length;
  const counted = Object.keys(WORDS).filter(count).map((kind) => `${count(kind)} ${WORDS[kind].toLowerCase()}`);
  if (!items.length) find("progress").textContent = "";
  else if (done < items.length) find("progress").textContent = `${done} of ${items.length} images answered`;
  else find("progress").textContent = `${done} ${done === 1 ? "image" : "images"} answered: ${counted.join(", ")}`;
}

function enqueue(item) {
  waiting.push(item);
  next();
}

async function next() {
  if (running >= AT_A_TIME || !waiting.length || !model) return;
  running += 1;
  const item = waiting.shift();
  const asked = model;
  try {
    if (!item.prediction && !item.error && worklist.items.includes(item)) settle(item, await service.predict(item.file, asked.name), asked);
  } catch (error) {
    settle(item, { error: error.message }, asked);
  }
  running -= 1;
  if (!running && !waiting.length && worklist.items.length > 1) worklist.sort();
  next();
}

function settle(item, said, asked) {
  if (asked !== model) return; // another model was chosen meanwhile
  item.error = said.error || "";
  item.prediction = said.error ? null : said;
  worklist.update(item);
  refresh();
  if (item === worklist.current) showAnswer(find("said"), item, model);
}

async function show(item) {
  refresh();
  viewer.clear();
  tell("");
  if (!item || !model) return;
  showAnswer(find("said"), item, model);
  find("picture").setAttribute("aria-label", `Radiograph ${item.name}`);
  try {
    const picture = await pictureOf(item, false);
    if (item !== worklist.current) return;
    setTools(true);
    viewer.show(picture);
    viewer.resize();
    await showHeatmap();
  } catch (error) {
    if (item !== worklist.current) return;
    if (!item.prediction) settle(item, { error: error.message }, model);
    tell("There is no picture to show.");
    setTools(false);
  }
}

function setTools(usable) {
  for (const control of document.querySelectorAll("#view .tools button, #view .tools select")) control.disabled = !usable;
}

function tell(text) {
  find("stage-note").textContent = text;
  find("stage-note").hidden = !text;
}

async function pictureOf(item, heatmaps) {
  const kept = pictures.get(item);
  if (kept && (!heatmaps || kept.heatmaps.length)) return kept;
  const asked = model;
  const picture = await service.view(item.file, asked.name, heatmaps);
  if (asked !== model) return picture;
  pictures.delete(item);
  pictures.set(item, picture);
  if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  if (!item.prediction) settle(item, picture.prediction, asked);
  return picture;
}

async function showHeatmap() {
  const wanted = find("heat").getAttribute("aria-pressed") === "true";
  find("opacity").disabled = !wanted;
  find("heat-note").textContent = "";
  find("heat-choice").hidden = true;
  const item = worklist.current;
  if (!wanted || !item || !viewer.pixels) {
    viewer.setOpacity(0);
    return;
  }
  find("heat-note").textContent = "Drawing the heatmap …";
  const { heatmaps } = await pictureOf(item, true);
  if (item !== worklist.current) return;
  const name = (map) => model.labels.find((label) => label.label === map.child)?.name || map.child;
  const choice = find("heat-of");
  if (choice.options.length !== heatmaps.length) choice.replaceChildren(...heatmaps.map((map, i) => element("option", { value: String(i) }, name(map))));
  find("heat-choice").hidden = heatmaps.length < 2;
  const map = heatmaps[Number(choice.value) || 0];
  viewer.setHeatmap(map);
  viewer.setOpacity(find("opacity").value / 100);
  find("heat-note").textContent = `Colour shows what supports ${name(map)}. It shows where the model looks, not where a disease is.`;
}

function saved(kind) {
  const lines = worklist.lines();
  if (kind === "csv") download("predictions.csv", "text/csv", toCsv(lines, model));
  else download("predictions.jsonl", "application/json", lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

function press(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  return on;
}

const ACTIONS = {
  "+": () => viewer.zoom(1.25),
  "=": () => viewer.zoom(1.25),
  "-": () => viewer.zoom(0.8),
  f: () => viewer.fit(),
  r: () => viewer.reset(),
  i: () => viewer.invert(),
  h: () => find("heat").click(),
  "[": () => viewer.setWindow(viewer.level, viewer.window * 0.9),
  "]": () => viewer.setWindow(viewer.level, viewer.window / 0.9),
  ",": () => viewer.setWindow(viewer.level - 1300, viewer.window),
  ".": () => viewer.setWindow(viewer.level + 1300, viewer.window),
  ArrowLeft: () => viewer.move(40, 0),
  ArrowRight: () => viewer.move(-40, 0),
  ArrowUp: () => viewer.move(0, 40),
  ArrowDown: () => viewer.move(0, -40),
};

function listen() {
  find("files").addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = "";
  });
  find("examples").addEventListener("click", async () => {
    find("examples").disabled = true;
    try {
      add(await Promise.all([1, 2, 3, 4].map(service.example)));
    } catch (error) {
      find("progress").textContent = error.message;
    }
    find("examples").disabled = false;
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dragging", name === "dragover");
      if (name === "drop") add(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => add(event.clipboardData.files));
  find("model").addEventListener("change", (event) => useModel(event.target.value));
  find("preset").addEventListener("change", (event) => viewer.usePreset(event.target.value));
  find("invert").addEventListener("click", () => viewer.invert());
  find("pan").addEventListener("click", () => {
    viewer.panning = press(find("pan"));
    find("picture").classList.toggle("panning", viewer.panning);
  });
  find("zoom-in").addEventListener("click", () => viewer.zoom(1.25));
  find("zoom-out").addEventListener("click", () => viewer.zoom(0.8));
  find("fit").addEventListener("click", () => viewer.fit());
  find("reset").addEventListener("click", () => viewer.reset());
  find("heat").addEventListener("click", () => {
    press(find("heat"));
    showHeatmap().catch((error) => { find("heat-note").textContent = error.message; });
  });
  find("heat-of").addEventListener("change", showHeatmap);
  find("opacity").addEventListener("input", (event) => viewer.setOpacity(event.target.value / 100));
  find("csv").addEventListener("click", () => saved("csv"));
  find("json").addEventListener("click", () => saved("json"));
  find("remove").addEventListener("click", () => worklist.current && worklist.remove(worklist.current));
  find("clear").addEventListener("click", () => {
    waiting.length = 0;
    pictures.clear();
    worklist.clear();
    find("files").focus();
  });
  find("picture").addEventListener("keydown", (event) => {
    const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || !viewer.pixels || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j" || event.key === "k") worklist.step(event.key === "j" ? 1 : -1, false);
  });
}

document.body.classList.add("empty");
listen();
start();
