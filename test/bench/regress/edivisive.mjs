// A baseline to measure against, written from the papers: E-divisive (Matteson and James 2014) with Student's t-test in place
// of the permutation test and a split-then-merge pass, as Hunter (Fleming et al. 2023), now Apache Otava, describes it.
import { studentCdf } from '../../../dist/regress/distributions.js';

const WINDOW = 50;

/** Change points of a series at the given significance. */
export function changePointsOf(series, maxP) {
  const relaxed = maxP < 0.05 ? 10 * maxP : Math.min(1, 2 * maxP);
  return merge(series, splitInWindows(series, relaxed), maxP);
}


function splitInWindows(series, maxP) {
  const found = new Set();
  for (let start = 0; start < series.length; ) {
    const end = Math.min(start + WINDOW, series.length);
    const inside = split(series.slice(start, end), maxP).map((index) => index + start);
    for (const index of inside) found.add(index);
    start = Math.max(inside.at(-1) ?? 0, start + WINDOW / 2);
  }
  return [...found].sort((p, q) => p - q);
}

/** Cuts where the energy distance of the two sides is greatest, as long as the sides' means differ significantly. */
function split(series, maxP) {
  const found = [];
  for (;;) {
    const bounds = [0, ...found, series.length];
    let best = { energy: -Infinity, at: -1, from: 0, to: 0 };
    for (let i = 1; i < bounds.length; i++) {
      const cut = bestCut(series, bounds[i - 1], bounds[i]);
      if (cut.energy > best.energy) best = { ...cut, from: bounds[i - 1], to: bounds[i] };
    }
    if (best.at < 0 || !(tTest(series.slice(best.from, best.at), series.slice(best.at, best.to)) <= maxP)) return found;
    found.push(best.at);
    found.sort((p, q) => p - q);
  }
}

/** Cut `at` and end `to` that maximise the energy distance of [from, at) and [at, to), scaled by their sizes. */
function bestCut(series, from, end) {
  let best = { energy: -Infinity, at: -1 };
  // within[i]: sum of the distances among series[from, from + i)
  const within = [0, 0];
  for (let i = 1; i < end - from; i++) {
    let sum = within[i];
    for (let j = from; j < from + i; j++) sum += Math.abs(series[from + i] - series[j]);
    within.push(sum);
  }
  for (let at = from + 1; at < end; at++) {
    const n = at - from;
    let between = 0;
    let right = 0;
    for (let to = at + 1; to <= end; to++) {
      const m = to - at;
      const added = series[to - 1];
      for (let j = from; j < at; j++) between += Math.abs(added - series[j]);
      for (let j = at; j < to - 1; j++) right += Math.abs(added - series[j]);
      const left = n > 1 ? (2 * m * within[n]) / (n - 1) : 0;
      const energy = (2 * between - left - (m > 1 ? (2 * n * right) / (m - 1) : 0)) / (m + n);
      if (energy > best.energy) best = { energy, at };
    }
  }
  return best;
}

function merge(series, found, maxP) {
  const kept = [...found];
  for (;;) {
    const bounds = [0, ...kept, series.length];
    const p = kept.map((at, i) => tTest(series.slice(bounds[i], at), series.slice(at, bounds[i + 2])));
    const weakest = p.indexOf(Math.max(...p));
    if (weakest < 0 || p[weakest] < maxP) return kept;
    kept.splice(weakest, 1);
  }
}

/** Two-sided p-value of Student's t-test with pooled variance. */
function tTest(left, right) {
  const freedom = left.length + right.length - 2;
  if (freedom < 1) return 1;
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = (values, middle) => values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  const [a, b] = [mean(left), mean(right)];
  const variance = (squares(left, a) + squares(right, b)) / freedom;
  if (variance === 0) return a === b ? 1 : 0;
  const t = Math.abs(a - b) / Math.sqrt(variance * (1 / left.length + 1 / right.length));
  return 2 * studentCdf(-t, freedom);
}
