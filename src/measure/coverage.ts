// Which functions of the kernel's DAX subsystem ran: the function tracer, in a tracing instance of its own, filtered to
// what belongs to the subsystem. The filter is set by globs and modules, which takes seconds under TCG (names one by
// one take minutes), so a guest does it before its state is saved; a copy only turns tracing on.
import fs from 'node:fs';
import path from 'node:path';
import { messageOf } from '../errors.js';
import * as native from '../native.js';
import { hasTracer, tracefs } from './tracefs.js';

/** All of these modules' functions count, loaded now or later. */
export const COVERED_MODULES = ['libnvdimm', 'nd_pmem', 'nd_btt', 'nd_e820', 'nfit', 'device_dax', 'dax_pmem', 'dax_pmem_compat', 'dax_hmem', 'kmem'] as const;
/** And these, wherever they are: DAX of file systems and core, device page maps, memory failure, /proc/kpage* and pagemap. */
const COVERED_GLOBS = [
  '*dax*', '*memory_failure*', 'soft_offline*', '*hwpoison*', 'mf_*', 'me_huge_page', 'me_kernel', 'me_unknown', 'me_pagecache*', 'me_swapcache*',
  'kill_proc*', 'collect_procs*', 'add_to_kill*', '*memremap*', '*dev_pagemap*', '*pgmap*', 'kpage*', 'pagemap_*', 'stable_page_flags',
];
/** Functions that tracepoints bring along, and what tells of DAX by name only. */
const STUB = /^(trace_|perf_trace_|__traceiter_|__bpf_trace_|__probestub_|__SCT__|bpf_)|__cfi_|^(__)?initcall|_init_wq$|\.cold$/;
/** Modules whose functions are nobody's claim: they match a glob, but DAX is not what they are tested for here. */
const OTHER_MODULES = /^(dm_mod|dm_\w+|fuse|virtiofs|erofs|cxl_\w+|btrfs|f2fs)$/;

/** Events of one CPU that are kept until they are read, KiB. */
const BUFFER_KB = 16 * 1024;

/** Functions by the module that has them; "kernel" for what is built in. */
export type FunctionsByModule = Record<string, string[]>;

/** What one instance of a workload reached. */
export interface Reached {
  functions: FunctionsByModule;
  /** Functions that could be reached and were not there when the guest was saved: modules loaded since. */
  appeared?: FunctionsByModule;
  /** Times that events were lost: then the list may be too short. */
  missed?: number;
  /** Why nothing could be collected. */
  unavailable?: string;
}

const instanceFolder = (): string => path.join(tracefs()!, 'instances/daxrig');

/** Sets the filter; undefined, or why this kernel cannot. Costs seconds. */
export function prepareCoverage(): string | undefined {
  const root = tracefs();
  if (root === undefined) return 'no tracefs in this kernel (CONFIG_FTRACE)';
  if (!hasTracer(root, 'function')) return 'no function tracer in this kernel (CONFIG_FUNCTION_TRACER)';
  try {
    const folder = instanceFolder();
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(`${folder}/tracing_on`, '0');
    fs.writeFileSync(`${folder}/buffer_size_kb`, String(BUFFER_KB));
    fs.writeFileSync(`${folder}/set_ftrace_filter`, '');
    for (const word of [...COVERED_MODULES.map((name) => `:mod:${name}`), ...COVERED_GLOBS]) appendWord(`${folder}/set_ftrace_filter`, word);
    fs.writeFileSync(`${folder}/current_tracer`, 'function');
    symbols = readSymbols();
    return undefined;
  } catch (error) {
    return `the function tracer does not work: ${messageOf(error)}`;
  }
}

/** Before a module is loaded again while coverage is collected: its functions left the filter when it was unloaded. */
export function coverAgain(module: string): void {
  if (symbols !== undefined && (COVERED_MODULES as readonly string[]).includes(module)) appendWord(`${instanceFolder()}/set_ftrace_filter`, `:mod:${module}`);
}

/** Ends tracing and removes its instance: nothing of it stays on the machine. */
export function removeCoverage(): void {
  const root = tracefs();
  if (root === undefined || !fs.existsSync(`${root}/instances/daxrig`)) return;
  fs.writeFileSync(`${instanceFolder()}/current_tracer`, 'nop');
  fs.rmdirSync(instanceFolder());
}

/** Adds to a filter; a glob that matches nothing on this kernel is no error. */
function appendWord(file: string, word: string): void {
  try {
    fs.appendFileSync(file, `${word}\n`);
  } catch (error) {
    if (!/EINVAL/.test(messageOf(error))) throw error;
  }
}

/** What the filter lets through now, tracepoint stubs left out. */
export function availableFunctions(): FunctionsByModule {
  const lines = fs.readFileSync(`${instanceFolder()}/set_ftrace_filter`, 'utf8').split('\n');
  return grouped(lines.flatMap((line) => {
    const match = /^([\w.]+)(?: \[(\w+)\])?/.exec(line);
    return match ? [[match[1]!, match[2] ?? 'kernel'] as const] : [];
  }));
}

function grouped(functions: readonly (readonly [name: string, module: string])[]): FunctionsByModule {
  const sets = new Map<string, Set<string>>();
  for (const [name, module] of functions) {
    const plain = name.replace(/\.(isra|constprop|part|llvm)\.\d+/g, '');
    if (STUB.test(plain) || OTHER_MODULES.test(module)) continue;
    sets.set(module, (sets.get(module) ?? new Set()).add(plain));
  }
  return Object.fromEntries([...sets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([module, names]) => [module, [...names].sort()]));
}

interface Symbols {
  /** /proc/modules when they were read: a module that is loaded again lies elsewhere. */
  modules: string;
  addresses: BigUint64Array;
  names: [name: string, module: string][];
}

let symbols: Symbols | undefined;

function readSymbols(): Symbols {
  const modules = fs.readFileSync('/proc/modules', 'utf8');
  const found: { address: bigint; name: string; module: string }[] = [];
  for (const match of fs.readFileSync('/proc/kallsyms', 'latin1').matchAll(/^([0-9a-f]+) [tTwW] (\S+)(?:\t\[(\w+)\])?$/gm)) found.push({ address: BigInt(`0x${match[1]!}`), name: match[2]!, module: match[3] ?? 'kernel' });
  found.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  return { modules, addresses: BigUint64Array.from(found, ({ address }) => address), names: found.map(({ name, module }) => [name, module]) };
}

/** The symbol at or before an address. */
function symbolAt({ addresses, names }: Symbols, address: bigint): [name: string, module: string] | undefined {
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (addresses[middle]! <= address) low = middle + 1;
    else high = middle;
  }
  // The tracer's call lies at the function's start, at most behind an endbr64 and padding.
  return low > 0 && address - addresses[low - 1]! < 32n ? names[low - 1] : undefined;
}

/** Collects from now on; `finish` gives what was reached. */
export class CoverageCollector {
  readonly #unavailable: string | undefined;
  readonly #before: FunctionsByModule;

  constructor() {
    const prepared = symbols !== undefined;
    this.#unavailable = prepared ? undefined : prepareCoverage();
    // What a guest said when it was saved need not be said again.
    this.#before = prepared ? availableFunctions() : {};
    if (this.#unavailable !== undefined) return;
    const folder = instanceFolder();
    const format = fs.readFileSync(path.join(tracefs()!, 'events/ftrace/function/format'), 'utf8');
    native.traceStart(folder, Number(/^ID: (\d+)/m.exec(format)![1]), Number(/ ip;\s+offset:(\d+);/.exec(format)![1]));
    fs.writeFileSync(`${folder}/tracing_on`, '1');
  }

  finish(): Reached {
    if (this.#unavailable !== undefined) return { functions: {}, unavailable: this.#unavailable };
    const folder = instanceFolder();
    fs.writeFileSync(`${folder}/tracing_on`, '0');
    const { functions, missed } = native.traceFinish();
    const old = symbols!;
    if (fs.readFileSync('/proc/modules', 'utf8') !== old.modules) symbols = readSymbols();
    const reached = functions.flatMap(({ address }) => {
      const symbol = symbolAt(symbols!, address) ?? symbolAt(old, address);
      return symbol ? [symbol] : [];
    });
    const appeared = minus(availableFunctions(), this.#before);
    return { functions: grouped(reached), ...(Object.keys(appeared).length > 0 ? { appeared } : {}), ...(missed > 0 ? { missed } : {}) };
  }
}

/** Functions of `all` that `some` has not. */
export function minus(all: FunctionsByModule, some: FunctionsByModule): FunctionsByModule {
  const left = Object.entries(all).map(([module, names]) => {
    const known = new Set(some[module] ?? []);
    return [module, names.filter((name) => !known.has(name))] as const;
  });
  return Object.fromEntries(left.filter(([, names]) => names.length > 0));
}
