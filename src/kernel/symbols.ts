// The functions of a kernel by address and by name, as nm, System.map and /proc/kallsyms list them. Sizes are what the
// kernel itself prints behind the slash: the distance to the next symbol, padding included.
import type { Finding, SymbolisedFrame } from './types.js';

export interface NamedAddress {
  name: string;
  /** Bytes from the start of the function. */
  offset: number;
  size: number;
  module?: string;
}

/** One line of System.map or /proc/kallsyms. */
const MAP_LINE = /^([0-9a-f]{8}|[0-9a-f]{16}) ([A-Za-z?]) (\S+)(?:\s+\[([\w-]+)\])?\s*$/;
const TEXT = 'tTwW';
/** Names that mark places rather than functions: mapping symbols, local labels, checksums. */
const NO_FUNCTION = /^(?:\$|\.L|L0\u0001|__crc_|__kstrtab|__ksymtab)/;

/** True for a line that System.map and /proc/kallsyms are made of. */
export const isMapLine = (line: string): boolean => MAP_LINE.test(line);

/** Collects symbols in any order; `build` makes the table. */
export class SymbolTableBuilder {
  readonly #entries: { address: bigint; name: string; text: boolean; module: string | undefined }[] = [];

  /** Takes one symbol; `text` is true for code. */
  add(address: bigint, name: string, text: boolean, module?: string): void {
    if (!NO_FUNCTION.test(name)) this.#entries.push({ address, name, text, module });
  }

  /** Takes one line of System.map; false when it is none. */
  line(line: string): boolean {
    const match = MAP_LINE.exec(line);
    if (match === null) return false;
    // Absolute symbols are numbers, not places.
    if (match[2] !== 'A' && match[2] !== 'a') this.add(BigInt(`0x${match[1]}`), match[3]!, TEXT.includes(match[2]!), match[4]);
    return true;
  }

  build(): SymbolTable {
    const sorted = this.#entries.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
    return new SymbolTable(sorted);
  }
}

/** Functions of one kernel, by address and by name. Addresses are those that the kernel was linked for. */
export class SymbolTable {
  readonly #addresses: BigUint64Array;
  readonly #entries: readonly { address: bigint; name: string; text: boolean; module: string | undefined }[];
  #byName: Map<string, number[]> | undefined;
  /** Functions in the table. */
  readonly functions: number;

  constructor(sorted: readonly { address: bigint; name: string; text: boolean; module: string | undefined }[]) {
    this.#entries = sorted;
    this.#addresses = BigUint64Array.from(sorted, ({ address }) => address);
    this.functions = sorted.reduce((count, { text }) => count + (text ? 1 : 0), 0);
  }

  /** True when every address is the same, as kptr_restrict leaves them in /proc/kallsyms. */
  get hidden(): boolean {
    return this.#entries.length > 1 && this.#entries[0]!.address === this.#entries.at(-1)!.address;
  }

  /** Where a symbol of the kernel itself stands, if there is just one of that name. */
  addressOf(name: string): bigint | undefined {
    const found = this.#named(name).filter((index) => this.#entries[index]!.module === undefined);
    return found.length === 1 ? this.#addresses[found[0]!] : undefined;
  }

  /** The function that covers an address; undefined where there is data, or nothing. */
  resolve(address: bigint): NamedAddress | undefined {
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#addresses[middle]! <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const start = this.#addresses[low - 1]!;
    let first = low - 1;
    while (first > 0 && this.#addresses[first - 1] === start) first--;
    for (let index = first; index < low; index++) {
      const { name, text, module } = this.#entries[index]!;
      const size = this.#size(index);
      if (text && size !== undefined) return { name, offset: Number(address - start), size, ...(module === undefined ? {} : { module }) };
    }
    return undefined;
  }

  /**
   * The addresses of functions of that name, with that size where one is given: none for another kernel's function, more
   * than one for a name that several files use.
   */
  find(name: string, size?: number, module?: string): bigint[] {
    return this.#named(name)
      .filter((index) => this.#entries[index]!.text && this.#entries[index]!.module === module && (size === undefined || this.#size(index) === size))
      .map((index) => this.#addresses[index]!);
  }

  /** Distance to the next symbol; undefined for the last one. */
  #size(index: number): number | undefined {
    const start = this.#addresses[index]!;
    let next = index + 1;
    while (next < this.#addresses.length && this.#addresses[next] === start) next++;
    return next < this.#addresses.length ? Number(this.#addresses[next]! - start) : undefined;
  }

  #named(name: string): readonly number[] {
    if (this.#byName === undefined) {
      this.#byName = new Map();
      for (const [index, entry] of this.#entries.entries()) {
        const list = this.#byName.get(entry.name);
        if (list === undefined) this.#byName.set(entry.name, [index]);
        else list.push(index);
      }
    }
    return this.#byName.get(name) ?? [];
  }
}

/** How well a log and a symbol table go together. */
export interface SymbolMatch {
  /** Frames with function and size in the log, and those that the table has with the same size. */
  checked: number;
  matched: number;
  /** Frames that the log has as bare addresses, and those of them that the table names. */
  addresses: number;
  named: number;
}

/**
 * A symbol table as one boot sees it: the kernel was moved by `offset` bytes (KASLR). Counts how well names and sizes
 * of the log fit the table.
 */
export class BootSymbols {
  readonly match: SymbolMatch = { checked: 0, matched: 0, addresses: 0, named: 0 };
  readonly #table: SymbolTable;
  readonly #offset: bigint;

  /** `kaslr` is the log's "Kernel Offset: OFFSET from BASE". /proc/kallsyms lists addresses that are moved already. */
  constructor(table: SymbolTable, kaslr?: { offset: bigint; base: bigint }) {
    this.#table = table;
    const text = kaslr && (table.addressOf('_text') ?? table.addressOf('_stext'));
    this.#offset = kaslr === undefined || text === kaslr.base + kaslr.offset ? 0n : kaslr.offset;
  }

  /**
   * A run-time address as function and offset, with the address that the kernel was linked for. A return address belongs to the
   * function that called, even behind its last byte, where a call that never returns leaves it: as the kernel's %pB has it.
   */
  resolve(address: bigint, returns: boolean): (NamedAddress & { linked: bigint }) | undefined {
    this.match.addresses++;
    const linked = address - this.#offset;
    const back = returns ? 1 : 0;
    const found = this.#table.resolve(linked - BigInt(back));
    if (found === undefined) return undefined;
    this.match.named++;
    return { ...found, offset: found.offset + back, linked };
  }

  /** The address, as linked, of "name+offset/size", where that is just one place of this kernel. */
  locate(name: string, offset: number, size: number, module?: string): bigint | undefined {
    const fitting = this.#table.find(name, size, module);
    if (module === undefined) {
      this.match.checked++;
      if (fitting.length > 0) this.match.matched++;
    }
    return fitting.length === 1 ? fitting[0]! + BigInt(offset) : undefined;
  }
}

/** True when names and sizes of a log are those of another kernel than the table's. */
export const isOtherKernel = ({ checked, matched }: SymbolMatch): boolean => checked > 0 && matched * 2 < checked;

/** Where an address is in the source, with what was inlined there, innermost first. */
export interface SourceLine {
  source: string;
  inlined: { function: string; source: string }[];
}

/** The address whose line is meant: a call returns behind itself, so its line is that of the byte before. */
export const lineAddress = ({ address, pc }: SymbolisedFrame): bigint | undefined => (address === undefined ? undefined : BigInt(address) - (pc === true ? 0n : 1n));

/** Every address that the findings want a line for. */
export function wantedLines(findings: readonly Finding[]): Set<bigint> {
  const wanted = new Set<bigint>();
  for (const { frames = [] } of findings)
    for (const frame of frames) {
      const address = lineAddress(frame);
      if (address !== undefined) wanted.add(address);
    }
  return wanted;
}

/** Puts lines to the frames of findings, and to a finding itself the line of its function. */
export function addLines(findings: readonly Finding[], lines: ReadonlyMap<bigint, SourceLine>): void {
  for (const finding of findings)
    for (const frame of finding.frames ?? []) {
      const line = lines.get(lineAddress(frame) ?? -1n);
      if (line === undefined) continue;
      frame.source = line.source;
      if (line.inlined.length > 0) frame.inlined = line.inlined;
      if (finding.source === undefined && frame.function === finding.function) finding.source = line.inlined[0]?.source ?? line.source;
    }
}
