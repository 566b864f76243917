// Runs each instance in a fresh copy of a saved guest, and decides what its end means once the console is complete.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { messageOf } from '../errors.js';
import type { GuestJob } from '../guest/agent.js';
import { impossibleFlags } from '../guest/emulation.js';
import { touch } from '../guest/cache.js';
import type { GuestImage } from '../guest/image.js';
import { prepareGuest, type PreparedGuest } from '../guest/prepare.js';
import type { GuestConfig, GuestFiles } from '../guest/qemu.js';
import { Session, type GuestEnd } from '../guest/session.js';
import { RestoreError, discardState, restore, resume, savedState, waitReady, type Booted, type SavedState } from '../guest/state.js';
import { isComplaint, parseKernelLog, type Finding } from '../kernel/klog.js';
import { notNow } from './execute.js';
import { lackOf } from './needs.js';
import type { PlannedInstance } from './plan.js';
import { PreparedGuests } from './prepared-guests.js';
import type { InstanceEvent, InstanceResult } from './result.js';
import { THOROUGH_FACTOR, takesItsTime, type InstanceOptions, type Target, type TargetResult } from './target.js';

/** Seconds an instance may take unless it or --timeout says otherwise. */
const DEFAULT_TIMEOUT = 60;
/** Counting instructions costs about 1.7 times the time (one vCPU, no parallel translation). */
const ICOUNT_FACTOR = 3;

export interface GuestTargetOptions {
  config: GuestConfig;
  image: GuestImage;
  accelWhy: string;
  /** Files of --load, as the guest sees them. */
  load: string[];
  /** False: boot for every instance instead of restoring. */
  snapshot: boolean;
  /** Workloads take the time that it takes. */
  thorough: boolean;
  /** --span, bytes. */
  span?: number;
  /** The user's script has been run in the guest. */
  ownSetup: boolean;
  progress: (text: string) => void;
}

type InstanceFiles = Omit<GuestFiles, 'ram'>;

export class GuestTarget implements Target {
  readonly kernel: string;
  readonly label: string;
  readonly #options: GuestTargetOptions;
  #state: Promise<SavedState> | undefined;
  /** Ends when the state of a boot is in the cache. */
  #kept: Promise<void> | undefined;
  /** Copies that are being restored, from whichever state was there when they began. */
  readonly #starting = new Set<Promise<unknown>>();
  readonly #prepared: PreparedGuests;
  /** Copies that have served and are on their way out. */
  readonly #ending = new Set<Promise<GuestEnd>>();

  constructor(options: GuestTargetOptions) {
    this.#options = options;
    this.#prepared = new PreparedGuests(options.config.layout.nvdimms.length === 0);
    this.kernel = options.config.kernel.release;
    this.label = `${this.kernel} ${options.config.layout.name}`;
  }

  /** The saved guest, made at most once; every instance of this target runs from it. */
  prepare(): Promise<SavedState> {
    return (this.#state ??= this.#boot());
  }

  async #boot(): Promise<SavedState> {
    const { config, image, progress } = this.#options;
    const { state, pending } = await savedState(config, image, progress);
    if (pending) this.#kept = this.#keep(pending);
    return state;
  }

  /** Once the state is in the cache, new copies are restored from there, and the boot's memory is given back. */
  async #keep({ kept, release }: NonNullable<Booted['pending']>): Promise<void> {
    try {
      this.#state = Promise.resolve(await kept);
    } catch (error) {
      // The guest in memory is as good as it was; only the next run has to boot again.
      this.#options.progress(`the state of ${this.label} could not be kept: ${messageOf(error)}`);
      return;
    }
    await Promise.allSettled(this.#starting);
    release();
  }

  /** Forgets the saved guest: it was one boot of several, and has served. */
  async discard(): Promise<void> {
    await this.#kept;
    const state = await this.#state?.catch(() => undefined);
    if (state) discardState(state.folder);
    this.#state = undefined;
  }

  async run(instance: PlannedInstance, options: InstanceOptions): Promise<TargetResult> {
    const started = Date.now();
    const { config, accelWhy } = this.#options;
    const about = { kernel: this.kernel, layout: config.layout.name, accel: `${config.accel} (${accelWhy})`, clock: config.clock };
    const lacking = this.#lackOf(instance);
    if (lacking !== undefined) return { ...empty('skip', lacking), ...about, seconds: 0 };
    const console = `console-${options.file}.log`;
    const files = { console: path.join(options.folder, console), events: path.join(options.folder, `.events-${options.file}`), job: path.join(options.folder, `.job-${options.file}`) };
    const judged = await this.#attempt(instance, options, files);
    const digest = config.clock === 'icount' ? crypto.createHash('sha256').update(fs.readFileSync(files.events)).update(fs.readFileSync(files.console)).digest('hex').slice(0, 32) : undefined;
    fs.rmSync(files.events, { force: true });
    return {
      ...judged,
      ...about,
      seconds: (Date.now() - started) / 1000,
      console,
      ...(digest === undefined ? {} : { digest }),
    };
  }

  /** Announces instances to come: those that ask for the same place are given guests in which it has been made. */
  expect(instances: readonly PlannedInstance[]): void {
    const { config, snapshot } = this.#options;
    // Counted runs repeat an instance alone as it went among others; coverage is of what leads to a place, too.
    if (snapshot && config.clock === 'wall' && !config.coverage) this.#prepared.expect(instances.filter((instance) => this.#lackOf(instance) === undefined));
  }

  #lackOf({ workload }: PlannedInstance): string | undefined {
    const { config, ownSetup } = this.#options;
    return lackOf({ ...config, ownSetup }, workload);
  }

  async #attempt(instance: PlannedInstance, options: InstanceOptions, files: InstanceFiles): Promise<InstanceResult> {
    let session: Session;
    try {
      const starting = this.#start(instance, options, files);
      this.#starting.add(starting);
      const started = await starting.finally(() => this.#starting.delete(starting));
      if (!(started instanceof Session)) return started;
      session = started;
    } catch (error) {
      return empty('broken', messageOf(error));
    }
    try {
      return notTheEmulator((await this.#follow(session, instance, options)) ?? empty('broken', 'the guest prepared for a job that it had not'), instance);
    } finally {
      const ending = session.close();
      this.#ending.add(ending);
      void ending.finally(() => this.#ending.delete(ending));
      // Freeing its memory takes the kernel a tenth of a second, which the next copy need not wait for. A counted run's digest
      // is of all that it wrote.
      if (this.#options.config.clock === 'icount') await ending;
    }
  }

  async #follow(session: Session, instance: PlannedInstance, options: InstanceOptions): Promise<InstanceResult | undefined> {
    const stop = (): void => session.killNow();
    options.signal.addEventListener('abort', stop);
    try {
      return await listen(session, instance, options, this.#limit(instance, options));
    } finally {
      options.signal.removeEventListener('abort', stop);
    }
  }

  async settled(): Promise<void> {
    await this.#prepared.close();
    await Promise.all(this.#ending);
  }

  /** A copy that runs, with the job in its hands, or the result of an instance whose place could not be made. */
  async #start(instance: PlannedInstance, options: InstanceOptions, files: InstanceFiles): Promise<Session | InstanceResult> {
    const { config, snapshot } = this.#options;
    const job = this.#job(instance, options);
    if (!snapshot) {
      // Of a run of many boots, other runs would evict the image as one that nobody uses any more.
      touch(path.dirname(config.initramfs));
      const session = await Session.start(config, { ...files, ram: options.folder }, { kind: 'boot', ram: 'own' }, { job });
      try {
        await waitReady(session, config);
      } catch (error) {
        await session.close();
        throw error;
      }
      return session;
    }
    const base = await this.prepare();
    job.hostWait = base.hostWait;
    if (options.gdb) return this.#restored((state) => this.#debug(state, files, job, options));
    let instead: InstanceResult | undefined;
    const prepare = async (): Promise<PreparedGuest | undefined> => {
      if (!base.sharedRam) return undefined;
      try {
        const prepared = await this.#restored((state) => prepareGuest(config, state, files, { ...job, prepare: true }, (session) => this.#follow(session, instance, options)));
        if (!('instead' in prepared)) return prepared;
        instead = prepared.instead;
      } catch (error) {
        this.#options.progress(`${this.label}: no guest could be prepared for ${instance.id} and others (${messageOf(error)}); each prepares its own`);
      }
      return undefined;
    };
    const started = await this.#prepared.start(instance, prepare, (state) => running(restore(config, state, files, job)));
    return started ?? instead ?? this.#restored((state) => running(restore(config, state, files, job)));
  }

  /** What `use` makes of the saved guest; one that QEMU refuses is made anew, once. */
  async #restored<T>(use: (state: SavedState) => Promise<T>): Promise<T> {
    const state = await this.prepare();
    try {
      return await use(state);
    } catch (error) {
      if (!(error instanceof RestoreError)) throw error;
      this.#options.progress(`${error.message}; booting it again`);
      discardState(state.folder);
      this.#state = undefined;
      return use(await this.prepare());
    }
  }

  /** A copy that waits for a debugger: gdb's "continue" lets it run. */
  async #debug(state: SavedState, files: InstanceFiles, job: GuestJob, options: InstanceOptions): Promise<Session> {
    const { config } = this.#options;
    const socket = path.join(options.folder, '.gdb');
    const session = await restore(config, state, files, job, { more: ['-gdb', `unix:${socket},server=on,wait=off`] });
    void session.ended.then(() => fs.rmSync(socket, { force: true }));
    const symbols = config.kernel.symbols ?? config.kernel.image;
    options.note?.(`stopped before ${job.id}; in another terminal:\n  gdb ${symbols} -ex 'target remote ${socket}'${config.kernel.symbols ? '' : '\n(this vmlinux has no symbols; a build tree or a debug package has)'}\n"continue" in gdb runs the workload; Ctrl-C here ends the guest`);
    return session;
  }

  #job(instance: PlannedInstance, options: InstanceOptions): GuestJob {
    const { seed, profile } = options;
    const { config, load, span } = this.#options;
    const counted = config.clock === 'icount';
    const limit = this.#limit(instance, options);
    const kconfig = config.kernel.config?.match(/^CONFIG_\w+(?==[ym])/gm)?.map((line) => line.slice('CONFIG_'.length));
    const asked = instance.workload.needs.kconfig ?? [];
    return {
      id: instance.id,
      workload: instance.workload.name,
      params: instance.params,
      seed,
      clock: config.clock,
      target: { kind: 'namespace' },
      load,
      thorough: this.#takesItsTime(instance),
      ...(counted || !Number.isFinite(limit) ? {} : { limit }),
      ...(span === undefined ? {} : { span }),
      ...(config.coverage ? { coverage: true } : {}),
      ...(profile ? { profile } : {}),
      ...(kconfig ? { kconfig: kconfig.filter((option) => asked.includes(option)) } : {}),
      // Under icount all randomness follows from the seed; by wall clock every copy is its own.
      entropy: counted ? crypto.createHash('sha256').update(`daxrig seed ${seed}`).digest('hex') : crypto.randomBytes(32).toString('hex'),
      ...(counted ? {} : { now: (BigInt(Date.now()) * 1_000_000n).toString() }),
    };
  }

  #limit(instance: PlannedInstance, options: InstanceOptions): number {
    if (options.gdb) return Infinity;
    if (options.timeout !== undefined) return options.timeout;
    const counted = this.#options.config.clock === 'icount';
    return (instance.workload.timeout ?? DEFAULT_TIMEOUT) * (counted ? ICOUNT_FACTOR : 1) * (this.#takesItsTime(instance) ? THOROUGH_FACTOR : 1);
  }

  #takesItsTime(instance: PlannedInstance): boolean {
    const { config, thorough } = this.#options;
    return takesItsTime(instance, { thorough, clock: config.clock });
  }
}

async function running(starting: Promise<Session>): Promise<Session> {
  const session = await starting;
  await resume(session);
  return session;
}

/** Seconds without a word, after which a guest whose kernel has complained is not waited for any longer: it failed either way. */
const SILENCE = 15;

/** Follows a running copy to the instance's result, to its end, or, with undefined, to where it is prepared. */
async function listen(session: Session, instance: PlannedInstance, options: InstanceOptions, limit: number): Promise<InstanceResult | undefined> {
  const now = (): number => Date.now() - session.starved();
  const started = now();
  const left = (): number => started + limit * 1000 - now();
  let step = 'before the workload started';
  let said = started;
  for (;;) {
    const received = await session.next(Math.max(0, Math.min(left(), SILENCE * 1000)));
    if (options.signal.aborted) return empty('lost', 'interrupted');
    if (received.kind === 'timeout') {
      if (left() <= 0) return hung(session, instance, `no result within ${limit} s; last step: ${step}`);
      const silent = Math.round((now() - said) / 1000);
      if (!options.gdb && silent >= SILENCE && worst(consoleFindings(session).findings, instance)) return hung(session, instance, `no sign of life for ${silent} s; last step: ${step}`);
      continue;
    }
    said = now();
    if (received.kind === 'end') return vanished(session, received.end, step, instance);
    const { message } = received;
    if (message.type === 'prepared') return undefined;
    if (message.type === 'agent-exit' || message.type === 'agent-error') {
      const why = message.type === 'agent-error' ? `the agent failed: ${String(message.message)}` : `the agent ended (${exitWord(Number(message.status))}) at: ${step}`;
      return explained(session, instance, why);
    }
    const event = message as unknown as InstanceEvent;
    if (event.type === 'step') step = event.text;
    if (event.type === 'result') return event.result;
    options.onEvent(event);
  }
}

/** A shell's status: 128 and the signal's number for a process that a signal ended. */
const exitWord = (status: number): string => (status > 128 ? `signal ${status - 128}` : `status ${status}`);

const empty = (outcome: InstanceResult['outcome'], reason: string): InstanceResult => ({ outcome, reason, findings: [], metrics: [], evidence: {}, injected: 0, log: [] });

/** The guest ended by itself: a complaint on its console makes it the kernel's failure, silence makes it lost. */
function vanished(session: Session, end: GuestEnd, step: string, instance: PlannedInstance): Promise<InstanceResult> {
  const how = end.reason === 'guest-shutdown' ? 'the guest powered off' : end.reason === 'guest-reset' ? 'the guest restarted' : `QEMU ended (${end.signal ?? `status ${end.code}`}${end.stderr ? `: ${end.stderr.split('\n')[0]}` : ''})`;
  return explained(session, instance, `${how} at: ${step}`);
}

/** Waits until the console says no more, then decides between fail (the kernel complained) and lost (it did not). */
async function explained(session: Session, instance: PlannedInstance, why: string): Promise<InstanceResult> {
  await settle(session);
  await session.close();
  const { findings, log } = consoleFindings(session);
  const complaint = worst(findings, instance);
  if (!complaint) return { ...empty('lost', `${why}; the console does not say why`), findings, log };
  return notTheEmulator({ ...empty('fail', `${complaint.title} (${why})`), findings, log, detail: complaint.excerpt }, instance);
}

/** The result, or that it broke, where the kernel went down with flags that the emulator must have lost. */
function notTheEmulator(result: InstanceResult, instance: PlannedInstance): InstanceResult {
  const complaint = result.outcome === 'fail' ? worst(result.findings, instance) : undefined;
  const flags = complaint && impossibleFlags(complaint.excerpt);
  if (flags === undefined) return result;
  return { ...result, outcome: 'broken', reason: `${complaint!.title}, with EFLAGS ${flags}, which no x86 CPU can have: the emulator lost them, not the kernel; run it with another seed, or with QEMU 8.0 or newer (${result.reason})` };
}

/** A panic speaks for the reports before it; otherwise the first complaint is the cause of the others. */
function worst(findings: readonly Finding[], instance: PlannedInstance): Finding | undefined {
  return findings.find((finding) => isComplaint(finding, notNow(instance.workload.expectsLog)));
}

/** Waits until the console has not grown for a while: an oops takes a moment to print. */
async function settle(session: Session): Promise<void> {
  for (let quiet = 0, before = -1; quiet < 3; ) {
    const size = session.console().length;
    quiet = size === before ? quiet + 1 : 0;
    before = size;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A hang is the kernel's failure: its blocked tasks are asked for and kept. */
async function hung(session: Session, instance: PlannedInstance, why: string): Promise<InstanceResult> {
  let before = '';
  let blocked = '';
  try {
    before = session.console();
    await session.printBlockedTasks();
    blocked = session.console().slice(before.length).trim();
  } catch (error) {
    blocked = `(blocked tasks could not be asked for: ${messageOf(error)})`;
  }
  await session.close();
  // What sysrq printed was asked for: only what came before it is a complaint.
  const { findings } = parseKernelLog(before);
  const complaint = worst(findings, instance);
  const where = blockedFunction(blocked);
  const reason = [complaint?.title, `${why}${where === undefined ? '' : `; blocked in ${where}`}`].filter(Boolean).join(' (') + (complaint ? ')' : '');
  return { ...empty('fail', reason), findings, log: before.split('\n'), detail: blocked };
}

/** The first function of the first blocked task's stack, past the scheduler's own. */
function blockedFunction(text: string): string | undefined {
  const task = /task:(\S+)\s+state:D/.exec(text);
  if (!task) return undefined;
  const stack = [...text.slice(task.index).matchAll(/^\[[^\]]*\]\s+(?:\[[^\]]*\]\s+)?([\w.]+)\+0x/gm)].map((match) => match[1]!);
  const named = stack.find((name) => !/^(__)?(schedule|schedule_\w+|io_schedule|rwsem_\w+|(__)?percpu_\w+|__mutex_lock.*|mutex_lock.*|wait_for_\w+|context_switch)/.test(name));
  return named === undefined ? task[1] : `${named} (${task[1]})`;
}

function consoleFindings(session: Session): { findings: Finding[]; log: string[] } {
  const text = session.console();
  return { findings: parseKernelLog(text).findings, log: text.split(/\r?\n/).filter(Boolean) };
}

