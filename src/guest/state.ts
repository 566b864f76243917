// Saved guests: one boot per (kernel, image, layout, machine) to the point where the agent waits for a job; then
// every workload runs in a copy restored from it. RAM stays in a file that copies map copy-on-write, so a copy costs
// only what it changes; QEMU's stream holds the devices alone (capability x-ignore-shared).
import fs from 'node:fs';
import path from 'node:path';
import { legacyPmem, parseIomem, softReserved, systemRam, type Resource } from '../kernel/iomem.js';
import { parseKernelLog } from '../kernel/klog.js';
import { BrokenError, DaxrigError, messageOf } from '../errors.js';
import { GiB, hex, parseSize, roundDown, roundUp } from '../units.js';
import { cacheRoot, cached, digestOf, evict } from './cache.js';
import type { FunctionsByModule } from '../measure/coverage.js';
import type { GuestImage } from './image.js';
import { expectedPmem, ramRanges, type PhysicalRange } from './layout.js';
import { checkHostMemory, machineKey, ramFiles, type GuestConfig, type GuestFiles } from './qemu.js';
import { RamInMemory, type ByteRange, type FileStamps } from './ram.js';
import { Session } from './session.js';

/** What the agent says of the guest it woke up in. */
export interface GuestFacts {
  release: string;
  cmdline: string;
  /** /proc/iomem. */
  iomem: string;
  node: string;
  /** Seconds since the kernel's start. */
  uptime: number;
  modulesFailed?: string[];
  /** Functions whose coverage this guest can collect, where that was asked for. */
  coverable?: FunctionsByModule;
}

export interface SavedState {
  /** Holds its RAM files and `state`. */
  folder: string;
  facts: GuestFacts;
  /** What the boot printed. */
  console: string;
  sharedRam: boolean;
  /** Of its first RAM file, what holds nothing that anybody reads again. */
  unused?: ByteRange;
  /** Made now, not taken from the cache. */
  fresh: boolean;
  /** Seconds it took to boot and to save, when fresh. */
  bootSeconds: number;
  /** Seconds of its boot in which the host had no CPU for it: pauses up to that long may be the host's. */
  hostWait: number;
}

interface Meta {
  facts: GuestFacts;
  sharedRam: boolean;
  bootSeconds: number;
  hostWait: number;
  /** A state that something wrote to afterwards is not used. */
  files: FileStamps;
}

/** A guest did not come up; `console` is what it printed, for the kernel's log to be judged. */
export class BootError extends DaxrigError {
  override name = 'BootError';
  constructor(
    message: string,
    readonly console: string,
    /** The kernel's own complaint that explains it: then the failure is the kernel's, not the harness's. */
    readonly kernelTitle: string | undefined,
  ) {
    super(message, 3);
  }
}

/** Deadlines of a boot's stages, seconds under TCG on a busy machine: generous, they only end what hangs. */
const STAGES: { reached: string; seconds: number; waitingFor: string }[] = [
  { reached: 'userspace', seconds: 120, waitingFor: 'user space (the kernel is booting)' },
  { reached: 'modules', seconds: 120, waitingFor: 'its modules to be loaded' },
  { reached: 'ready', seconds: 120, waitingFor: 'the agent to be ready' },
];

/** Drives a starting guest to its ready agent. Throws BootError saying at which stage it stopped, and why. */
export async function waitReady(session: Session, config: GuestConfig): Promise<GuestFacts> {
  const modulesFailed: string[] = [];
  const fail = async (why: string): Promise<never> => {
    await session.close();
    const console = session.console();
    const complaint = parseKernelLog(console).findings.find(({ kind }) => kind !== 'boot-stall' && kind !== 'taint');
    const last = console.trimEnd().split('\n').slice(-3).map((line) => line.trim()).join(' | ').slice(-300);
    throw new BootError(`guest ${config.kernel.release}: ${complaint ? `${complaint.title} (${why})` : `${why}; console ends: ${last || '(nothing printed)'}`}`, console, complaint?.title);
  };
  for (const { reached, seconds, waitingFor } of STAGES) {
    const started = Date.now() - session.starved();
    for (;;) {
      const left = (): number => started + session.starved() + seconds * 1000 - Date.now();
      const received = await session.next(Math.max(0, left()));
      if (received.kind === 'timeout' && left() > 0) continue;
      if (received.kind === 'timeout') return fail(`no sign of ${waitingFor} within ${seconds} s${session.console() === '' ? '; the kernel printed nothing' : ''}`);
      if (received.kind === 'end') {
        const { end } = received;
        return fail(`QEMU ended (${end.reason ?? end.signal ?? `status ${end.code}`}) while waiting for ${waitingFor}${end.stderr ? `: ${end.stderr.split('\n')[0]}` : ''}`);
      }
      const { message } = received;
      if (message.type === 'module-failed') modulesFailed.push(String(message.module));
      if (message.type === 'setup-failed') return fail(`--guest-setup ended with status ${String(message.status)}`);
      if (message.type === 'agent-error') return fail(`the agent failed: ${String(message.message)}`);
      if (message.type === 'agent-exit') return fail(`the agent ended with status ${String(message.status)}`);
      if (message.type === 'ready') {
        const facts = { ...(message.facts as GuestFacts), ...(modulesFailed.length > 0 ? { modulesFailed } : {}) };
        checkFacts(facts, config);
        return facts;
      }
      if (message.type === 'stage' && message.stage === reached) break;
    }
  }
  return fail('the agent never said that it is ready');
}

/** A booted guest must have the pmem and the soft-reserved memory that its layout promises; a disagreement says what differs. */
function checkFacts(facts: GuestFacts, config: GuestConfig): void {
  const disagree = (what: string, wanted: readonly string[], found: readonly string[]): never => {
    throw new BrokenError(`guest ${config.kernel.release}: layout ${config.layout.name} should give ${what} at ${wanted.join(', ') || '(none)'}, /proc/iomem has ${found.join(', ') || '(none)'}`);
  };
  const show = ({ start, end }: PhysicalRange): string => `${hex(start)}-${hex(end - 1)}`;
  const tree = parseIomem(facts.iomem);
  const inTree = (resources: readonly Resource[]): string[] => resources.map(({ start, end }) => show({ start, end: end + 1 }));
  const wanted = expectedPmem(config.layout)?.map(show);
  const found = inTree(legacyPmem(tree));
  if (wanted && (wanted.some((range) => !found.includes(range)) || found.some((range) => !wanted.includes(range)))) disagree('pmem', wanted, found);
  // Kernels since 7.0 list soft-reserved memory only when dax_hmem takes it: until then it must be nobody's RAM.
  const { softReserved: reserved } = config.layout;
  const listed = inTree(softReserved(tree));
  const ram = systemRam(tree).filter(({ start, end }) => reserved.some((range) => start < range.end && end >= range.start));
  if (ram.length > 0) disagree('soft-reserved memory', reserved.map(show), inTree(ram));
  if (listed.length > 0 && reserved.some((range) => !listed.includes(show(range)))) disagree('soft-reserved memory', reserved.map(show), listed);
}

/** Bytes that saved states may take on disk before the least recently used go. */
function stateLimit(): number {
  return process.env.DAXRIG_STATE_LIMIT ? parseSize(process.env.DAXRIG_STATE_LIMIT, 'DAXRIG_STATE_LIMIT') : 8 * GiB;
}

export function stateKey(config: GuestConfig, image: GuestImage): string {
  return digestOf(machineKey(config), config.kernel.digest, image.digest, String(config.boot ?? 0));
}

const stateFolder = (config: GuestConfig, image: GuestImage): string => path.join(cacheRoot(), 'states', stateKey(config, image));

/** Whether the cache has a state for this configuration that can be used. */
export const hasSavedState = (config: GuestConfig, image: GuestImage): boolean => damage(stateFolder(config, image)) === undefined;

export interface Booted {
  state: SavedState;
  /**
   * A guest that booted now is usable while its memory is still on the way to the cache: `kept` is the state there, and
   * `release` lets go of the memory once no copy is being restored from `state` any more. Absent: `state` is in the cache.
   */
  pending?: { kept: Promise<SavedState>; release(): void };
}

/** The saved state for a configuration: from the cache when it is whole, else booted now. */
export async function savedState(config: GuestConfig, image: GuestImage, progress: (text: string) => void): Promise<Booted> {
  const key = stateKey(config, image);
  const existing = stateFolder(config, image);
  if (fs.existsSync(existing) && damage(existing) !== undefined) {
    progress(`saved state ${key} ${damage(existing)}: booting it again`);
    discardState(existing);
  }
  return new Promise<Booted>((resolve, reject) => {
    const fromCache = cached('states', key, async (folder) => {
      checkHostMemory(config.layout);
      progress(`booting ${config.kernel.release} (${config.layout.name}, ${config.clock})`);
      const started = Date.now();
      const memory = new RamInMemory(config.layout);
      let lent = false;
      try {
        const { unused, ...facts } = await bootToReady(config, folder, memory);
        const bootSeconds = (Date.now() - started) / 1000;
        const early = memory.lend(path.join(folder, 'state'), facts.sharedRam);
        lent = true;
        resolve({
          state: { ...facts, ...(unused ? { unused } : {}), folder: early, console: fs.readFileSync(path.join(folder, 'console.log'), 'utf8'), fresh: true, bootSeconds },
          pending: { kept: fromCache.then((whole) => inCache(whole, true)), release: () => memory.release() },
        });
        const files = await memory.copyTo(folder, facts.sharedRam, unused);
        fs.writeFileSync(path.join(folder, 'meta.json'), JSON.stringify({ ...facts, bootSeconds, files }));
      } catch (error) {
        // Once lent, it serves this process to its end, kept or not.
        if (!lent) memory.release();
        throw error;
      }
    });
    fromCache.then((folder) => {
      evict('states', stateLimit(), folder);
      resolve({ state: inCache(folder, false) });
    }, reject);
  });
}

function inCache(folder: string, fresh: boolean): SavedState {
  const { files: _, ...meta } = readMeta(folder);
  return { ...meta, folder, console: fs.readFileSync(path.join(folder, 'console.log'), 'utf8'), fresh };
}

export const readMeta = (folder: string): Meta => JSON.parse(fs.readFileSync(path.join(folder, 'meta.json'), 'utf8')) as Meta;

export function discardState(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Why a cached state cannot be used, or undefined. */
export function damage(folder: string): string | undefined {
  try {
    for (const [name, { size, mtimeMs }] of Object.entries(readMeta(folder).files)) {
      const stat = fs.statSync(path.join(folder, name));
      if (stat.size !== size || stat.mtimeMs !== mtimeMs) return `was changed after it was saved (${name})`;
    }
    return undefined;
  } catch (error) {
    return `is damaged (${messageOf(error).split('\n')[0]})`;
  }
}

/** Boots to the ready agent, and has QEMU write the devices' state to `folder`/state. */
async function bootToReady(config: GuestConfig, folder: string, memory: RamInMemory): Promise<Omit<Meta, 'bootSeconds' | 'files'> & { unused: ByteRange | undefined }> {
  const files: GuestFiles = {
    console: path.join(folder, 'console.log'),
    events: path.join(folder, 'events'),
    job: path.join(folder, 'job'),
    ram: folder,
  };
  const session = await Session.start(config, files, { kind: 'boot', ram: 'shared' }, { ramFds: memory.fds });
  try {
    const sharedRam = await shareRam(session);
    const facts = await waitReady(session, config);
    // Counted instructions do not pass while the host is busy.
    const hostWait = config.clock === 'icount' ? 0 : session.starved() / 1000;
    await save(session, path.join(folder, 'state'));
    fs.rmSync(files.events, { force: true });
    return { facts, sharedRam, hostWait, unused: sharedRam ? initrdRange(config, session.console()) : undefined };
  } finally {
    session.killNow(); // it is stopped: nothing more comes from it, and its end takes a while
  }
}

/**
 * Where the initramfs lies in a guest's only RAM file. The kernel has unpacked it and keeps its memory reserved
 * (retain_initrd): nobody reads it again, and a state without it is smaller by a fifth.
 */
function initrdRange(config: GuestConfig, console: string): ByteRange | undefined {
  const match = /RAMDISK: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]/.exec(console);
  if (!match || ramFiles(config.layout).ram.length !== 1 || !/retain_initrd/.test(console)) return undefined;
  const start = roundUp(parseInt(match[1]!, 16), 4096);
  const end = roundDown(parseInt(match[2]!, 16) + 1, 4096);
  // Only RAM below the PCI hole lies in the file as it does in the guest.
  return end <= ramRanges(config.layout.memory)[0]!.end && end > start ? { start, end } : undefined;
}

/** Leaves shared RAM out of the stream where this QEMU can; otherwise the stream carries it, and is larger. */
async function shareRam(session: Session): Promise<boolean> {
  try {
    await session.qmp.call('migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: true }] });
    return true;
  } catch (error) {
    if (error instanceof BrokenError && /x-ignore-shared|does not accept|Invalid parameter/.test(error.message)) return false;
    throw error;
  }
}

const shellQuote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Stops a guest, and writes what is not in shared RAM to `file`. */
export async function save(session: Session, file: string): Promise<void> {
  await session.qmp.call('stop');
  await session.qmp.call('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 }).catch(() => {});
  await session.qmp.call('migrate', { uri: `exec:cat > ${shellQuote(file)}` });
  for (;;) {
    const { status, 'error-desc': why } = await session.qmp.call<{ status?: string; 'error-desc'?: string }>('query-migrate');
    if (status === 'completed') return;
    if (status === 'failed' || status === 'cancelled') throw new BrokenError(`QEMU could not save the guest: ${why ?? status}`);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}

export interface RestoreOptions {
  /** More QEMU arguments. */
  more?: readonly string[];
  /** The copy's RAM, already filled: shared with this process, so that the copy can be saved again. */
  memory?: RamInMemory;
}

/** A fresh copy of a saved guest, stopped just before it reads its job; `resume` lets it run. */
export async function restore(config: GuestConfig, state: SavedState, files: Omit<GuestFiles, 'ram'>, job: unknown, { more = [], memory }: RestoreOptions = {}): Promise<Session> {
  const ram = memory ? 'shared' : state.sharedRam ? 'copied' : 'own';
  const session = await Session.start(config, { ...files, ram: state.folder }, { kind: 'restore', ram }, { job, more, ...(memory ? { ramFds: memory.fds } : {}) });
  try {
    if (state.sharedRam) await session.qmp.call('migrate-set-capabilities', { capabilities: [{ capability: 'x-ignore-shared', state: true }] });
    await session.qmp.call('migrate-incoming', { uri: `exec:cat ${shellQuote(path.join(state.folder, 'state'))}` });
    for (;;) {
      const { status } = await session.qmp.call<{ status: string }>('query-status');
      if (status === 'paused' || status === 'postmigrate') break;
      if (status !== 'inmigrate') throw new BrokenError(`QEMU could not restore the guest: it is ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return session;
  } catch (error) {
    const { stderr } = await session.close();
    throw new RestoreError(`saved state ${path.basename(state.folder)} could not be restored: ${stderr.split('\n')[0] || messageOf(error)}`, { cause: error });
  }
}

/** A saved state that QEMU does not take: to be thrown away and made again. */
export class RestoreError extends BrokenError {
  override name = 'RestoreError';
}

export const resume = (session: Session): Promise<unknown> => session.qmp.call('cont');
