// The main job: from what the user asked for to a run directory and an exit code.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { identifyDevice, type LocalDevice } from '../device/local.js';
import { devdaxGeometry } from '../device/provision.js';
import { UsageError } from '../errors.js';
import type { FunctionsByModule } from '../measure/coverage.js';
import { programRoot } from '../paths.js';
import { joinCoverage } from '../report/coverage.js';
import { machineFacts } from '../store/environment.js';
import { RunDirectory } from '../store/rundir.js';
import { formatSize } from '../units.js';
import { bootTarget, defaultJobs, hazardsOf, makeTarget, resolveGuests, type GuestOptions } from './guests.js';
import { loadWorkloads } from './load.js';
import { LocalTarget } from './local-target.js';
import { applyProfile, configChanges, readProfile, saveProfile } from './profile.js';
import { chooseWorkloads, parseParam, plan, quickOnes, takesEachOnce, type Extent, type PlannedInstance } from './plan.js';
import { inParallel } from './pool.js';
import { totalsOf, type ParamValue } from './result.js';
import { RUN_SCHEMA, notRun, runAll, type RunDocument, type RunObserver, type WorkItem } from './runner.js';
import type { Target } from './target.js';

export interface RunOptions extends GuestOptions {
  names: string[];
  target: 'auto' | 'guest' | 'local';
  device: string[];
  destroyData: string[];
  /** One fresh copy of each instance for each seed. */
  seeds: number[];
  repeat: number;
  /** Stop the only instance before it runs, for a debugger. */
  gdb: boolean;
  timeout?: number;
  out?: string;
  param: string[];
  /** How much of the chosen workloads: --quick, --thorough, or what they take by default. */
  extent: Extent;
  /** Bytes of a device that workloads cover which look at it place by place; they have their own default. */
  span?: number;
  /** Use, or save, the guest's set-up under this name. */
  profile?: string;
  /** Names of the options that were given, not left at their defaults: a profile does not change those. */
  given: ReadonlySet<string>;
}

export interface RunSurroundings {
  observer: RunObserver;
  /** One line about what is being prepared. */
  progress: (text: string) => void;
  signal: AbortSignal;
}

/** Runs, and gives the finished document. Throws UsageError before anything was started when the input is wrong. */
export async function run(options: RunOptions, { observer, progress, signal }: RunSurroundings): Promise<RunDocument> {
  const named = chooseWorkloads(await loadWorkloads(options.load), options.names);
  const chosen = options.extent === 'quick' ? quickOnes(named) : named;
  const only = new Map(options.param.map(parseParam));
  const local = options.target === 'local' || (options.target === 'auto' && options.device.length > 0);
  if (!local && options.device.length > 0) throw new UsageError('--device names real memory of this machine; with it, leave --target guest out');
  if (local && options.kernel.length > 0) throw new UsageError('--kernel is for guests; a local target runs on the kernel of this machine');

  const instances = planned(options, chosen, only);
  if (options.gdb) expectOne(instances.length * options.seeds.length * options.repeat);
  // Made before the long preparations, so that a folder that cannot be written is known first; taken back if they fail.
  const directory = RunDirectory.create(options.out);
  const prepared = await (async () => {
    try {
      return local ? prepareLocal(options, chosen, only) : await prepareGuests(options, instances, progress);
    } catch (error) {
      directory.abandon();
      throw error;
    }
  })();
  const document = newDocument(directory);
  directory.save(document);
  try {
    const targets = await prepared.boot(directory, document);
    const items: WorkItem[] = [];
    for (const { target, instances } of targets)
      for (const instance of instances) for (const seed of options.seeds) for (let round = 0; round < options.repeat; round++) items.push({ instance, target, seed });
    try {
      if (!signal.aborted) await runAll(items, { directory, document, observer, signal, jobs: options.gdb ? 1 : prepared.jobs, gdb: options.gdb, ...(options.timeout === undefined ? {} : { timeout: options.timeout }) });
    } finally {
      // The next run boots anew: what troubled this boot may have been the machine's doing, not the kernel's.
      for (const discard of prepared.suspects) await discard();
    }
    if (signal.aborted) document.run.interrupted = true;
    document.totals = totalsOf(document.results);
    if (options.coverage) document.coverage = joinCoverage(document.results, prepared.coverable());
    document.run.endedAt = new Date().toISOString();
    directory.save(document);
    return document;
  } finally {
    directory.close();
  }
}

/** The document of a run that begins now. */
export function newDocument(directory: RunDirectory): RunDocument {
  return {
    schema: RUN_SCHEMA,
    run: {
      id: directory.id,
      startedAt: new Date().toISOString(),
      folder: directory.folder,
      version: version(),
      command: process.argv.slice(2),
      host: { ...machineFacts(), kernel: os.release(), cpu: os.cpus()[0]?.model ?? '', cpus: os.cpus().length, memory: os.totalmem(), node: process.version },
      guests: [],
    },
    results: [],
    totals: totalsOf([]),
  };
}

export function version(): string {
  return (JSON.parse(fs.readFileSync(path.join(programRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

interface Prepared {
  jobs: number;
  /** Saved guests whose boot was not clean: forgotten after the run. */
  suspects: (() => Promise<void>)[];
  /** Functions whose coverage can be collected, by kernel: known once the guests are up. */
  coverable(): Map<string, FunctionsByModule[]>;
  /** Brings the targets up; a target that does not come up leaves its result in the document. */
  boot(directory: RunDirectory, document: RunDocument): Promise<{ target: Target; instances: PlannedInstance[] }[]>;
}

function prepareLocal(options: RunOptions, chosen: ReturnType<typeof chooseWorkloads>, only: Map<string, string[]>): Prepared {
  for (const name of ['layout', 'memmap', 'guestMem', 'append', 'guestSetup'] as const)
    if (options[name] !== undefined) throw new UsageError(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is for guests, not for --target local`);
  if (options.clock === 'icount') throw new UsageError('--clock icount counts instructions of a guest; a local target has the wall clock only');
  const devices = options.device.map((given) => ({ given, device: identifyDevice(given) }));
  for (const { given, device } of devices) {
    const named = options.destroyData.some((name) => fs.existsSync(name) && fs.realpathSync(name) === device.path);
    if (!named) throw new UsageError(`--device ${given}: workloads overwrite it; say so by --destroy-data ${given}`);
  }
  for (const name of options.destroyData)
    if (!devices.some(({ device }) => fs.existsSync(name) && fs.realpathSync(name) === device.path)) throw new UsageError(`--destroy-data ${name}: is not named by --device`);
  const targets = (devices.length > 0 ? devices : [undefined]).map((entry) => ({
    target: new LocalTarget({ device: entry?.device.path, load: options.load, thorough: options.extent === 'thorough', coverage: options.coverage ?? false, ...spanOf(options) }),
    instances: planned(options, chosen, only, entry ? factsOf(entry.device) : {}),
  }));
  // One after another: instances share the machine's kernel log and the device.
  return { jobs: 1, suspects: [], coverable: () => new Map(), boot: () => Promise.resolve(targets) };
}

/** The instances of a run: `fixed` is what a device of the user's has already decided. */
const planned = ({ names, param, extent, seeds, repeat }: RunOptions, chosen: ReturnType<typeof chooseWorkloads>, only: Map<string, string[]>, fixed: Record<string, ParamValue> = {}): PlannedInstance[] =>
  plan(chosen, { only, fixed, extent, eachOnce: takesEachOnce(names, param, extent) }).map((instance) => ({ ...instance, alone: extent !== 'quick' && seeds.length * repeat === 1 && names.includes(instance.workload.name) }));

/** Throws UsageError: there is one debugger. */
function expectOne(runs: number): void {
  if (runs !== 1) throw new UsageError(`--gdb stops one instance, and ${runs} are chosen; narrow them by name and --param`);
}

const spanOf = ({ span }: RunOptions): { span?: number } => (span === undefined ? {} : { span });

/** Parameters that a device of the user's has already decided. */
function factsOf(device: LocalDevice): Record<string, ParamValue> {
  if (device.kind !== 'devdax') return { fs: device.fs, map: 'as found' };
  return { map: 'as found', align: formatSize(devdaxGeometry(device.path).align) };
}

async function prepareGuests(asked: RunOptions, instances: PlannedInstance[], progress: (text: string) => void): Promise<Prepared> {
  const profile = asked.profile === undefined ? undefined : readProfile(asked.profile);
  const options = profile ? applyProfile(asked, profile, asked.given) : asked;
  const guests = await resolveGuests(options, progress);
  if (profile) configChanges(profile, guests).forEach(progress);
  else if (asked.profile !== undefined) progress(`profile ${asked.profile} saved as ${saveProfile(asked.profile, options, guests)}`);
  const runs = instances.length * options.seeds.length * options.repeat * guests.cells.length;
  if (options.gdb) expectOne(runs);
  const jobs = options.jobs ?? defaultJobs(guests, runs);
  const suspects: Prepared['suspects'] = [];
  const coverable = new Map<string, FunctionsByModule[]>();
  const boot = async (directory: RunDirectory, document: RunDocument): Promise<{ target: Target; instances: PlannedInstance[] }[]> => {
    const ready: { target: Target; instances: PlannedInstance[] }[] = [];
    const boots = await inParallel(guests.cells, jobs, async (cell) => {
      for (const { severity, message } of hazardsOf(cell)) if (severity !== 'info') progress(`${cell.layout.name} on ${cell.kernel.release}: ${severity}: ${message}`);
      const target = await makeTarget(guests, cell, progress, { thorough: options.extent === 'thorough', instances, ...spanOf(options) });
      return { cell, target, report: await bootTarget(guests, cell, target, directory) };
    });
    for (const { cell, target, report } of boots) {
      const { guest, trouble, cameUp } = report;
      document.run.guests.push(guest);
      if (report.coverable) coverable.set(cell.kernel.release, [...(coverable.get(cell.kernel.release) ?? []), report.coverable]);
      if (trouble) suspects.push(() => target.discard());
      // The boot itself is a result where it did not go well: the workloads that could not run are not hidden by it.
      // A guest that came up judges its boot itself, where kernel/boot is among the workloads.
      if (trouble && !(cameUp && instances.some(({ workload }) => workload.name === 'kernel/boot'))) {
        const { outcome, reason, ...more } = trouble;
        const result = { id: 'kernel/boot', workload: 'kernel/boot', params: {}, seed: 0, ...notRun(outcome, reason, cell.kernel.release), layout: cell.layout.name, ...more };
        document.results.push(result);
        document.totals = totalsOf(document.results);
        directory.event({ type: 'result', result });
      }
      if (cameUp) ready.push({ target, instances });
    }
    directory.save(document);
    return ready;
  };
  return { jobs, suspects, coverable: () => coverable, boot };
}
