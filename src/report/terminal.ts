// What a person sees of a run: a live table on a terminal, one line per workload otherwise, then a summary.
import { formatSeconds, formatValue } from '../units.js';
import type { PlannedInstance } from '../run/plan.js';
import { OUTCOMES, type Outcome, type RunResult } from '../run/result.js';
import type { RunDocument, RunObserver } from '../run/runner.js';
import { repeatCommand } from './repeat.js';
import type { Target } from '../run/target.js';
import { quartiles } from '../store/summary.js';

const COLOURS: Record<Outcome, number> = { pass: 32, fail: 31, xfail: 33, skip: 36, broken: 35, lost: 35 };
const CLEAR_LINE = '\x1b[2K';

interface Running {
  label: string;
  step: string;
  since: number;
}

/** Shows a run on a stream; live (redrawn) when it is a terminal. */
export class TerminalObserver implements RunObserver {
  readonly #out: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #colour: boolean;
  readonly #running = new Map<number, Running>();
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;
  #showLabels = false;
  #showSeeds = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.#live = out.isTTY && process.env.TERM !== 'dumb';
    this.#colour = this.#live && process.env.NO_COLOR === undefined;
  }

  /** Several kernels or devices: each line says which. */
  showLabels(): void {
    this.#showLabels = true;
  }

  /** Several seeds: each line says which. */
  showSeeds(): void {
    this.#showSeeds = true;
  }

  /** A line that stays, above the live part. */
  note(text: string): void {
    this.#erase();
    this.#out.write(`${text}\n`);
    this.#draw();
  }

  started(key: number, instance: PlannedInstance, target: Target): void {
    this.#running.set(key, { label: this.#name(instance.id, target.label), step: '', since: Date.now() });
    if (!this.#live) return;
    this.#timer ??= setInterval(() => this.#redraw(), 250).unref();
    this.#redraw();
  }

  step(key: number, text: string): void {
    const running = this.#running.get(key);
    if (running) running.step = text;
  }

  finished(key: number, result: RunResult): void {
    const label = this.#running.get(key)?.label ?? result.id;
    this.#running.delete(key);
    this.note(this.line(this.#showSeeds ? `${label} seed ${result.seed}` : label, result));
    if (this.#running.size === 0) this.done();
  }

  done(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#erase();
  }

  #name(id: string, label: string): string {
    return this.#showLabels ? `${id} [${label}]` : id;
  }

  line(label: string, result: RunResult): string {
    const word = this.paint(result.outcome, result.outcome.padEnd(6));
    return `${word} ${label}  ${formatSeconds(result.seconds)}${result.reason === undefined ? '' : `\n       ${result.reason}`}`;
  }

  paint(outcome: Outcome, text: string): string {
    return this.#colour ? `\x1b[${COLOURS[outcome]}m${text}\x1b[0m` : text;
  }

  #redraw(): void {
    this.#erase();
    this.#draw();
  }

  #draw(): void {
    if (!this.#live) return;
    const width = this.#out.columns ?? 80;
    for (const { label, step, since } of this.#running.values()) {
      this.#out.write(`       ${label}  ${formatSeconds((Date.now() - since) / 1000)}  ${step}`.slice(0, width - 1) + '\n');
      this.#drawn++;
    }
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out.write(`\x1b[${this.#drawn}A\x1b[J${CLEAR_LINE}`);
    this.#drawn = 0;
  }
}

/** One line per metric: its median, or the least and the greatest of the medians where an instance ran several times. */
export function mediansText({ results }: RunDocument): string {
  const rows = new Map<string, { cells: string[]; unit: string; n: number; medians: number[] }>();
  const kernels = new Set(results.map(({ kernel, layout }) => `${kernel} ${layout ?? ''}`));
  for (const { id, kernel, layout, outcome, metrics } of results) {
    if (outcome !== 'pass' && outcome !== 'xfail') continue;
    for (const { name, unit, samples } of metrics) {
      if (samples.length === 0) continue;
      const cells = [kernels.size > 1 ? `${id} [${[kernel, layout].filter(Boolean).join(' ')}]` : id, name];
      const key = cells.join(': ');
      const row = rows.get(key) ?? { cells, unit, n: 0, medians: [] };
      row.n += samples.length;
      row.medians.push(quartiles(Float64Array.from(samples)).median);
      rows.set(key, row);
    }
  }
  const table = [...rows.values()].map(({ cells, unit, n, medians }) => {
    const [low, high] = [Math.min(...medians), Math.max(...medians)].map(formatValue);
    return [...cells, low === high ? low! : `${low} to ${high}`, unit, `${n} sample${n === 1 ? '' : 's'}`];
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...table.map((row) => row[column]!.length)));
  return ['medians', ...table.map((row) => row.map((cell, i) => (i === 2 ? cell.padStart(widths[i]!) : i < 4 ? cell.padEnd(widths[i]!) : cell)).join('  '))].join('\n');
}

/** The last lines of a run: counts, what failed and why, where everything is. */
export function summary(document: RunDocument, seconds: number): string {
  const { totals, results, run } = document;
  const counts = OUTCOMES.filter((outcome) => totals[outcome] > 0).map((outcome) => `${totals[outcome]} ${outcome}`);
  const troubled = results.filter(({ outcome }) => outcome === 'fail' || outcome === 'broken' || outcome === 'lost');
  const lines = ['', `${counts.join(', ') || 'nothing ran'}  in ${formatSeconds(seconds)}${run.interrupted ? ' (interrupted)' : ''}`];
  if (troubled.length > 0) {
    lines.push('');
    const seeded = new Set(results.map(({ seed }) => seed)).size > 1;
    for (const result of troubled) {
      const { outcome, id, kernel, reason, console, detail } = result;
      lines.push(`${outcome}: ${id} on ${kernel}: ${reason ?? ''}`);
      if (seeded) lines.push(`    again: ${repeatCommand(result, run)}`);
      const excerpt = (detail ?? '').split('\n').filter(Boolean).slice(0, outcome === 'fail' ? 12 : 6);
      lines.push(...excerpt.map((line) => `    ${line.slice(0, 160)}`));
      if (console !== undefined) lines.push(`    console: ${run.folder}/${console}`);
    }
  }
  lines.push(`results: ${run.folder}`);
  return lines.join('\n');
}
