// A/A by wall clock in real guests: timing/faults runs again and again, each time after a boot of its own (--restored: in restored
// copies of one saved guest); comparisons are made of disjoint runs of them, two neighbours a block, which is A and which is B by coin.
// Promised: at most 1.5% called either way.
//
//   node test/bench/timing/wall.bench.mjs [--quick] [--restored] [--kernel K] [--from RUN_DIRECTORY]
//
// 264 boots give 208 comparisons (16 groups of 8 blocks, 13 metrics) and take about an hour; --from judges a run made before:
//   daxrig run timing/faults --param fs=ext4 --param level=pte --repeat 264 --no-snapshot --jobs 1 --out RUN_DIRECTORY
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compareAll } from '../../../dist/regress/index.js';
import { randomBits } from '../../../dist/run/compare.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, restored: { type: 'boolean', default: false }, kernel: { type: 'string' }, from: { type: 'string' } } });
const TIMES = values.quick ? 32 : 264;
const PROMISED = 0.015;

function runs() {
  if (values.from !== undefined) return JSON.parse(readFileSync(`${values.from}/run.json`, 'utf8')).results;
  const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
  const words = ['run', 'timing/faults', '--param', 'fs=ext4', '--param', 'level=pte', '--repeat', String(TIMES), '--jobs', '1', '--no-record', '--json', ...(values.restored ? [] : ['--no-snapshot'])];
  const { stdout, stderr } = spawnSync(process.execPath, [main, ...words, ...(values.kernel ? ['--kernel', values.kernel] : [])], { encoding: 'utf8', maxBuffer: 2 ** 30 });
  if (stdout !== '') return JSON.parse(stdout).results;
  console.error(stderr);
  process.exit(1);
}

const results = runs().filter(({ outcome }) => outcome === 'pass');
console.log(`${results.length} ${values.restored ? 'restored copies' : 'runs'} on ${results[0]?.kernel}: ${results[0]?.accel}`);
console.log('blocks x samples  comparisons  regressed  improved  unchanged  inconclusive  called    of families  median detectable');
let failed = results.length < 16;
for (const [blocks, samples] of [[8, 5], [8, Infinity], [16, 5], [16, Infinity]]) {
  const counts = { regressed: 0, improved: 0, unchanged: 0, inconclusive: 0 };
  const detectable = [];
  let families = 0;
  const coin = randomBits(7);
  for (let group = 0; (group + 1) * 2 * blocks <= results.length; group++) {
    const own = results.slice(group * 2 * blocks, (group + 1) * 2 * blocks);
    const firstIsB = Array.from({ length: blocks }, () => coin());
    const inputs = own[0].metrics.filter(({ unit }) => unit === 'ns').map(({ name }) => {
      const of = (at) => own[at].metrics.find((metric) => metric.name === name).samples.slice(0, samples);
      return { id: name, clock: 'wall', a: firstIsB.map((flip, i) => of(2 * i + (flip ? 1 : 0))), b: firstIsB.map((flip, i) => of(2 * i + (flip ? 0 : 1))) };
    });
    for (const input of inputs) {
      const [{ verdict, minimumDetectable }] = compareAll([input]);
      counts[verdict]++;
      detectable.push(minimumDetectable);
    }
    families += compareAll(inputs).filter(({ verdict }) => verdict === 'regressed' || verdict === 'improved').length;
  }
  const all = detectable.length;
  if (all === 0) continue;
  const called = (counts.regressed + counts.improved) / all;
  detectable.sort((a, b) => a - b);
  const cells = [`${blocks} x ${samples === Infinity ? 'all' : samples}`.padEnd(16), String(all).padStart(11), ...Object.values(counts).map((count, i) => String(count).padStart([9, 8, 9, 12][i])), `${(100 * called).toFixed(2)}%`.padStart(6), String(families).padStart(11), `${(100 * detectable[all >> 1]).toFixed(1)}%`.padStart(17)];
  console.log(cells.join('  '));
  // Of fewer comparisons a single one may be more than the share.
  failed ||= all >= 200 && called > PROMISED;
}
process.exitCode = failed ? 1 : 0;
