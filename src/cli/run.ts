// daxrig run: the main job.
import fs from 'node:fs';
import path from 'node:path';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UsageError, codeOf } from '../errors.js';
import { parseSize } from '../units.js';
import { coverageText } from '../report/coverage.js';
import { FORMATS, parseFormat, type FormatRequest } from '../report/index.js';
import { TerminalObserver, mediansText, summary } from '../report/terminal.js';
import { couldBeName } from '../run/plan.js';
import { exitCodeOf } from '../run/result.js';
import { run, type RunOptions } from '../run/run.js';
import { defined, guestOptions, readGuestOptions, readSeed, recordFinished, recordOptions, untilSignal, wholeNumber } from './guest-options.js';

const builder = (yargs: Argv) =>
  recordOptions(guestOptions(yargs))
    .positional('names', { type: 'string', array: true, default: [] as string[], describe: 'workloads to run, by name or glob, with all their parameters\' values; default: every workload, each value once' })
    .option('target', { choices: ['auto', 'guest', 'local'] as const, default: 'auto' as const, describe: 'where: a QEMU guest, or this machine (auto: local when --device is given)' })
    .option('device', { type: 'string', array: true, default: [] as string[], describe: 'local: /dev/daxX.Y, or a folder on a DAX mount' })
    .option('destroy-data', { type: 'string', array: true, default: [] as string[], describe: 'names again what of --device may be overwritten' })
    .option('seed', { type: 'string', describe: 'seed of everything chosen at random (default 1)' })
    .option('seeds', { type: 'string', describe: 'A..B: one fresh copy of each instance for each seed' })
    .conflicts('seeds', 'seed')
    .option('quick', { type: 'boolean', default: false, describe: 'the core alone: what ndctl\'s dax.sh stands for, in some seconds' })
    .option('thorough', { type: 'boolean', default: false, describe: 'every value of every parameter, and races to their full length on one CPU too (as those named alone are)' })
    .option('span', { type: 'string', describe: 'bytes of a device that is covered place by place, spread over all of it, whatever its size (default 6M)' })
    .option('profile', { type: 'string', describe: 'run the set-up saved under this name, or save this one: kernel, configuration, layout, command line' })
    .option('gdb', { type: 'boolean', default: false, describe: 'stop the one chosen instance before it runs, and print how to attach gdb' })
    .option('coverage', { type: 'boolean', default: false, describe: 'list the kernel\'s DAX functions that ran, by the function tracer' })
    .option('repeat', { type: 'number', default: 1, describe: 'times each instance is run' })
    .option('jobs', { type: 'number', describe: 'guests side by side (default: by cores, one more when emulated, and by free memory)' })
    .option('timeout', { type: 'number', describe: 'seconds that one workload may take' })
    .option('snapshot', { type: 'boolean', default: true, describe: 'restore a saved guest for each workload; --no-snapshot boots each time' })
    .option('param', { type: 'string', array: true, nargs: 1, default: [] as string[], describe: 'only instances with KEY=VALUE[,VALUE], for example fs=xfs' })
    .option('out', { type: 'string', describe: 'run directory (default: one below the state folder)' })
    .option('format', { type: 'string', array: true, default: [] as string[], describe: 'report: text, ktap or junit, NAME[=FILE]; repeatable' })
    .option('medians', { type: 'boolean', describe: 'a table with the median of every metric (default: with --clock icount)' })
    .option('bisect', { type: 'boolean', default: false, describe: 'exit 0, 1, or 125 for everything else, as git bisect run expects' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example('$0 run', 'everything, in guests of this Debian\'s newest kernel')
    .example("$0 run 'fsdax/*' --kernel debian:trixie", 'some, on another kernel')
    .example('$0 run --quick', 'the core, while you wait')
    .example('$0 run --target local --device /dev/dax0.0 --destroy-data /dev/dax0.0', 'on real memory')
    .example('git bisect run daxrig run fsdax/poison --kernel . --bisect', 'find the commit');

type RunArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

async function handler(given: RunArguments): Promise<void> {
  const args = giveNamesBack(given);
  if (args.db === '') throw new UsageError('--db: name a file');
  const formats = args.format.map(parseFormat);
  const toStdout = formats.filter(({ format, file }) => file === undefined && format !== 'text');
  if (args.json && toStdout.length > 0) throw new UsageError(`--json and --format ${toStdout[0]!.format} both want stdout; give the report a file: --format ${toStdout[0]!.format}=FILE`);
  if (toStdout.length > 1) throw new UsageError('two reports on stdout; give one of them a file: --format NAME=FILE');
  checkWritable(formats);
  const options = readOptions(args);

  const human = args.json || toStdout.length > 0 ? process.stderr : process.stdout;
  const observer = new TerminalObserver(human);
  if (args.kernel.length > 1 || args.kernel.some((spec) => spec.includes('*')) || args.device.length > 1 || (args.layout ?? []).length > 1) observer.showLabels();
  if (options.seeds.length > 1) observer.showSeeds();
  const started = Date.now();
  let interrupted = false;
  const document = await untilSignal(async (signal) => {
    signal.addEventListener('abort', () => (interrupted = true));
    return run(options, { observer, progress: (text) => observer.note(text), signal });
  });
  observer.done();
  await recordFinished(document.run.folder, args);

  for (const { format, file } of formats) {
    if (format === 'text') continue;
    const text = FORMATS[format]!(document);
    if (file === undefined) process.stdout.write(text);
    else fs.writeFileSync(file, text);
  }
  if (args.json) process.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
  if (document.coverage) human.write(`\n${coverageText(document.coverage)}\n`);
  if (args.medians ?? args.clock === 'icount') human.write(`\n${mediansText(document)}\n`);
  human.write(`${summary(document, (Date.now() - started) / 1000)}\n`);
  const code = exitCodeOf(document.totals, args.bisect);
  // What a Ctrl-C left undone is lost, whatever the rest came to.
  process.exitCode = interrupted && code !== 1 ? (args.bisect ? 125 : 3) : code;
}

/** A report that cannot be written is found out before an hour of work, not after it. */
function checkWritable(formats: readonly FormatRequest[]): void {
  for (const { format, file } of formats) {
    if (file === undefined) continue;
    const folder = path.dirname(path.resolve(file));
    try {
      fs.accessSync(fs.existsSync(file) ? file : folder, fs.constants.W_OK);
    } catch (error) {
      throw new UsageError(`--format ${format}=${file}: cannot be written (${codeOf(error)})`);
    }
  }
}

/** Options named on the command line, as camelCase. */
function givenOptions(): Set<string> {
  return new Set(process.argv.flatMap((word) => (word.startsWith('--') ? [word.slice(2).split('=')[0]!.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())] : [])));
}

/** --seeds A..B, at most a million. */
function readSeeds(text: string): number[] {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || to < from || to - from >= 1e6) throw new UsageError(`--seeds ${text}: write A..B with A not above B, for example 1..1000`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** Names of workloads that stand behind an option of several values belong to the run, as in `--kernel debian:trixie 'fsdax/*'`. */
function giveNamesBack(args: RunArguments): RunArguments {
  const back: string[] = [];
  const kept = (words: string[]): string[] => words.filter((word) => !couldBeName(word) || !back.push(word));
  const { kernel, device, destroyData, guestFile, memmap, format } = args;
  const given = { kernel: kept(kernel), device: kept(device), destroyData: kept(destroyData), guestFile: kept(guestFile), format: kept(format), ...(memmap ? { memmap: kept(memmap) } : {}) };
  return { ...args, ...given, names: [...args.names, ...back] };
}

function readOptions(args: RunArguments): RunOptions {
  wholeNumber('repeat', args.repeat, 1);
  wholeNumber('jobs', args.jobs, 1);
  if (args.timeout !== undefined && !(args.timeout > 0)) throw new UsageError('--timeout: a number of seconds above 0');
  const seeds = args.seeds === undefined ? [readSeed(args.seed ?? '1')] : readSeeds(args.seeds);
  const { names, target, device, destroyData, repeat, param, snapshot, gdb, coverage } = args;
  if (gdb && !snapshot) throw new UsageError('--gdb stops a restored copy; leave --no-snapshot out');
  const { jobs, timeout, out, profile } = args;
  const span = args.span === undefined ? undefined : parseSize(args.span, '--span');
  if (span === 0) throw new UsageError('--span: a size above 0');
  if (args.quick && args.thorough) throw new UsageError('--quick and --thorough: one or the other');
  const extent = args.quick ? 'quick' : args.thorough ? 'thorough' : 'default';
  return { ...readGuestOptions(args), names, target, device, destroyData, repeat, param, extent, snapshot, seeds, gdb, coverage, ...defined({ jobs, timeout, out, profile, span }), given: givenOptions() };
}

export const command: CommandModule<object, RunArguments> = {
  command: 'run [names..]',
  describe: 'run workloads and judge the kernel',
  builder: builder as CommandModule<object, RunArguments>['builder'] & object,
  handler,
};
