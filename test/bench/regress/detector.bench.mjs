// How often the detectors are wrong, what they see, and how fast they are. Needs a build (npm run build). Prints one table
// per question; exits 1 if a number that is promised is missed. --quick: a tenth of the series. --otava PYTHON: a
// Python that can import Apache Otava (with a checkout of it: PYTHONPATH=CHECKOUT and numpy and scipy), run beside our own version of its
// method. Without it that column is left out, and said to be.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { changePoints, compare, compareAll, history, SequentialComparison } from '../../../dist/regress/index.js';
import { changePointsOf } from './edivisive.mjs';
import { comparison, MODELS, Random, sessions } from './noise.mjs';

const { values: options } = parseArgs({ options: { quick: { type: 'boolean' }, otava: { type: 'string' } } });
const SERIES = options.quick ? 300 : 3000;
const FEWER = SERIES / 3;
let missed = 0;

const median = (values) => {
  const ascending = [...values].sort((p, q) => p - q);
  return (ascending[(ascending.length - 1) >> 1] + ascending[ascending.length >> 1]) / 2;
};
const percent = (share) => `${(100 * share).toFixed(2)}%`;
const called = (verdict) => verdict === 'regressed' || verdict === 'improved';
const share = (items, test) => items.filter(test).length / items.length;
const repeat = (count, make) => Array.from({ length: count }, (_, i) => make(i));

/** A promise that SERIES repetitions cannot refute is kept: three standard errors are allowed where --quick is given. */
function promise(value, limit, atMost) {
  const slack = options.quick ? 3 * Math.sqrt((limit * (1 - limit)) / SERIES) : 0;
  const kept = atMost ? value <= limit + slack : value >= limit - slack;
  if (!kept) missed++;
  return kept ? '' : ` MISSED (${atMost ? 'at most' : 'at least'} ${limit})`;
}
const atMost = (value, limit) => `${percent(value)}${promise(value, limit, true)}`;
const atLeast = (value, limit) => `${value.toFixed(3)}${promise(value, limit, false)}`;

function table(title, rows) {
  console.log(`\n## ${title}\n`);
  const columns = Object.keys(rows[0]);
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column])))];
  const width = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  cells.forEach((line, i) => {
    console.log(`| ${line.map((cell, j) => cell.padEnd(width[j])).join(' | ')} |`);
    if (i === 0) console.log(`|${width.map((w) => '-'.repeat(w + 2)).join('|')}|`);
  });
}

const models = Object.entries(MODELS);
const compared = (seed, count, model, setup) => {
  const random = new Random(seed);
  return repeat(count, (i) => compare({ id: i, ...comparison(random, model, setup) }));
};
const covers = (truth) => ({ ci }) => ci[0] <= truth && truth <= ci[1];

const STANDARD = { blocks: 16, samples: 5, cv: 0.1 };

function falseVerdicts() {
  table(
    `Compare, A against A: ${SERIES} series of 16 blocks x 5 samples, CV 10%; at most 1.5% called, intervals cover 98.5%`,
    models.map(([name, model], i) => {
      const same = compared(i, SERIES, model, STANDARD);
      const shifted = compared(100 + i, SERIES, model, { ...STANDARD, shift: 0.1 });
      return {
        model: name,
        'called': atMost(share(same, ({ verdict }) => called(verdict)), 0.015),
        'coverage, no shift': atLeast(share(same, covers(0)), 0.985),
        'coverage, 10%': atLeast(share(shifted, covers(0.1)), 0.985),
        'median detectable': percent(median(same.map(({ minimumDetectable }) => minimumDetectable))),
      };
    }),
  );
}

function power() {
  const regressed = (seed, model, setup) => share(compared(seed, FEWER, model, setup), ({ verdict }) => verdict === 'regressed');
  const wanted = { 'iid 10%': 0.9, 'outliers 10%': 0.9, 'hard 20%': 0.95 };
  const show = (name, shift, value) => (wanted[`${name} ${shift}`] ? atLeast(value, wanted[`${name} ${shift}`]) : value.toFixed(3));
  table(
    `Compare, power: ${FEWER} series each; what share is called regressed`,
    models.map(([name, model], i) => {
      const fine = regressed(300 + i, model, { blocks: 20, samples: 5, cv: 0.05, shift: 0.05 });
      const same = median(compared(i, 300, model, STANDARD).map(({ minimumDetectable }) => minimumDetectable));
      return {
        model: name,
        '16x5, CV 10%: 10%': show(name, '10%', regressed(200 + i, model, { ...STANDARD, shift: 0.1 })),
        '20%': show(name, '20%', regressed(250 + i, model, { ...STANDARD, shift: 0.2 })),
        '20x5, CV 5%: 5%': name === 'hard' ? atLeast(fine, 0.7) : fine.toFixed(3),
        'at the detectable shift (0.9)': regressed(350 + i, model, { ...STANDARD, shift: same }).toFixed(3),
      };
    }),
  );
}

function sequential() {
  const run = (random, model, setup) => {
    const steps = new SequentialComparison();
    const { a, b } = comparison(random, model, { ...setup, blocks: 60 });
    let missedOnce = false;
    for (let i = 0; steps.state.state === 'collecting'; i++) {
      const { comparison: seen } = steps.push(a[i], b[i]);
      if (seen && !covers(setup.shift)(seen)) missedOnce = true;
    }
    return { ...steps.state, verdict: steps.state.comparison.verdict, missedOnce };
  };
  const setups = [0, 0.05, 0.1, 0.2].map((shift) => ({ samples: 5, cv: 0.1, shift }));
  table(
    `Until settled: ${FEWER} runs (${SERIES} without a shift) of up to 60 blocks x 5, CV 10%, looks at 12, 20, 28...; at most 1% may miss the truth at any look`,
    models.flatMap(([name, model], m) =>
      ['iid', 'outliers', 'hard', 'drift'].includes(name)
        ? setups.map((setup, i) => {
            const random = new Random(400 + 10 * m + i);
            const runs = repeat(setup.shift === 0 ? SERIES : FEWER, () => run(random, model, setup));
            return {
              model: name,
              shift: percent(setup.shift),
              'missed at any look': atMost(share(runs, ({ missedOnce }) => missedOnce), 0.015),
              regressed: share(runs, ({ verdict }) => verdict === 'regressed').toFixed(3),
              'mean blocks': (runs.reduce((sum, { blocks }) => sum + blocks, 0) / runs.length).toFixed(1),
            };
          })
        : [],
    ),
  );
}

function family() {
  const random = new Random(500);
  const count = FEWER / 10;
  const families = repeat(count, () =>
    compareAll(repeat(50, (i) => ({ id: i, ...comparison(random, MODELS.hard, STANDARD) }))),
  );
  const mixed = repeat(count, () =>
    compareAll(repeat(50, (i) => ({ id: i, ...comparison(random, MODELS.iid, { ...STANDARD, shift: i < 5 ? 0.15 : 0 }) }))),
  ).map((results) => ({
    right: results.filter(({ id, verdict }) => id < 5 && verdict === 'regressed').length,
    wrong: results.filter(({ id, verdict }) => id >= 5 && called(verdict)).length,
  }));
  const rate = mixed.reduce((sum, { right, wrong }) => sum + wrong / Math.max(1, right + wrong), 0) / count;
  table(`Families of 50 metrics, 16x5, CV 10%: ${count} each`, [
    { families: 'all alike, hard', result: `${percent(share(families, (results) => results.some(({ verdict }) => called(verdict))))} call anything` },
    {
      families: '5 of 50 slower by 15%, iid',
      result: `${(mixed.reduce((sum, { right }) => sum + right, 0) / count / 5).toFixed(3)} of them called, false discoveries ${percent(rate)}`,
    },
  ]);
}

/** A boot under icount: costs that repeat, some off by a few instructions. */
function icountBoot(random, costs, jitter, factor) {
  return costs.map((cost) => Math.round(cost * factor) + (random.chance(jitter) ? Math.floor(random.between(1, 6)) : 0));
}

function instructions() {
  const random = new Random(600);
  const kinds = {
    'constant': [Array(50).fill(5714), 0],
    'constant but for a few': [Array(50).fill(5714), 0.05],
    'every fault off by 0-5': [Array(50).fill(5714), 0.8],
    'faults of several costs': [repeat(50, (i) => 2028 + 400 * (i % 3) + (i % 16 === 0 ? 3000 : 0)), 0.05],
  };
  table(
    `icount: ${FEWER} comparisons; a path 1% longer must be called by one pair of boots per kernel`,
    Object.entries(kinds).flatMap(([name, [costs, jitter]]) =>
      [1, 2, 3].map((boots) => {
        const make = (factor) =>
          compare({
            id: name,
            clock: 'icount',
            a: repeat(boots, () => icountBoot(random, costs, jitter, 1)),
            b: repeat(boots, () => icountBoot(random, costs, jitter, factor)),
          });
        const same = repeat(FEWER, () => make(1));
        const longer = repeat(FEWER, () => make(1.01));
        return {
          series: name,
          'boots per kernel': boots,
          'A/A called': atMost(share(same, ({ verdict }) => called(verdict)), 0),
          'A/A unchanged': share(same, ({ verdict }) => verdict === 'unchanged').toFixed(3),
          exact: share(same, ({ exact }) => exact).toFixed(3),
          '1% longer called': atLeast(share(longer, ({ verdict }) => verdict === 'regressed'), boots === 2 ? 1 : 0),
        };
      }),
    ),
  );
}

function screening() {
  const judge = (random, model, setup) => {
    const all = sessions(random, model, { samples: 5, ...setup });
    return history({ id: 0, candidate: all.pop(), sessions: all });
  };
  const counts = [8, 12, 20, 30];
  table(
    `History: false alarms on stationary series, ${SERIES} each, 5 samples a session, CV 10%; at most 1.5%. Then the share of slower newest sessions seen after 30`,
    [...models, ['drift x3', { drift: 3 }]].map(([name, model], m) => {
      const row = { model: name };
      for (const count of counts) {
        const random = new Random(700 + 10 * m + count);
        const alarms = repeat(SERIES, () => judge(random, model, { count: count + 1, cv: 0.1 }));
        row[`${count} sessions`] = atMost(share(alarms, ({ verdict }) => called(verdict)), 0.015);
      }
      for (const [cv, shift] of [[0.1, 0.2], [0.05, 0.2]]) {
        const random = new Random(800 + m);
        const alarms = repeat(FEWER, () => judge(random, model, { count: 31, at: 30, cv, shift }));
        row[`CV ${percent(cv)}: ${percent(shift)}`] = share(alarms, ({ verdict }) => verdict === 'regressed').toFixed(3);
      }
      return row;
    }),
  );
  const thin = [1, 2, 3, 4, 10];
  table(
    `History: false alarms after 20 sessions by samples per session, CV 5%, ${SERIES} each`,
    ['outliers', 'hard', 'skewed'].map((name) => {
      const row = { model: name };
      for (const samples of thin) {
        const random = new Random(900 + samples);
        const alarms = repeat(SERIES, () => judge(random, MODELS[name], { count: 21, cv: 0.05, samples }));
        row[`${samples} samples`] = atMost(share(alarms, ({ verdict }) => called(verdict)), 0.015);
      }
      return row;
    }),
  );
  const random = new Random(950);
  const judged = (setup) =>
    repeat(FEWER, () => {
      const all = sessions(random, MODELS.outliers, { count: 31, samples: 5, cv: 0.05, ...setup });
      const candidate = all.pop().map((value) => value * 1.2);
      return history({ id: 0, candidate, sessions: all });
    });
  const seen = (results) => share(results, ({ verdict }) => verdict === 'regressed').toFixed(3);
  table('History with an earlier change: 30 sessions, CV 5%, outliers; the newest session slower by 20%', [
    { history: 'level', seen: seen(judged({})) },
    { history: '30% slower since session 15', seen: seen(judged({ shift: 0.3, at: 15 })) },
    { history: '50% faster since session 22', seen: seen(judged({ shift: -0.5, at: 22 })) },
  ]);
}

function longHistories() {
  const few = FEWER / 5;
  table(
    `Change points: ${few} histories, 5 samples a session, CV 10%; a step in the middle is found if within 3 sessions`,
    models.map(([name, model], m) => {
      const row = { model: name };
      for (const count of [30, 100]) {
        const random = new Random(1000 + m);
        row[`${count}: any, no step`] = percent(
          share(repeat(few, () => changePoints(sessions(random, model, { count, samples: 5, cv: 0.1 }))), ({ length }) => length > 0),
        );
        const at = count / 2;
        for (const shift of [0.1, 0.2])
          row[`${count}: ${percent(shift)} found`] = share(
            repeat(few, () => changePoints(sessions(random, model, { count, samples: 5, cv: 0.1, shift, at }))),
            (found) => found.some(({ index }) => Math.abs(index - at) <= 3),
          ).toFixed(2);
      }
      return row;
    }),
  );
}

/** Otava's count of series with a change point at each threshold. */
function askOtava(series, thresholds) {
  const script = fileURLToPath(new URL('run-otava.py', import.meta.url));
  const input = JSON.stringify({ series, thresholds });
  const { status, stdout, stderr, error } = spawnSync(options.otava, [script], { input, maxBuffer: 2 ** 28, encoding: 'utf8' });
  if (status !== 0) throw new Error(`run-otava.py failed: ${error?.message ?? stderr}`);
  return JSON.parse(stdout).map((count) => count / series.length);
}

const askOurs = (series, thresholds) => thresholds.map((p) => share(series, (values) => changePointsOf(values, p).length > 0));

/** Detection rate at the loosest threshold whose false alarm rate on `same` is not above `rate`. */
function atEqualAlarms(ask, same, shifted, rate) {
  const thresholds = repeat(49, (i) => 10 ** (-0.25 * (i + 1)));
  let low = 0;
  let high = thresholds.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ask(same, [thresholds[middle]])[0] <= rate) high = middle;
    else low = middle + 1;
  }
  const [alarms] = ask(same, [thresholds[low]]);
  return { alarms, found: shifted.map((series) => ask(series, [thresholds[low]])[0]) };
}

function sideBySide() {
  const shifts = [0.1, 0.15, 0.2];
  const methods = [['E-divisive + t', askOurs, FEWER], ...(options.otava ? [['Otava itself', askOtava, Math.min(FEWER, 400)]] : [])];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const summaries = { 'session means': (all) => all.map(mean), 'session medians': (all) => all.map(median), 'single samples': (all) => all.flat() };
  const rows = [];
  for (const name of ['iid', 'outliers', 'hard']) {
    const model = MODELS[name];
    const ours = (shift, seed) => compared(seed, FEWER, model, { ...STANDARD, shift });
    const rate = Math.max(0.01, share(ours(0, 1), ({ verdict }) => called(verdict)));
    const found = shifts.map((shift, i) => share(ours(shift, 2 + i), ({ verdict }) => verdict === 'regressed'));
    rows.push({ model: name, detector: 'compare, 16+16 boots interleaved', alarms: percent(rate), ...show(shifts, found) });
    for (const [label, summary] of Object.entries(summaries))
      for (const [method, ask, count] of methods) {
        if (label === 'single samples' && ask === askOtava) continue;
        const random = new Random(1100);
        const make = (shift) => repeat(count, () => summary(sessions(random, model, { count: 32, samples: 5, cv: 0.1, shift, at: 16 })));
        const { alarms, found: theirs } = atEqualAlarms(ask, make(0), shifts.map(make), rate);
        rows.push({ model: name, detector: `${method}, 16 then 16, ${label}`, alarms: percent(alarms), ...show(shifts, theirs, found) });
      }
  }
  table(`Against E-divisive at the same false alarm rate: 32 boots x 5 samples, CV 10% (in brackets: how many times as often compare sees it)`, rows);

  const screen = [];
  for (const name of ['iid', 'outliers', 'hard']) {
    const random = new Random(1200);
    const make = (shift) => repeat(FEWER, () => sessions(random, MODELS[name], { count: 31, samples: 5, cv: 0.05, shift, at: 30 }));
    const judge = (all) => share(all, (list) => called(history({ id: 0, sessions: list.slice(0, -1), candidate: list.at(-1) }).verdict));
    const same = make(0);
    const shifted = shifts.map(make);
    const rate = Math.max(0.01, judge(same));
    const found = shifted.map(judge);
    screen.push({ model: name, detector: 'history, newest of 31', alarms: percent(rate), ...show(shifts, found) });
    for (const [method, ask, count] of methods) {
      const summary = (list) => list.slice(0, count).map((all) => all.map(mean));
      const { alarms, found: theirs } = atEqualAlarms(ask, summary(same), shifted.map(summary), rate);
      screen.push({ model: name, detector: `${method}, newest of 31, session means`, alarms: percent(alarms), ...show(shifts, theirs, found) });
    }
  }
  table('The newest session alone, after 30 stored ones, CV 5%', screen);
}

function show(shifts, found, ours) {
  return Object.fromEntries(
    shifts.map((shift, i) => {
      const times = ours === undefined ? '' : ` (${found[i] === 0 ? 'never' : `${(ours[i] / found[i]).toFixed(1)}x`})`;
      return [percent(shift), `${found[i].toFixed(3)}${times}`];
    }),
  );
}

function speed() {
  const random = new Random(1300);
  const rows = [[3000, 16, 5], [300, 16, 50], [30, 16, 500], [3, 16, 5000]].map(([count, blocks, samples]) => {
    const inputs = repeat(count, (i) => ({ id: i, ...comparison(random, MODELS.hard, { blocks, samples, cv: 0.1 }) }));
    const start = process.hrtime.bigint();
    for (const input of inputs) compare(input);
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    if (samples === 5 && seconds > 10) missed++;
    return { comparisons: count, 'blocks x samples': `${blocks}x${samples}`, seconds: seconds.toFixed(2) };
  });
  table('Speed (3,000 comparisons of 16x5 in under 10 s)', rows);
}

const start = Date.now();
for (const part of [falseVerdicts, power, instructions, sequential, family, screening, longHistories, sideBySide, speed]) part();
if (!options.otava) console.log('\nApache Otava itself was not run: --otava PYTHON');
console.log(`\n${missed === 0 ? 'All promised numbers are kept' : `${missed} promised numbers are missed`}; ${((Date.now() - start) / 1000).toFixed(0)} s.`);
process.exitCode = missed === 0 ? 0 : 1;
