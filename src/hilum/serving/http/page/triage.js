// From a row of probabilities to the answer, as hilum.serving.prediction gives it.

const TOLERANCE = 1e-3; // of the sum of a row
const ABOVE = Math.fround(1 + 1e-6);
const short = (value) => Number(value.toPrecision(3));

// Why a row cannot be decided by; empty where it can.
export function whyNoProbabilities(row) {
  const sum = row.reduce((total, value) => total + value, 0);
  if (!row.every(Number.isFinite)) return "a probability is no number";
  if (Math.min(...row) < 0 || Math.max(...row) > ABOVE) return `a probability of ${short(Math.min(...row) < 0 ? Math.min(...row) : Math.max(...row))}`;
  return Math.abs(sum - 1) <= TOLERANCE ? "" : `probabilities whose sum is ${short(sum)}`;
}

function place(score, { threshold, upper_threshold: upper }, percent) {
  if (upper === null) return `${score < threshold ? "below" : "at or above"} the threshold of ${percent(threshold)}`;
  if (score < threshold) return `below the lower threshold of ${percent(threshold)}`;
  return score >= upper ? `at or above the upper threshold of ${percent(upper)}` : `between ${percent(threshold)} and ${percent(upper)}`;
}

// The triage decision about one image by itself, and its reason in one sentence.
function decide(probabilities, reason, { description, words }) {
  const { threshold, upper_threshold: upper, group, labels } = description;
  if (threshold === null) return [reason ? "abstain" : "undecided", reason || words.uncertified];
  const percent = (share) => `${(100 * share).toFixed(description.decimals)} %`;
  const score = labels.reduce((sum, { label, flagged }) => sum + (flagged ? probabilities[label] : 0), 0);
  const decision = score < threshold ? "clear" : score >= (upper ?? threshold) ? "flag" : "read";
  return [reason ? "abstain" : decision, reason || `${group} ${percent(score)}, ${place(score, description, percent)}`];
}

// A line as `hilum predict --json` has it.
export function say(row, chroma, likeness, facts) {
  const { description, words, colourful } = facts;
  const why = whyNoProbabilities(row) || (likeness && !Number.isFinite(likeness.p) ? "its features are no numbers" : "");
  if (why) throw new Error(`the model's answer cannot be used (${why}). Take another model, or export this one anew.`);
  const probabilities = Object.fromEntries(description.labels.map(({ label }, k) => [label, Math.min(row[k], 1)]));
  const [decision, reason] = decide(probabilities, chroma > colourful ? words.colour : likeness?.reason || "", facts);
  const top = description.labels[row.indexOf(Math.max(...row))];
  return {
    path: "image 1",
    label: top.label,
    label_name: top.name,
    probabilities,
    decision,
    reason,
    notes: [],
    p_in_distribution: likeness ? likeness.p : null,
    model: { name: description.name, sha256: description.sha256 },
    schema_version: 1,
  };
}
