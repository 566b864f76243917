// Counted instructions in real guests: how much the medians of fault metrics spread over fresh boots, what pairs of boots of one
// kernel are called, and whether one pair finds a fault path that was made about 1% longer on purpose (lengthen.sh).
//
//   node test/bench/timing/icount.bench.mjs [--quick] [--kernel K] [--fs ext4|xfs] [--level pte|pmd]
//
// Boots are made one after another (--no-snapshot), each with a seed of its own: random numbers differ from boot to boot.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SeriesCollector, judge } from '../../../dist/run/compare.js';
import { workloads } from '../../../dist/workload/index.js';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, kernel: { type: 'string' }, fs: { type: 'string', default: 'ext4' }, level: { type: 'string' } } });
const BOOTS = values.quick ? 3 : 21;
const LEVELS = values.level ? [values.level] : values.quick ? ['pte'] : ['pte', 'pmd'];
const main = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const lengthen = fileURLToPath(new URL('lengthen.sh', import.meta.url));
const SPREAD = 0.002;

// Any set-up changes the image and with it, by some instructions, every fault: so both sides have one, but for the function.
const folder = mkdtempSync(join(tmpdir(), 'daxrig-lengthen-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const unhurt = join(folder, 'lengthen.sh');
writeFileSync(unhurt, readFileSync(lengthen, 'utf8').replace('dax_iomap_fault:', 'kern_mount:'));

function boots(level, first, last, more = []) {
  const words = ['run', 'timing/faults', '--param', `fs=${values.fs}`, '--param', `level=${level}`, '--clock', 'icount', '--no-snapshot', '--no-record', '--jobs', '1', '--seeds', `${first}..${last}`, '--json'];
  const { stdout, stderr } = spawnSync(process.execPath, [main, ...words, ...(values.kernel ? ['--kernel', values.kernel] : []), ...more], { encoding: 'utf8', maxBuffer: 2 ** 30 });
  const results = stdout === '' ? [] : JSON.parse(stdout).results;
  const failed = results.find(({ outcome }) => outcome !== 'pass');
  if (failed || results.length === 0) {
    console.error(failed ? `${failed.id}: ${failed.outcome}: ${failed.reason}` : stderr);
    process.exit(1);
  }
  return results;
}

const median = (samples) => {
  const ascending = [...samples].sort((a, b) => a - b);
  return (ascending[(ascending.length - 1) >> 1] + ascending[ascending.length >> 1]) / 2;
};
function compared(a, b) {
  const collector = new SeriesCollector(workloads);
  collector.add('a', 0, a);
  collector.add('b', 0, b);
  return judge(collector.complete());
}
const percent = (share) => `${(100 * share).toFixed(3)}%`;

let failed = false;
const check = (fine, text) => {
  console.log(`${fine ? 'ok    ' : 'FAILED'} ${text}`);
  failed ||= !fine;
};

for (const level of LEVELS) {
  const plain = boots(level, 1, BOOTS);
  console.log(`\n${plain[0].id} on ${plain[0].kernel}, ${BOOTS} boots: medians, ns (instructions)`);
  let worst = 0;
  for (const { name, unit } of plain[0].metrics.filter((metric) => metric.unit === 'ns')) {
    const medians = plain.map(({ metrics }) => median(metrics.find((metric) => metric.name === name).samples));
    const [low, high] = [Math.min(...medians), Math.max(...medians)];
    worst = Math.max(worst, high / low - 1);
    console.log(`  ${name.padEnd(28)} ${low === high ? low : `${low} to ${high}`} ${unit}, spread ${percent(high / low - 1)}`);
  }
  check(worst <= SPREAD, `medians spread by at most ${percent(worst)} (promised: ${percent(SPREAD)})`);

  const pairs = plain.slice(1).map((b, i) => compared(plain[i], b));
  const called = pairs.flat().filter(({ verdict }) => verdict === 'regressed' || verdict === 'improved');
  check(called.length === 0, `${pairs.length} pairs of boots of one kernel: ${called.length} of ${pairs.flat().length} comparisons called`);

  const [long] = boots(level, BOOTS + 1, BOOTS + 1, ['--guest-setup', lengthen]);
  const [base] = boots(level, BOOTS + 2, BOOTS + 2, ['--guest-setup', unhurt]);
  const longer = compared(base, long).filter(({ unit }) => unit === 'ns');
  console.log('  one boot each, with a probe in the path:');
  for (const { metric, a, b, shift, verdict } of longer) console.log(`  ${metric.split(': ')[1].padEnd(28)} ${a} -> ${b}  ${percent(shift).padStart(8)}  ${verdict}`);
  const aim = longer.filter(({ shift }) => shift >= 0.0075 && shift < 0.02);
  const seen = aim.filter(({ verdict }) => verdict === 'regressed');
  check(aim.length > 0 && seen.length >= aim.length * 0.75, `of ${aim.length} metrics that became 0.75% to 2% longer, ${seen.length} were called regressed by one pair of boots`);
  check(!longer.some(({ verdict }) => verdict === 'improved'), 'nothing was called improved');
}
process.exitCode = failed ? 1 : 0;
