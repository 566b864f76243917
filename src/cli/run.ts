// daxrig run: the main job.
import fs from 'node:fs';
import path from 'node:path';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UsageError, codeOf } from '../errors.js';
import { FORMATS, parseFormat, type FormatRequest } from '../report/index.js';
import { TerminalObserver, summary } from '../report/terminal.js';
import { exitCodeOf } from '../run/result.js';
import { run, type RunOptions } from '../run/run.js';
import { notYet } from './planned.js';

const builder = (yargs: Argv) =>
  yargs
    .positional('names', { type: 'string', array: true, default: [], describe: 'workloads to run, by name or glob; default: all' })
    .option('target', { choices: ['auto', 'guest', 'local'] as const, default: 'auto' as const, describe: 'where: a QEMU guest, or this machine (auto: local when --device is given)' })
    .option('device', { type: 'string', array: true, default: [], describe: 'local: /dev/daxX.Y, or a folder on a DAX mount' })
    .option('destroy-data', { type: 'string', array: true, default: [], describe: 'names again what of --device may be overwritten' })
    .option('kernel', { type: 'string', array: true, default: [], describe: 'kernels for guests: release, image, build tree, .deb, or debian:SUITE[/VERSION]' })
    .option('modules', { type: 'string', describe: 'folder of the kernel\'s modules, when they are not beside it' })
    .option('layout', { type: 'string', describe: 'guest memory layout by name (see "daxrig layouts")' })
    .option('memmap', { type: 'string', array: true, describe: 'pmem carved from guest RAM: nn[KMG]!ss[KMG]' })
    .option('guest-mem', { type: 'string', describe: 'guest RAM, for example 6G' })
    .option('guest-cpus', { type: 'number', describe: 'guest CPUs (default 2; 1 with --clock icount)' })
    .option('numa', { type: 'number', describe: 'NUMA nodes of the guest' })
    .option('accel', { choices: ['auto', 'kvm', 'tcg'] as const, default: 'auto' as const, describe: 'QEMU accelerator; auto probes whether KVM really runs a guest' })
    .option('clock', { choices: ['wall', 'icount'] as const, default: 'wall' as const, describe: 'icount: instructions are the clock, and a run repeats to the bit' })
    .option('seed', { type: 'string', default: '1', describe: 'seed of everything chosen at random' })
    .option('repeat', { type: 'number', default: 1, describe: 'times each instance is run' })
    .option('jobs', { type: 'number', describe: 'guests side by side (default: by cores and free memory)' })
    .option('timeout', { type: 'number', describe: 'seconds that one workload may take' })
    .option('guest-file', { type: 'string', array: true, default: [], describe: 'SRC[:DST], copied into the guest (default /run/daxrig/NAME)' })
    .option('guest-setup', { type: 'string', describe: 'shell script run as root in the guest before its state is saved' })
    .option('append', { type: 'string', describe: 'more words for the guest kernel\'s command line' })
    .option('qemu', { type: 'string', describe: 'QEMU program to use' })
    .option('snapshot', { type: 'boolean', default: true, describe: 'restore a saved guest for each workload; --no-snapshot boots each time' })
    .option('load', { type: 'string', array: true, default: [], describe: 'file with workloads of your own (.mjs)' })
    .option('param', { type: 'string', array: true, default: [], describe: 'only instances with KEY=VALUE[,VALUE], for example fs=xfs' })
    .option('out', { type: 'string', describe: 'run directory (default: one below the state folder)' })
    .option('format', { type: 'string', array: true, default: [], describe: 'report: text, ktap or junit, NAME[=FILE]; repeatable' })
    .option('bisect', { type: 'boolean', default: false, describe: 'exit 0, 1, or 125 for everything else, as git bisect run expects' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example('$0 run', 'everything, in guests of this Debian\'s newest kernel')
    .example("$0 run 'fsdax/*' --kernel debian:trixie", 'some, on another kernel')
    .example('$0 run --target local --device /dev/dax0.0 --destroy-data /dev/dax0.0', 'on real memory')
    .example('git bisect run daxrig run fsdax/poison --kernel . --bisect', 'find the commit');

type RunArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

async function handler(args: RunArguments): Promise<void> {
  if (process.argv.includes('--seeds')) notYet('--seeds');
  if (process.argv.includes('--coverage')) notYet('--coverage');
  if (process.argv.includes('--gdb')) notYet('--gdb');
  const formats = args.format.map(parseFormat);
  const toStdout = formats.filter(({ format, file }) => file === undefined && format !== 'text');
  if (args.json && toStdout.length > 0) throw new UsageError(`--json and --format ${toStdout[0]!.format} both want stdout; give the report a file: --format ${toStdout[0]!.format}=FILE`);
  if (toStdout.length > 1) throw new UsageError('two reports on stdout; give one of them a file: --format NAME=FILE');
  checkWritable(formats);
  const options = readOptions(args);

  const human = args.json || toStdout.length > 0 ? process.stderr : process.stdout;
  const observer = new TerminalObserver(human);
  if (args.kernel.length > 1 || args.kernel.some((spec) => spec.includes('*')) || args.device.length > 1) observer.showLabels();
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
  const started = Date.now();
  const document = await run(options, { observer, progress: (text) => observer.note(text), signal: controller.signal });
  observer.done();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(name, stop);

  for (const { format, file } of formats) {
    if (format === 'text') continue;
    const text = FORMATS[format]!(document);
    if (file === undefined) process.stdout.write(text);
    else fs.writeFileSync(file, text);
  }
  if (args.json) process.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
  human.write(`${summary(document, (Date.now() - started) / 1000)}\n`);
  const code = exitCodeOf(document.totals, args.bisect);
  // What a Ctrl-C left undone is lost, whatever the rest came to.
  process.exitCode = controller.signal.aborted && code !== 1 ? (args.bisect ? 125 : 3) : code;
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

function whole(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && (!Number.isInteger(value) || value < least)) throw new UsageError(`--${name}: a whole number from ${least} up`);
}

function readOptions(args: RunArguments): RunOptions {
  whole('repeat', args.repeat, 1);
  whole('jobs', args.jobs, 1);
  if (args.timeout !== undefined && !(args.timeout > 0)) throw new UsageError('--timeout: a number of seconds above 0');
  const seed = Number(args.seed);
  if (!/^\d+$/.test(args.seed) || !Number.isSafeInteger(seed)) throw new UsageError(`--seed ${args.seed}: a whole number from 0 up`);
  return { ...pickOptions(args), seed, command: process.argv.slice(2) };
}

/** Only what RunOptions knows: yargs adds each name in two spellings. */
function pickOptions(args: RunArguments): Omit<RunOptions, 'seed' | 'command'> {
  const { names, target, device, destroyData, kernel, accel, clock, repeat, guestFile, load, param, snapshot } = args;
  const optional = { modules: args.modules, layout: args.layout, memmap: args.memmap, guestMem: args.guestMem, guestCpus: args.guestCpus, numa: args.numa, jobs: args.jobs, timeout: args.timeout, guestSetup: args.guestSetup, append: args.append, qemu: args.qemu, out: args.out };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)) as { [Key in keyof typeof optional]?: NonNullable<(typeof optional)[Key]> };
  return { names, target, device, destroyData, kernel, accel, clock, repeat, guestFile, load, param, snapshot, ...given };
}

export const command: CommandModule<object, RunArguments> = {
  command: 'run [names..]',
  describe: 'run workloads and judge the kernel',
  builder: builder as CommandModule<object, RunArguments>['builder'] & object,
  handler,
};
