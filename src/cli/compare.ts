// daxrig compare: did the kernel get slower?
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UsageError } from '../errors.js';
import { resolveGuests } from '../run/guests.js';
import { UNBOUNDED } from '../regress/index.js';
import { TerminalObserver } from '../report/terminal.js';
import type { Difference } from '../measure/profile.js';
import { compareKernels, compareRuns, type ComparableRun, type Distribution, type MetricComparison } from '../run/compare.js';
import { loadWorkloads } from '../run/load.js';
import { chooseWorkloads, parseParam, plan } from '../run/plan.js';
import { newDocument } from '../run/run.js';
import type { RunDocument } from '../run/runner.js';
import { RunDirectory } from '../store/rundir.js';
import { DamagedRun, readSoundDocument } from '../store/runfile.js';
import { guestOptions, readGuestOptions, readSeed, recordFinished, recordOptions, untilSignal, wholeNumber } from './guest-options.js';

const builder = (yargs: Argv) =>
  recordOptions(guestOptions(yargs))
    .positional('runs', { type: 'string', array: true, default: [] as string[], describe: 'two run directories; or name two kernels by --kernel' })
    .option('only', { type: 'string', array: true, default: [] as string[], describe: 'workloads to measure, by name or glob; default: all that have metrics' })
    .option('param', { type: 'string', array: true, nargs: 1, default: [] as string[], describe: 'only instances with KEY=VALUE[,VALUE]' })
    .option('blocks', { type: 'number', describe: 'boots of each kernel (default: 16 by wall clock, 2 when instructions are counted)' })
    .option('until-settled', { type: 'boolean', default: false, describe: 'add blocks until each verdict is settled (at most 60)' })
    .option('delta', { type: 'number', describe: 'largest shift that still counts as unchanged, percent (default 3 wall, 0.5 icount)' })
    .option('seed', { type: 'string', default: '1', describe: 'seed of the order of boots and of the workloads' })
    .option('timeout', { type: 'number', describe: 'seconds that one workload may take' })
    .option('out', { type: 'string', describe: 'run directory' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example('$0 compare --kernel debian:bullseye --kernel debian:bookworm --clock icount', 'to the instruction, two boots each')
    .example('$0 compare ~/runs/before ~/runs/after', 'two run directories');

type CompareArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

function readRun(folder: string): ComparableRun {
  try {
    return readSoundDocument(folder) as ComparableRun;
  } catch (error) {
    if (!(error instanceof DamagedRun)) throw error;
    throw new UsageError(`${folder}: ${error.message}; name the directory of a finished run`, { cause: error });
  }
}

async function handler(args: CompareArguments): Promise<void> {
  if (args.db === '') throw new UsageError('--db: name a file');
  if (args.delta !== undefined && !(args.delta > 0 && args.delta < 100)) throw new UsageError('--delta: a percentage above 0 and below 100');
  const delta = args.delta === undefined ? undefined : args.delta / 100;
  wholeNumber('blocks', args.blocks, 1);
  const all = await loadWorkloads(args.load);
  if (args.runs.length > 0) {
    if (args.runs.length !== 2) throw new UsageError(`compare takes two run directories; ${args.runs.length} named`);
    if (args.kernel.length > 0) throw new UsageError('compare takes two run directories, or two kernels by --kernel, not both');
    return show(compareRuns(readRun(args.runs[0]!), readRun(args.runs[1]!), all, delta), args.json, undefined);
  }
  if (args.kernel.length === 0) throw new UsageError('compare needs two run directories, or two kernels by --kernel');
  const seed = readSeed(args.seed);
  const chosen = chooseWorkloads(all, args.only.length > 0 ? args.only : ['*']).filter(({ metrics }) => (metrics ?? []).length > 0);
  if (chosen.length === 0) throw new UsageError('none of the chosen workloads measures anything; see "daxrig workloads"');
  const instances = plan(chosen, { only: new Map(args.param.map(parseParam)) });

  const human = args.json ? process.stderr : process.stdout;
  const observer = new TerminalObserver(human);
  observer.showLabels();
  const progress = (text: string): void => observer.note(text);
  const guests = await resolveGuests({ ...readGuestOptions(args), snapshot: true }, progress);
  if (guests.kernels.length !== 2) throw new UsageError(`compare takes two different kernels; --kernel named ${guests.kernels.length}`);
  const directory = RunDirectory.create(args.out);
  const document = newDocument(directory);
  const blocks = args.blocks ?? (args.clock === 'icount' ? 2 : 16);
  const comparisons = await untilSignal((signal) =>
    compareKernels({
      guests, instances, workloads: all, blocks, seed, directory, document, observer, progress, signal,
      ...(args.untilSettled ? { untilSettled: 60 } : {}),
      ...(delta === undefined ? {} : { delta }),
      ...(args.timeout === undefined ? {} : { timeout: args.timeout }),
    }),
  );
  observer.done();
  document.run.endedAt = new Date().toISOString();
  directory.save({ ...document, comparison: comparisons });
  directory.close();
  await recordFinished(directory.folder, args);
  show(comparisons, args.json, document);
}

const percent = (fraction: number): string => (Math.abs(fraction) >= UNBOUNDED ? '?' : `${fraction >= 0 ? '+' : ''}${(100 * fraction).toFixed(2)}%`);
const value = (number: number): string => (number >= 100 ? number.toFixed(0) : number.toPrecision(3));

/** How the samples of both sides of a regression lie. */
function distributionText({ metric, unit }: MetricComparison, { a, b }: { a: Distribution; b: Distribution }): string {
  const line = (side: string, { n, least, q1, median, q3, greatest }: Distribution): string => `  ${side}  ${[least, q1, median, q3, greatest].map(value).join('  ')} ${unit}, ${n} samples`;
  return `\n${metric}: least, quartiles, greatest\n${line('A', a)}\n${line('B', b)}\n`;
}

/** Kernel functions behind a regression; what makes less than a hundredth of it is in the JSON only. */
function whyText({ metric, unit, a, b }: MetricComparison, why: readonly Difference[]): string {
  const signed = (number: number): string => `${number >= 0 ? '+' : ''}${number.toFixed(0)}`;
  const calls = ({ callsA, callsB }: Difference): string => (callsA === callsB ? `${callsA} call${callsA === 1 ? '' : 's'}` : `${Number(callsA.toFixed(2))} -> ${Number(callsB.toFixed(2))} calls`);
  const rows = why.filter((one) => Math.abs(one.b - one.a) >= Math.abs(b - a) / 100).map((one) => `  ${signed(one.b - one.a).padStart(7)} ${unit}  ${one.function.padEnd(36)} ${one.a.toFixed(0)} -> ${one.b.toFixed(0)}, ${calls(one)}`);
  return rows.length === 0 ? '' : `\n${metric}: ${signed(b - a)} ${unit}, in the functions themselves\n${rows.join('\n')}\n`;
}

function show(comparisons: readonly MetricComparison[], json: boolean, document: RunDocument | undefined): void {
  const failed = document?.results.filter(({ outcome }) => !['pass', 'skip', 'xfail'].includes(outcome)) ?? [];
  if (json) process.stdout.write(`${JSON.stringify({ metrics: comparisons, ...(document ? { run: document.run, totals: document.totals } : {}) }, null, 1)}\n`);
  else {
    const rows = comparisons.map(({ metric, unit, a, b, shift, ci, verdict, minimumDetectable, exact, moreBlocks }) => [
      verdict, metric, `${value(a)} -> ${value(b)} ${unit}`, percent(shift), exact ? 'exact' : `[${percent(ci[0])}, ${percent(ci[1])}]`,
      `sees ${percent(minimumDetectable).replace('+', '')}${moreBlocks === undefined ? '' : `, ${moreBlocks} more blocks would settle it`}`,
    ]);
    const widths = [0, 1, 2, 3, 4].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
    process.stdout.write('\n');
    for (const row of rows) process.stdout.write(`${row.map((cell, i) => (i < 5 ? cell.padEnd(widths[i]!) : cell)).join('  ')}\n`);
    for (const comparison of comparisons) {
      if (comparison.distributions) process.stdout.write(distributionText(comparison, comparison.distributions));
      if (comparison.why) process.stdout.write(whyText(comparison, comparison.why));
    }
    const count = (verdict: string): number => comparisons.filter((comparison) => comparison.verdict === verdict).length;
    process.stdout.write(`\n${['regressed', 'improved', 'unchanged', 'inconclusive'].map((verdict) => `${count(verdict)} ${verdict}`).join(', ')}\n`);
    if (document) process.stdout.write(`results: ${document.run.folder}\n`);
  }
  for (const { id, kernel, outcome, reason } of failed) process.stderr.write(`daxrig: ${outcome}: ${id} on ${kernel}: ${reason ?? ''}\n`);
  const regressed = comparisons.some(({ verdict }) => verdict === 'regressed');
  process.exitCode = regressed || failed.some(({ outcome }) => outcome === 'fail') ? 1 : failed.length > 0 ? 3 : comparisons.length === 0 ? 4 : 0;
}

export const command: CommandModule<object, CompareArguments> = {
  command: 'compare [runs..]',
  describe: 'interleaved comparison of two kernels, or of two run directories',
  builder: builder as CommandModule<object, CompareArguments>['builder'] & object,
  handler,
};
