// Options of every command that starts guests, and what such commands do with signals.
import type { Argv } from 'yargs';
import { UsageError } from '../errors.js';
import { killAllGuests } from '../guest/session.js';
import type { GuestOptions } from '../run/guests.js';
import { recordRun } from '../run/record.js';
import { defaultDatabase } from '../store/index.js';

export const guestOptions = <T>(yargs: Argv<T>) =>
  yargs
    .option('kernel', { type: 'string', array: true, default: [] as string[], describe: 'kernels for guests: release, image, build tree, .deb, or debian:SUITE[/VERSION]' })
    .option('modules', { type: 'string', describe: 'folder of the kernel\'s modules, when they are not beside it' })
    .option('layout', { type: 'string', array: true, nargs: 1, describe: 'guest memory layout by name (see "daxrig layouts"); repeatable: each kernel on each' })
    .option('memmap', { type: 'string', array: true, describe: 'pmem carved from guest RAM: nn[KMG]!ss[KMG]' })
    .option('guest-mem', { type: 'string', describe: 'guest RAM, for example 6G' })
    .option('guest-cpus', { type: 'number', describe: 'guest CPUs (default 2 under KVM, 1 under TCG)' })
    .option('numa', { type: 'number', describe: 'NUMA nodes of the guest' })
    .option('accel', { choices: ['auto', 'kvm', 'tcg'] as const, default: 'auto' as const, describe: 'QEMU accelerator; auto probes whether KVM really runs a guest' })
    .option('clock', { choices: ['wall', 'icount'] as const, default: 'wall' as const, describe: 'icount: instructions are the clock, and a run repeats to the bit' })
    .option('guest-file', { type: 'string', array: true, default: [] as string[], describe: 'SRC[:DST], copied into the guest (default /run/daxrig/NAME)' })
    .option('guest-setup', { type: 'string', describe: 'shell script run as root in the guest before its state is saved' })
    .option('append', { type: 'string', describe: 'more words for the guest kernel\'s command line' })
    .option('qemu', { type: 'string', describe: 'QEMU program to use' })
    .option('load', { type: 'string', array: true, nargs: 1, default: [] as string[], describe: 'file with workloads of your own (.mjs)' });

/** Of commands that end with a run directory. */
export const recordOptions = <T>(yargs: Argv<T>) =>
  yargs
    .option('record', { type: 'boolean', default: true, describe: 'record the run in the timings database; --no-record leaves it alone' })
    .option('db', { type: 'string', default: defaultDatabase(), defaultDescription: '$XDG_DATA_HOME/daxrig/timings.db', describe: 'database file' });

/** Records a finished run, unless told not to; trouble with the database is a line on stderr. */
export async function recordFinished(folder: string, { record, db }: { record: boolean; db: string }): Promise<void> {
  if (record) await recordRun(folder, db, (line) => void process.stderr.write(`daxrig: ${line}\n`));
}

type Optional<T> = { [Key in keyof T]: T[Key] | undefined };
type GuestArguments = Pick<GuestOptions, 'kernel' | 'accel' | 'clock' | 'guestFile' | 'load'> &
  Optional<Required<Pick<GuestOptions, 'modules' | 'layout' | 'memmap' | 'guestMem' | 'guestCpus' | 'numa' | 'guestSetup' | 'append' | 'qemu'>>>;

/** Only what GuestOptions knows: yargs adds each name in two spellings, and unset ones as undefined. */
export function readGuestOptions(args: GuestArguments): Omit<GuestOptions, 'snapshot' | 'jobs'> {
  const { kernel, accel, clock, guestFile, load } = args;
  const { modules, layout, memmap, guestMem, guestCpus, numa, guestSetup, append, qemu } = args;
  return { kernel, accel, clock, guestFile, load, ...defined({ modules, layout, memmap, guestMem, guestCpus, numa, guestSetup, append, qemu }) };
}

/** The properties that are set. */
export function defined<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}

export function wholeNumber(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && (!Number.isInteger(value) || value < least)) throw new UsageError(`--${name}: a whole number from ${least} up`);
}

/** One --seed. */
export function readSeed(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(seed)) throw new UsageError(`--seed ${text}: a whole number from 0 up`);
  return seed;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs `work` with a signal that Ctrl-C and its kin abort; guests end at once, the work winds up by itself. */
export async function untilSignal<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => {
    controller.abort();
    killAllGuests();
  };
  for (const name of SIGNALS) process.on(name, stop);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
  }
}
