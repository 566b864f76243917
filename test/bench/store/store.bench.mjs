// What the timings database costs: a million samples from 10,000 runs imported, imported again, and read as trends. Needs a build
// (npm run build). Prints one table; exits 1 if a promised number is missed, or if ten times the runs cost more than ten
// times the time by far. --runs N: only that size. --keep: leave the run directories where they are (their folder is printed).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeRuns } from './runs.mjs';

const { values: options } = parseArgs({ options: { runs: { type: 'string' }, keep: { type: 'boolean' } } });
const FEW = { workloads: 5, metrics: 2, samples: 10 };
/** A single sample of very many metrics: the most rows that so many samples can be. */
const MANY = { workloads: 10, metrics: 10, samples: 1 };
const shapes = options.runs === undefined ? [{ runs: 1000, ...FEW }, { runs: 10_000, ...FEW }, { runs: 10_000, ...MANY }] : [{ runs: Number(options.runs), ...FEW }];
const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const PROMISED = { runs: 10_000, import: 60, history: 1 };

function timed(...words) {
  const started = process.hrtime.bigint();
  const { status, stderr } = spawnSync(process.execPath, [main, ...words], { encoding: 'utf8', maxBuffer: 1 << 30 });
  if (status !== 0 && status !== 1) throw new Error(`daxrig ${words.join(' ')}: exit ${status}: ${stderr}`);
  return Number(process.hrtime.bigint() - started) / 1e9;
}

/** The machine does other things, too: the best of three is what the work costs. */
const best = (...words) => Math.min(...[1, 2, 3].map(() => timed(...words)));

const rows = shapes.map((shape) => {
  const { runs, workloads, metrics, samples } = shape;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-bench-'));
  try {
    makeRuns(path.join(folder, 'runs'), shape);
    const db = path.join(folder, 'timings.db');
    const measured = {
      runs,
      'per run': `${workloads * metrics} x ${samples}`,
      samples: runs * workloads * metrics * samples,
      import: timed('import', path.join(folder, 'runs'), '--db', db),
      again: timed('import', path.join(folder, 'runs'), '--db', db),
      history: best('history', '--db', db),
      'one metric': timed('history', 'bench/workload0/metric 0', '--db', db),
      check: timed('history', '--check', '--db', db),
      'all, CSV': timed('history', '--csv', '--db', db),
      'samples, CSV': timed('history', '--csv', '--samples', '--db', db),
      MiB: fs.statSync(db).size / 2 ** 20,
    };
    return measured;
  } finally {
    if (options.keep) console.log(folder);
    else fs.rmSync(folder, { recursive: true });
  }
});

const columns = Object.keys(rows[0]);
console.log(`| ${columns.join(' | ')} |\n|${columns.map(() => '---').join('|')}|`);
for (const row of rows) console.log(`| ${columns.map((name) => (['runs', 'per run', 'samples'].includes(name) ? row[name] : row[name].toFixed(2))).join(' | ')} |`);

const missed = rows.flatMap((row) => (row.runs < PROMISED.runs ? [] : ['import', 'history'].filter((name) => row[name] > PROMISED[name] * (row.runs / PROMISED.runs))));
const [small, large] = rows;
if (large && large.import / small.import > 1.5 * (large.runs / small.runs)) missed.push('import is not linear');
if (missed.length > 0) console.log(`MISSED: ${missed.join(', ')}`);
process.exitCode = missed.length > 0 ? 1 : 0;
