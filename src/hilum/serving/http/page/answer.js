// Puts an answer, and what is known of the model, into words. All text is set as text: names may hold markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const WORDS = {
  flag: "Flag",
  read: "To be read",
  clear: "Clear",
  abstain: "Abstain",
  undecided: "No decision",
  error: "Not usable",
};
const NEXT = {
  flag: "A person must read this image.",
  read: "A person must read this image.",
  abstain: "No answer. If this is the right image, a person must read it.",
};

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : "");

export function kindOf(item) {
  if (item.error) return "error";
  return item.prediction ? item.prediction.decision : "";
}

export function percent(share, decimals = 1) {
  return `${(100 * share).toFixed(decimals)} %`;
}

function decision(item, model) {
  const kind = kindOf(item);
  const meaning = model.decisions.find((one) => one.decision === kind);
  const box = element("div", { class: `decision ${kind}` }, element("strong", {}, WORDS[kind] || kind));
  if (item.error) {
    box.append(element("p", {}, sentence(item.error)));
    return box;
  }
  if (NEXT[kind]) box.append(element("p", {}, element("b", {}, NEXT[kind])));
  box.append(element("p", {}, sentence(item.prediction.reason)));
  const top = model.labels.find((label) => label.label === item.prediction.label);
  if (kind === "flag" && top && !top.flagged && !item.prediction.findings) {
    box.append(element("p", {}, `Most probable: ${top.name} (${percent(item.prediction.probabilities[top.label], model.decimals)}). The threshold is low, so that few cases are missed: a flag is not a finding.`));
  }
  if (meaning && kind !== "abstain") box.append(element("p", { class: "facts" }, `It means: ${meaning.meaning}.`));
  return box;
}

function bars(prediction, model) {
  const rows = model.labels.map((label) => {
    const value = prediction.probabilities[label.label];
    const fill = element("i");
    fill.style.width = `${100 * value}%`;
    const bar = element("div", { class: "bar", "aria-hidden": "true" }, fill);
    const notes = [];
    const own = prediction.findings?.[label.label];
    if (own) notes.push(`${WORDS[own.decision] || own.decision}: ${own.reason}`);
    if (label.threshold !== null && prediction.decision !== "abstain") {
      const mark = element("b");
      mark.style.left = `${100 * Math.min(1, label.threshold)}%`;
      bar.append(mark);
      const from = percent(label.threshold, model.decimals);
      notes.push(label.upper_threshold === null ? `flagged from ${from} on (the mark)` : `cleared below ${from} (the mark)`);
    }
    const words = element("th", { scope: "row" }, label.name, ...notes.map((note) => element("small", {}, note)), bar);
    return element("tr", {}, words, element("td", { class: "number" }, percent(value, model.decimals)));
  });
  const caption = element("caption", { class: "visually-hidden" }, "Probability of each label");
  return element("table", { class: "bars" }, caption, element("tbody", {}, ...rows));
}

export function showAnswer(place, item, model) {
  place.replaceChildren(element("p", { class: "facts" }, item.name));
  if (!item.prediction && !item.error) {
    place.append(element("p", {}, "Waiting for the answer …"));
    return;
  }
  place.append(decision(item, model));
  if (item.error) return;
  const { prediction } = item;
  if (prediction.decision === "abstain") {
    place.append(element("details", {}, element("summary", {}, "Numbers of the model, which do not hold for this image"), bars(prediction, model)));
  } else {
    place.append(element("h3", {}, "Probabilities"), bars(prediction, model));
  }
  if (prediction.p_in_distribution !== null) {
    const limit = model.abstains_below === null ? "" : ` Below ${percent(model.abstains_below)} there is no answer.`;
    place.append(element("p", { class: "facts" }, `${percent(prediction.p_in_distribution)} of the calibration patients are at least as unlike the training images as this image.${limit}`));
  }
  for (const note of prediction.notes) place.append(element("p", { class: "note" }, note));
}

export function showDataErrors(place, model) {
  place.hidden = !model.data_errors.length;
  if (place.hidden) return;
  const found = model.data_errors.map((text) => element("li", {}, text));
  place.replaceChildren(element("p", {}, element("strong", {}, "The data that this model was trained on have errors:")), element("ul", {}, ...found));
}

export function showModel(place, model) {
  const facts = element("dl");
  const add = (name, ...values) => facts.append(element("dt", {}, name), ...values.map((value) => element("dd", {}, value)));
  add("Model", model.name);
  add("Version (SHA-256 of the file)", model.sha256);
  if (model.made_by) add("Made by", `hilum ${model.made_by}`);
  if (model.licence) add("Licence of the weights", model.licence);
  add("Decisions", ...model.decisions.map((one) => `${WORDS[one.decision] || one.decision}: ${one.meaning}.`));
  const names = Object.fromEntries(model.labels.map((label) => [label.label, label.name]));
  const ofFindings = Object.entries(model.certificates).map(([label, one]) => [names[label] ?? label, one]);
  const certified = model.certificate ? [[model.group, model.certificate]] : ofFindings;
  if (certified.length) {
    const guaranteed = certified.map(([name, one]) => [name, one.false_negative_rate ?? one.miss_rate, one]).filter(([, rate]) => typeof rate === "number");
    add("Guarantee", ...guaranteed.map(([name, rate, one]) => `Sensitivity of at least ${percent(1 - rate)} for ${name}, at ${percent(one.confidence)} confidence${certified.length > 1 ? " of all guarantees together" : ""}.`));
    const conditions = certified[0][1].conditions;
    if (Array.isArray(conditions)) add("Conditions", ...conditions.map(String));
  } else {
    add("Guarantee", "None: nobody has certified this model.");
  }
  place.replaceChildren(facts);
  if (model.card) place.append(element("h3", {}, "Model card"), element("pre", { tabindex: "0", "aria-label": "Model card" }, model.card));
}
