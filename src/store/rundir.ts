// The run directory: run.json (what ran on what), events.ndjson (append-only, one write per event), console-*.log.
// It is the truth of a run: everything else can be made from it again.
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UsageError, codeOf, messageOf } from '../errors.js';

/** Where runs go unless --out says otherwise: $XDG_STATE_HOME/daxrig/runs, else ~/.local/state/daxrig/runs. */
export function runsRoot(): string {
  return path.join(process.env.XDG_STATE_HOME || path.join(os.homedir(), '.local/state'), 'daxrig', 'runs');
}

export class RunDirectory {
  readonly folder: string;
  /** Name of the run: start time and a random part, sortable. */
  readonly id: string;
  readonly #events: number;
  /** Folders made for it, outermost first. */
  readonly #made: string[];
  #later: NodeJS.Timeout | undefined;
  #savedAt = 0;
  /** Milliseconds that the last save took. */
  #saveCost = 0;

  private constructor(folder: string, id: string, made: string[]) {
    this.folder = folder;
    this.id = id;
    this.#made = made;
    this.#events = fs.openSync(path.join(folder, 'events.ndjson'), 'a');
  }

  /** Makes the directory. Throws UsageError when it cannot be written, or already holds a run. */
  static create(out?: string): RunDirectory {
    const id = `${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}-${crypto.randomBytes(3).toString('hex')}`;
    const folder = out === undefined ? path.join(runsRoot(), id) : path.resolve(out);
    try {
      const made = makeFolders(folder);
      fs.accessSync(folder, fs.constants.W_OK);
      if (fs.existsSync(path.join(folder, 'run.json'))) throw new UsageError(`--out ${out}: already holds a run; name another folder`);
      return new RunDirectory(folder, id, made);
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(`--out ${out ?? folder}: cannot be written (${codeOf(error) ?? messageOf(error)})`);
    }
  }

  path(name: string): string {
    return path.join(this.folder, name);
  }

  /** Appends one event; when this returns, the kernel has it. */
  event(event: object): void {
    fs.writeSync(this.#events, `${JSON.stringify({ at: new Date().toISOString(), ...event })}\n`);
  }

  /**
   * The same as save() for a document that grows by a result at a time, at a twentieth of the time at most: with a
   * thousand results, writing all of them each time would cost more than the guests. events.ndjson has each at once.
   */
  saveSoon(document: object): void {
    if (this.#later) return;
    const wait = this.#savedAt + 20 * this.#saveCost - performance.now();
    if (wait <= 0) return this.save(document);
    this.#later = setTimeout(() => this.save(document), wait).unref();
  }

  /** Replaces run.json as a whole: a reader never meets half of one. */
  save(document: object): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    const begun = performance.now();
    const fresh = this.path('run.json.new');
    fs.writeFileSync(fresh, `${JSON.stringify(document, null, 1)}\n`);
    fs.renameSync(fresh, this.path('run.json'));
    this.#savedAt = performance.now();
    this.#saveCost = this.#savedAt - begun;
  }

  /** Takes it back, when nothing came of the run: what was made for it goes. */
  abandon(): void {
    this.close();
    fs.rmSync(this.path('events.ndjson'), { force: true });
    for (const folder of this.#made.reverse()) fs.rmdirSync(folder);
  }

  close(): void {
    clearTimeout(this.#later);
    fs.closeSync(this.#events);
  }
}

/** Makes the missing folders of a path one by one (mkdir's own recursion never ends below /proc) and names them. */
function makeFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let at = folder; !fs.existsSync(at); at = path.dirname(at)) missing.unshift(at);
  for (const at of missing) fs.mkdirSync(at);
  return missing;
}
