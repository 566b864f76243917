// One QEMU process: started, listened to, asked by QMP, ended. Events, console and control are separate channels.
// How a guest ended is judged by the caller, from the session's facts, after the console's last byte is in.
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { BrokenError } from '../errors.js';
import { qemuArgs, jobBlock, type GuestConfig, type GuestFiles, type GuestStart } from './qemu.js';
import { Qmp } from './qmp.js';
import { Tail } from './tail.js';

/** A line on the events channel. */
export interface GuestMessage {
  type: string;
  [field: string]: unknown;
}

export interface GuestEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** QEMU's own word for why: guest-shutdown, guest-reset (a panic restarts), host-qmp-quit, host-signal. */
  reason?: string;
  /** What QEMU wrote to stderr. */
  stderr: string;
}

export type Received = { kind: 'message'; message: GuestMessage } | { kind: 'timeout' } | { kind: 'end'; end: GuestEnd };

export interface SessionOptions {
  job?: unknown;
  /** More QEMU arguments. */
  more?: readonly string[];
  ramFds?: readonly number[];
}

const living = new Set<Session>();

/** Kills every guest of this process at once; for the way out after a signal. */
export function killAllGuests(): void {
  for (const session of living) session.killNow();
}

export class Session {
  readonly files: GuestFiles;
  readonly qmp: Qmp;
  readonly ended: Promise<GuestEnd>;
  readonly #child: ChildProcess;
  readonly #tail: Tail;
  readonly #queue: GuestMessage[] = [];
  #partial = '';
  #end: GuestEnd | undefined;
  /** Lines on the events channel that are no JSON: the guest wrote over itself. */
  readonly garbled: string[] = [];

  private constructor(child: ChildProcess, files: GuestFiles) {
    this.#child = child;
    this.files = files;
    this.qmp = new Qmp(child.stdout!, child.stdin!);
    this.#tail = new Tail(files.events);
    let stderr = '';
    let reason: string | undefined;
    child.stderr!.on('data', (chunk: Buffer) => {
      if (stderr.length < 64 * 1024) stderr += chunk.toString();
    });
    this.qmp.on('event', ({ event, data }) => {
      if (event === 'SHUTDOWN' || event === 'RESET') reason = String(data?.reason ?? event);
    });
    this.ended = new Promise((resolve) => {
      const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
        living.delete(this);
        this.#take(this.#tail.read()); // its last words
        this.#tail.close();
        this.#end = { code, signal, stderr: stderr.trim(), ...(reason === undefined ? {} : { reason }) };
        resolve(this.#end);
      };
      child.once('close', finish);
      child.once('error', (error) => {
        stderr += error.message;
        finish(null, null);
      });
    });
    living.add(this);
  }

  /**
   * Starts QEMU; resolves when its monitor answers. `ramFds` are the open files of a boot with shared RAM, in the order
   * of ramFiles(). Throws BrokenError with QEMU's own words when it does not start.
   */
  static async start(config: GuestConfig, files: GuestFiles, start: GuestStart, { job, more = [], ramFds = [] }: SessionOptions = {}): Promise<Session> {
    fs.writeFileSync(files.job, jobBlock(job));
    fs.rmSync(files.events, { force: true });
    const args = qemuArgs(config, files, start, more);
    // Should this process be killed outright, the kernel ends its guests too.
    const [program, words] = hasSetpriv() ? ['setpriv', ['--pdeathsig', 'KILL', config.qemu.path, ...args]] : [config.qemu.path, args];
    const session = new Session(spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe', ...ramFds] }), files);
    const late = setTimeout(() => session.killNow(), 30_000);
    try {
      await session.qmp.greeting;
      await session.qmp.call('qmp_capabilities');
    } catch (error) {
      session.killNow();
      const { stderr, code, signal } = await session.ended;
      throw new BrokenError(`QEMU did not start (${signal ?? `status ${code}`}): ${stderr.split('\n').filter((line) => !/warning:/.test(line))[0] ?? 'no word'}`, { cause: error });
    } finally {
      clearTimeout(late);
      fs.rmSync(files.job, { force: true }); // QEMU has read it
    }
    return session;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Milliseconds that the guest wanted to run and the host was busy with other things: the longest wait of QEMU's threads
   * for a CPU (/proc/PID/task/TID/schedstat, second field). Deadlines are moved by it: a crowded host is no hang.
   */
  starved(): number {
    const folder = `/proc/${this.#child.pid}/task`;
    try {
      return Math.max(...fs.readdirSync(folder).map((thread) => Number(fs.readFileSync(`${folder}/${thread}/schedstat`, 'utf8').split(' ')[1]) / 1e6));
    } catch {
      return 0; // it has ended, or this kernel does not count (CONFIG_SCHED_INFO)
    }
  }

  /** The next event, or that none came within `ms`, or the end of the guest after its last event. */
  async next(ms: number): Promise<Received> {
    const deadline = Date.now() + ms;
    for (;;) {
      const ended = this.#end !== undefined;
      if (!ended) this.#take(this.#tail.read());
      const message = this.#queue.shift();
      if (message) return { kind: 'message', message };
      if (ended) return { kind: 'end', end: this.#end! };
      const left = deadline - Date.now();
      if (left <= 0) return { kind: 'timeout' };
      await this.#tail.wait(Math.min(left, 500)); // the end closes the tail, which ends the wait
    }
  }

  #take(chunk: Buffer): void {
    if (chunk.length === 0) return;
    const lines = (this.#partial + chunk.toString('utf8')).split('\n');
    this.#partial = lines.pop()!;
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line.trim() === '') return;
    try {
      this.#queue.push(JSON.parse(line) as GuestMessage);
    } catch {
      this.garbled.push(line.slice(0, 200));
    }
  }

  /** All that the guest's kernel has printed so far. */
  console(): string {
    return fs.existsSync(this.files.console) ? fs.readFileSync(this.files.console, 'utf8') : '';
  }

  /**
   * Has the kernel print its blocked tasks to the console, by alt-sysrq-w on the keyboard that every pc has: a
   * guest whose every process is stuck still answers that. Resolves once the console has been quiet again.
   */
  async printBlockedTasks(): Promise<void> {
    for (const key of ['w', 'l']) {
      const keys = ['alt', 'sysrq', key].map((data) => ({ type: 'qcode', data }));
      await this.qmp.call('send-key', { keys });
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
    for (let before = -1; before !== this.console().length; ) {
      before = this.console().length;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }

  killNow(): void {
    this.#child.kill('SIGKILL');
  }

  /** Ends the guest and waits until it is gone. */
  async close(): Promise<GuestEnd> {
    this.killNow();
    return this.ended;
  }
}

let setpriv: boolean | undefined;

function hasSetpriv(): boolean {
  return (setpriv ??= (process.env.PATH ?? '').split(':').some((folder) => fs.existsSync(`${folder}/setpriv`)));
}
