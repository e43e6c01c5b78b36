// The images of this visit, their answers, and what can be downloaded of them.

import { WORDS, element, kindOf } from "./answer.js";

const ORDER = ["flag", "read", "abstain", "error", "undecided", "clear", ""];

export class Worklist {
  // `chosen` is called with each image that comes on the screen, `picked` once somebody has pointed at one.
  constructor(list, chosen, picked) {
    this.list = list;
    this.chosen = chosen;
    this.picked = picked;
    this.items = [];
    this.current = null;
    list.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        this.step(step, true);
      }
      if (event.key === "Delete" && this.current) this.remove(this.current);
    });
  }

  add(file) {
    const item = { file, name: file.name || "pasted image", prediction: null, error: "" };
    item.badge = element("span", { class: "badge" }, "…");
    const name = element("span", { class: "name", title: item.name }, item.name);
    item.button = element("button", { type: "button" }, name, item.badge);
    item.button.addEventListener("click", () => {
      this.choose(item);
      this.picked();
    });
    item.row = element("li", {}, item.button);
    this.list.append(item.row);
    this.items.push(item);
    return item;
  }

  update(item) {
    const kind = kindOf(item);
    item.badge.className = `badge ${kind}`;
    item.badge.textContent = WORDS[kind] || "…";
  }

  choose(item) {
    if (this.current) this.current.button.removeAttribute("aria-current");
    this.current = item;
    if (item) {
      item.button.setAttribute("aria-current", "true");
      item.button.scrollIntoView({ block: "nearest" });
    }
    this.chosen(item);
  }

  step(by, focus) {
    if (!this.items.length) return;
    const at = Math.max(0, this.items.indexOf(this.current) + by);
    this.choose(this.items[Math.min(at, this.items.length - 1)]);
    if (focus) this.current.button.focus();
  }

  remove(item) {
    const at = this.items.indexOf(item);
    this.items.splice(at, 1);
    item.row.remove();
    const next = this.items[Math.min(at, this.items.length - 1)] || null;
    this.choose(next);
    if (next) next.button.focus();
  }

  clear() {
    this.items = [];
    this.list.replaceChildren();
    this.choose(null);
  }

  // The most urgent first; images that were answered alike stay in their order.
  sort() {
    this.items.sort((one, other) => ORDER.indexOf(kindOf(one)) - ORDER.indexOf(kindOf(other)));
    this.list.append(...this.items.map((item) => item.row));
  }

  lines() {
    return this.items.filter((item) => item.prediction || item.error).map((item) => {
      if (!item.error) return { ...item.prediction, path: item.name };
      return { path: item.name, error: item.error };
    });
  }
}

// A cell that no spreadsheet runs as a formula (OWASP, CSV injection), quoted as RFC 4180 asks for.
function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function toCsv(lines, model) {
  const labels = model.labels.map((label) => label.label);
  const head = ["path", "label", "label_name", "decision", "reason", ...labels.map((label) => `p:${label}`), "p_in_distribution", "notes", "error", "model", "model_sha256"];
  const rows = lines.map((line) => [
    line.path, line.label, line.label_name, line.decision, line.reason,
    ...labels.map((label) => (line.probabilities ? line.probabilities[label].toFixed(8) : "")),
    line.p_in_distribution == null ? "" : line.p_in_distribution.toFixed(6),
    (line.notes || []).join(" "), line.error || "", model.name, model.sha256,
  ]);
  return `${[head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
