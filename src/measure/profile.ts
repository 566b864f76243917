// Where the time of a timed call went, by kernel function: the function graph tracer (CONFIG_FUNCTION_GRAPH_TRACER, as distributions
// have it) runs while the native code does, and what it says is added up. Its durations are exact where instructions are counted.
import fs from 'node:fs';
import path from 'node:path';
import { hasTracer, tracefs } from './tracefs.js';

/** Per CPU: enough for some ten thousand calls. */
const BUFFER_KB = 32_768;

export interface FunctionCost {
  name: string;
  /** Calls of it that were traced. */
  calls: number;
  /** Nanoseconds in the function itself, not in those it calls; what tracing those took is in it. */
  self: number;
  /** Calls that it made and that were traced. */
  children: number;
}

export interface Profile {
  /** Operations that the trace is of. */
  operations: number;
  functions: FunctionCost[];
}

interface Call {
  name: string;
  children: number;
  below: number;
}

/** A module's functions come with its name. */
const NAME = String.raw`([\w.]+)(?: \[[\w-]+\])?`;
const LEAF = new RegExp(String.raw`^${NAME}\s*\(.*\);`);
const BEGIN = new RegExp(String.raw`^${NAME}\s*\(.*\)\s*\{`);
const END = new RegExp(String.raw`^\}(?: /\* ${NAME})?`);
const LINE = /^\s*\d+\)\s*(?:[+!#*@$]\s*)?(?:([\d.]+) us)?\s*\|\s*(.*)$/;

/**
 * Adds up a trace in the form of /sys/kernel/tracing/trace with the option funcgraph-tail: per function the calls and the time
 * in itself. Calls that had begun before the trace, or that it does not see the end of, are left out.
 */
export function selfCosts(trace: string): FunctionCost[] {
  const stack: Call[] = [];
  const found = new Map<string, FunctionCost>();
  const ended = ({ name, children, below }: Call, duration: number): void => {
    let entry = found.get(name);
    if (!entry) found.set(name, (entry = { name, calls: 0, self: 0, children: 0 }));
    entry.calls++;
    entry.self += duration - below;
    entry.children += children;
    const caller = stack.at(-1);
    if (!caller) return;
    caller.children++;
    caller.below += duration;
  };
  for (const line of trace.split('\n')) {
    const match = LINE.exec(line);
    if (!match) continue;
    const [, microseconds, text] = match;
    const duration = microseconds === undefined ? undefined : Math.round(Number(microseconds) * 1000);
    const leaf = LEAF.exec(text!);
    if (leaf) {
      if (duration !== undefined) ended({ name: leaf[1]!, children: 0, below: 0 }, duration);
      continue;
    }
    const begin = BEGIN.exec(text!);
    if (begin) {
      stack.push({ name: begin[1]!, children: 0, below: 0 });
      continue;
    }
    const end = END.exec(text!);
    if (!end) continue;
    // One that began before the trace ends none of those that began in it; one whose end is missing ends with its caller.
    const at = end[1] === undefined ? stack.length - 1 : stack.findLastIndex(({ name }) => name === end[1]);
    if (at < 0) continue;
    const [call] = stack.splice(at);
    if (call && duration !== undefined) ended(call, duration);
  }
  return [...found.values()];
}

/** Per function: calls and nanoseconds of one operation. */
type Costs = Map<string, { calls: number; self: number }>;

/**
 * One operation by function, without what the tracer took. Most of that lies within the times of the traced calls themselves: the
 * cheapest function that calls nothing does next to nothing, so that is what it shows. The rest lies between a call and its caller:
 * such that all functions together take `untraced` nanoseconds, as one operation does without a tracer.
 */
function perOperation({ operations, functions }: Profile, untraced: number): Costs {
  const sum = (of: (cost: FunctionCost) => number): number => functions.reduce((total, cost) => total + of(cost), 0);
  const leaves = functions.filter(({ children }) => children === 0).map(({ self, calls }) => self / calls);
  const within = leaves.length > 0 ? Math.min(...leaves) : 0;
  const children = sum((cost) => cost.children);
  const left = sum(({ self }) => self) - within * sum(({ calls }) => calls) - untraced * operations;
  const between = children > 0 ? Math.max(0, left / children) : 0;
  return new Map(functions.map(({ name, calls, self, children: below }) => [name, { calls: calls / operations, self: (self - within * calls - between * below) / operations }]));
}

/** A tracer that is on only between before() and after(). */
export class GraphTracer implements Disposable {
  readonly #root: string;

  /** Undefined where this kernel has none. Takes the kernel's one function graph tracer: for guests. */
  static start(): GraphTracer | undefined {
    const root = tracefs();
    return root !== undefined && hasTracer(root, 'function_graph') ? new GraphTracer(root) : undefined;
  }

  private constructor(root: string) {
    this.#root = root;
    this.#write('tracing_on', '0');
    this.#write('buffer_size_kb', String(BUFFER_KB));
    this.#write('set_ftrace_pid', String(process.pid));
    this.#write('current_tracer', 'function_graph');
    for (const [option, value] of [['funcgraph-tail', '1'], ['funcgraph-irqs', '0'], ['funcgraph-duration', '1'], ['sleep-time', '1']] as const)
      if (fs.existsSync(path.join(root, 'options', option))) this.#write(`options/${option}`, value);
  }

  before(): void {
    this.#write('trace', '');
    this.#write('tracing_on', '1');
  }

  after(): void {
    this.#write('tracing_on', '0');
  }

  /** The text of what was traced last. */
  read(): string {
    return fs.readFileSync(path.join(this.#root, 'trace'), 'utf8');
  }

  [Symbol.dispose](): void {
    this.#write('current_tracer', 'nop');
    this.#write('set_ftrace_pid', '');
    this.#write('tracing_on', '1');
  }

  #write(name: string, value: string): void {
    fs.writeFileSync(path.join(this.#root, name), value);
  }
}

export interface Difference {
  function: string;
  /** Nanoseconds in the function itself, per operation. */
  a: number;
  b: number;
  /** Calls per operation. */
  callsA: number;
  callsB: number;
}

/** Functions by how much more or less they cost in B, most first; `medianA` and `medianB` are of untraced samples, ns. */
export function differences(a: Profile, medianA: number, b: Profile, medianB: number): Difference[] {
  const [costsA, costsB] = [perOperation(a, medianA), perOperation(b, medianB)];
  const none = { calls: 0, self: 0 };
  return [...new Set([...costsA.keys(), ...costsB.keys()])]
    .map((name) => {
      const [inA, inB] = [costsA.get(name) ?? none, costsB.get(name) ?? none];
      return { function: name, a: inA.self, b: inB.self, callsA: inA.calls, callsB: inB.calls };
    })
    .sort((p, q) => Math.abs(q.b - q.a) - Math.abs(p.b - p.a));
}
