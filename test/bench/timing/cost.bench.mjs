// What measuring costs, inside a guest: the addon's timed loop against the same loop in C, and 200 faults with and without a sample of
// each. By counted instructions the figures are exact and judged (loop within 2%, samples under 5%); by wall clock they are shown.
//
//   node test/bench/timing/cost.bench.mjs [--kernel K] [--quick]
//
// The C loop is built with gcc -O2 -static; without a compiler this bench is skipped. On the host: test/bench/native/touch.bench.mjs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CASES } from './c-loop.mjs';

const { values } = parseArgs({ strict: false, options: { quick: { type: 'boolean', default: false }, kernel: { type: 'string' } } });
const LOOP = 1.02;
const SAMPLES = 1.05;
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'daxrig-cost-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const program = join(folder, 'touch');
const built = spawnSync('gcc', ['-O2', '-static', beside('../native/touch.c'), '-o', program], { encoding: 'utf8' });
if (built.status !== 0) {
  console.log(`skipped: gcc -static does not work here: ${built.error?.message ?? built.stderr.trim().split('\n').at(-1)}`);
  process.exit(0);
}

function measured(clock) {
  const words = ['run', 'bench/c-loop', '--load', beside('c-loop.mjs'), '--guest-file', `${program}:/run/daxrig/touch`, '--clock', clock, '--jobs', '1', '--no-record', '--json', '--out', join(folder, clock)];
  const { stdout, stderr } = spawnSync(process.execPath, [beside('../../../dist/cli/main.js'), ...words, ...(values.kernel ? ['--kernel', values.kernel] : [])], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const [result] = stdout === '' ? [] : JSON.parse(stdout).results;
  if (result?.outcome === 'pass') return result;
  console.error(result ? `${result.id}: ${result.outcome}: ${result.reason}` : stderr);
  process.exit(1);
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
let failed = false;
for (const clock of values.quick ? ['icount'] : ['icount', 'wall']) {
  const { kernel, metrics } = measured(clock);
  const of = (name) => median(metrics.find((metric) => metric.name === name).samples);
  const line = (name, from, to, limit) => {
    const ratio = to / from;
    const missed = clock === 'icount' && ratio > limit;
    failed ||= missed;
    console.log(`  ${name.padEnd(30)} ${String(Math.round(from)).padStart(12)} -> ${String(Math.round(to)).padStart(12)} ns  ${ratio.toFixed(4)}${clock === 'icount' ? `  ${missed ? 'FAILED' : 'ok'} (at most ${limit})` : ''}`);
  };
  console.log(`${clock} on ${kernel}: all accesses of a round, in C -> in the addon`);
  for (const { name } of CASES) line(name, of(`${name}, in C`), of(`${name}, in the addon`), LOOP);
  console.log(`${clock} on ${kernel}: 200 read faults of 4 KiB that the file system need not allocate for, without -> with samples`);
  line('samples', of('200 faults, not timed'), of('200 faults, timed'), SAMPLES);
}
process.exitCode = failed ? 1 : 0;
