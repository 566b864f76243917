// Reads a kernel log as a stream and says what the kernel complained about. One pass finds the words that matter in
// bytes; only lines with such a word, and the lines of a report that is open, are looked at more closely.
import { UsageError } from '../errors.js';
import { NEEDS_CLEANING, parseLine, type Line } from './line.js';
import { MAP_WORDS, MemoryMaps } from './maps.js';
import { buildMatcher, Scanner, type Matcher } from './matcher.js';
import { LIMITS, Report } from './report.js';
import { ASKED_FOR, ASKED_FOR_WORDS, holesOf, NEEDS_CAUSE, QUOTED, RULES, type Rule } from './rules.js';
import { BootSymbols, type SymbolTable } from './symbols.js';
import { MILESTONES, Timeline } from './timeline.js';
import type { Finding, FindingKind, KernelReport } from './types.js';

export { parseKmsgRecord, type KmsgRecord } from './line.js';
export { FINDING_KINDS } from './types.js';
export type { Finding, FindingKind, KernelReport, Stall } from './types.js';

export interface KernelLogOptions {
  /** Findings kept in full; further ones are only counted. */
  maxFindings?: number;
  /** Findings of one title kept in full. */
  maxRepeats?: number;
  /** Symbols of the kernel that printed the log: bare addresses become functions, and frames get their places. */
  symbols?: SymbolTable;
}

/** Longest raw line looked at in one piece; longer ones are taken in pieces. */
const MAX_LINE = 8192;
/** Longest text that patterns run over: the kernel's own lines are shorter. */
const MAX_TEXT = 1024;
/** Headers remembered to know a replay by. */
const MAX_PRINTED = 10_000;
/** So many lines with a time stamp make a log with time stamps. */
const STAMPED_FROM = 4;
/** Words remembered of one line. */
const MAX_WORDS = 32;
/** Contexts (caller ids) whose reports may be open at the same time. */
const MAX_CONTEXTS = 64;
/** A consequence follows its cause within this many seconds. */
const CONSEQUENCE_WINDOW = 30;
/** A piece of a trace that follows a report this closely is the rest of it. */
const REST_LINES = 100;
const REST_SECONDS = 2;
/** Columns between which mail clients wrap. */
const WRAPPED_FROM = 66;
const WRAPPED_TO = 100;

/** Boots of one log whose KASLR offset is remembered. */
const MAX_BOOTS = 10_000;

/** Kinds that a boot can die of. */
const FATAL: ReadonlySet<FindingKind> = new Set(['panic', 'oops', 'null-deref', 'page-fault', 'gpf', 'bug', 'hung-task', 'soft-lockup', 'hard-lockup', 'rcu-stall', 'oom']);

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** Bytes that a line has to be cleaned of; the scanner finds them with the words. */
const CONTROLS = Array.from({ length: 0x80 }, (_, code) => String.fromCharCode(code)).filter((char) => NEEDS_CLEANING.test(char) && char !== '\r' && char !== '\n');
const IS_CONTROL = new Uint8Array(256);
for (const control of CONTROLS) IS_CONTROL[control.charCodeAt(0)] = 1;

type WordUse =
  | { use: 'newline' }
  | { use: 'rules'; rules: number[] }
  | { use: 'map' }
  | { use: 'milestone'; name: string }
  | { use: 'control' }
  | { use: 'asked-for' }
  | { use: 'fact' }
  | { use: 'array' };

/** Words of facts that are kept but are no findings. */
const FACTS = ['Linux version ', 'ommand line: ', 'DMI: ', 'Tainted: ', 'Kernel Offset: '];
/** journalctl prints messages with odd bytes as arrays of numbers, in which no word can be found. */
const ARRAY_MESSAGES = ['"MESSAGE":[', '"MESSAGE": [', '"MESSAGE" : ['];

const { matcher, uses } = compile();
/** Words that may begin a report. */
const ruleWords = new Set(uses.flatMap((list, word) => (list.some((use) => use.use === 'rules' || use.use === 'array') ? [word] : [])));

function compile(): { matcher: Matcher; uses: WordUse[][] } {
  const byWord = new Map<string, WordUse[]>();
  const add = (word: string, use: WordUse): void => {
    const list = byWord.get(word);
    if (list === undefined) byWord.set(word, [use]);
    else list.push(use);
  };
  add('\n', { use: 'newline' });
  add('\r', { use: 'newline' });
  for (const control of CONTROLS) add(control, { use: 'control' });
  for (const [index, rule] of RULES.entries()) for (const word of rule.words) add(word, { use: 'rules', rules: [index] });
  for (const word of MAP_WORDS) add(word, { use: 'map' });
  for (const { name, words } of MILESTONES) for (const word of words) add(word, { use: 'milestone', name });
  for (const word of ASKED_FOR_WORDS) add(word, { use: 'asked-for' });
  for (const word of FACTS) add(word, { use: 'fact' });
  for (const word of ARRAY_MESSAGES) add(word, { use: 'array' });
  const words = [...byWord.keys()];
  return { matcher: buildMatcher(words), uses: words.map((word) => byWord.get(word)!) };
}

/** Reads a kernel log in chunks; `end` gives the report. Memory stays bounded whatever comes in. */
export class KernelLog {
  readonly #maxFindings: number;
  readonly #maxRepeats: number;

  readonly #scanner = new Scanner(matcher);
  /** The unfinished last line, when a chunk ended inside it. */
  #pending = Buffer.allocUnsafe(MAX_LINE);
  #pendingLength = 0;
  /** Words found in the current line, and whether it has bytes to be cleaned of. */
  #words: number[] = [];
  #dirty = false;
  /** Words that need no looking at any more: of milestones that the boot has passed. */
  readonly #spent = new Uint8Array(uses.length);
  #number = 1;
  #bytes = 0;
  #ended = false;
  #endsLine = true;

  /** A line that may still be continued by an unstamped one (wrapped mail). */
  #held: { line: Line; number: number; words: readonly number[]; joins: number } | undefined;
  #open = new Map<string, Report>();
  #askedFor = new Map<string, { line: number; time: number | undefined }>();
  #findings: Finding[] = [];
  /** The last report with a trace: pieces of one soon after it are its rest. */
  #lastTraced: { line: number; time: number | undefined; ended: boolean } | undefined;
  /** Panics printed inside a report that is still open. */
  #panics: [Report, Report][] = [];
  #follows = new Map<Finding, Finding>();
  readonly #symbols: SymbolTable | undefined;
  /** Reports of the kept findings and their boots: symbols are looked up at the end, since KASLR's offset comes last. */
  #reports = new Map<Finding, { report: Report; boot: number }>();
  /** KASLR's offset by boot. */
  #offsets = new Map<number, { offset: bigint; base: bigint }>();
  #seen = new Map<string, Finding[]>();
  /** Headers of this boot with their times. */
  #printed = new Set<string>();
  #omitted = 0;
  /** Findings from lines without a time stamp that no report follows. */
  #unconfirmed = new Set<Finding>();
  #stampedLines = 0;
  #wallLines = 0;
  #timeline = new Timeline();
  #maps = new MemoryMaps();
  #boots = 0;
  /** Where the last boot begins. */
  #bootLine = 0;
  #facts: Pick<KernelReport, 'release' | 'version' | 'cmdline' | 'machine'> = {};
  #taint = { flags: new Set<string>(), lines: [] as string[] };

  constructor(options: KernelLogOptions = {}) {
    this.#maxFindings = options.maxFindings ?? 1000;
    this.#maxRepeats = options.maxRepeats ?? 20;
    this.#symbols = options.symbols;
  }

  /** Takes the next piece of the log; pieces may end anywhere. */
  push(chunk: string | Uint8Array): void {
    if (this.#ended) throw new UsageError('kernel log: push() after end()');
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#bytes += bytes.length;
    if (bytes.length > 0) this.#endsLine = bytes.at(-1) === NEWLINE;
    const scanner = this.#scanner;
    const end = bytes.length;
    let start = 0;
    for (let at = scanner.find(bytes, 0, end); at < end; at = scanner.find(bytes, at + 1, end)) {
      const byte = bytes[at];
      if (byte === NEWLINE || byte === RETURN) {
        this.#finishLine(bytes, start, at);
        start = at + 1;
        if (byte === NEWLINE) this.#number++;
        scanner.reset();
      } else if (IS_CONTROL[byte!] === 1) this.#dirty = true;
      else if (this.#words.length < MAX_WORDS) for (const word of scanner.words) if (this.#spent[word] === 0) this.#words.push(word);
    }
    this.#keepPending(bytes, start, end);
  }

  /** Closes what is open and returns what the log says. */
  end(): KernelReport {
    if (this.#ended) throw new UsageError('kernel log: end() was called before');
    if (this.#pendingLength > 0) this.#finishLine(Buffer.alloc(0), 0, 0);
    this.#ended = true;
    this.#release();
    for (const report of this.#open.values()) report.cut('the log ends inside the report');
    this.#closeAll();
    return this.#result();
  }

  #keepPending(bytes: Buffer, start: number, end: number): void {
    let from = start;
    while (end - from + this.#pendingLength > MAX_LINE) {
      const room = MAX_LINE - this.#pendingLength;
      bytes.copy(this.#pending, this.#pendingLength, from, from + room);
      this.#pendingLength = MAX_LINE;
      from += room;
      this.#flushPending();
    }
    bytes.copy(this.#pending, this.#pendingLength, from, end);
    this.#pendingLength += end - from;
  }

  #flushPending(): void {
    const words = this.#words;
    this.#words = [];
    const dirty = this.#dirty;
    this.#dirty = false;
    const length = this.#pendingLength;
    this.#pendingLength = 0;
    if (this.#wanted(words)) this.#raw(this.#pending.toString('utf8', 0, length), words, dirty);
  }

  #finishLine(bytes: Buffer, start: number, end: number): void {
    if (this.#pendingLength > 0 || end - start > MAX_LINE) {
      this.#keepPending(bytes, start, end);
      this.#flushPending();
      return;
    }
    const words = this.#words;
    const dirty = this.#dirty;
    this.#dirty = false;
    if (!this.#wanted(words)) return;
    if (words.length > 0) this.#words = [];
    this.#raw(bytes.toString('utf8', start, end), words, dirty);
  }

  /** Whether a line has to be looked at at all. */
  #wanted(words: readonly number[]): boolean {
    return words.length > 0 || this.#open.size > 0 || this.#held !== undefined || this.#timeline.booting;
  }

  #raw(raw: string, words: readonly number[], dirty: boolean): void {
    // "\r\n" gives an empty line that is none.
    if (raw === '') return;
    const line = parseLine(raw, dirty);
    if (line.text.length > MAX_TEXT) line.text = line.text.slice(0, MAX_TEXT);
    if (line.stamped) {
      this.#stampedLines++;
      if (line.wall) this.#wallLines++;
    }
    const held = this.#held;
    if (held !== undefined) {
      if (this.#continues(held.line, line)) {
        held.line.text = `${held.line.text.trimEnd()} ${line.text.trim()}`.slice(0, MAX_TEXT);
        held.line.shown += `\n${line.shown}`;
        held.words = [...held.words, ...words];
        if (++held.joins >= 3) this.#release();
        return;
      }
      this.#release();
    }
    if (line.stamped && (this.#open.size > 0 || words.some((word) => ruleWords.has(word)))) this.#held = { line, number: this.#number, words, joins: 0 };
    else this.#line(line, this.#number, words);
  }

  /** In a log with time stamps a line without one continues a long line before it: a mail client wrapped it. */
  #continues(before: Line, line: Line): boolean {
    if (line.stamped || line.user || before.shown.length > WRAPPED_TO) return false;
    const word = /^\S+/.exec(line.shown)?.[0];
    // It was wrapped because its first word had no room left.
    return word !== undefined && before.shown.length + 1 + word.length >= WRAPPED_FROM && line.shown.length < WRAPPED_TO;
  }

  #release(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#line(held.line, held.number, held.words);
  }

  #line(line: Line, number: number, words: readonly number[]): void {
    const context = line.caller ?? '';
    let header: [Rule, RegExpExecArray] | undefined;
    if (words.length > 0) header = this.#uses(line, number, words, context);
    const open = this.#open.get(context);
    if (open === undefined || open.silentUntil(line)) this.#timeline.line(line, number);
    else this.#timeline.pass(line, number);

    if (header === undefined) {
      if (open?.add(line, number) === false) this.#close(context);
      return;
    }
    this.#header(header[0], header[1], line, number, context, open);
  }

  /** What the words in a line call for; returns the header rule that it matches, if any. */
  #uses(line: Line, number: number, words: readonly number[], context: string): [Rule, RegExpExecArray] | undefined {
    const candidates: number[] = [];
    let mapped = false;
    for (const word of words)
      for (const use of uses[word]!) {
        switch (use.use) {
          case 'rules':
            candidates.push(...use.rules);
            break;
          case 'map':
            if (!mapped && this.#boots <= 1) this.#maps.line(line.text);
            mapped = true;
            break;
          case 'milestone':
            this.#timeline.milestone(line, number);
            if (this.#timeline.passed(use.name) && uses[word]!.length === 1) this.#spent[word] = 1;
            break;
          case 'asked-for':
            if (ASKED_FOR.test(line.text)) this.#askedForDump(line, number, context);
            break;
          case 'fact':
            this.#fact(line, number);
            break;
          case 'array':
            for (let index = 0; index < RULES.length; index++) candidates.push(index);
            break;
          case 'newline':
          case 'control':
            break;
          default:
            use satisfies never;
        }
      }
    if (candidates.length === 0 || line.user) return undefined;
    if (candidates.length > 1) candidates.sort((a, b) => a - b);
    let last = -1;
    for (const index of candidates) {
      if (index === last) continue;
      last = index;
      const rule = RULES[index]!;
      const match = rule.match.exec(line.text);
      if (match !== null) return QUOTED.test(line.text) ? undefined : [rule, match];
    }
    return undefined;
  }

  /** A stack dump that is no complaint; one that runs through a report's own trace spoils it. */
  #askedForDump(line: Line, number: number, context: string): void {
    const open = this.#open.get(context);
    const waiting = open !== undefined && !open.ended && open.rule.expectsTrace && !open.sawTrace;
    // What a report itself asked for (the other CPUs' state) is its own.
    if (open !== undefined && !open.ended && open.rule.guilty === 'interrupted') return;
    if (waiting) {
      if (/^FAULT_/.test(line.text)) open.cut('another stack dump runs through it');
      return;
    }
    this.#close(context);
    if (this.#askedFor.size >= MAX_CONTEXTS) this.#askedFor.clear();
    this.#askedFor.set(context, { line: number, time: line.time });
  }

  /** A piece of a dump that somebody asked for, or of one that follows it closely. */
  #swallowed(line: Line, number: number, context: string): boolean {
    const last = this.#askedFor.get(context);
    if (last === undefined) return false;
    const near = line.time === undefined || last.time === undefined ? number - last.line < REST_LINES : line.time - last.time < REST_SECONDS;
    if (near) this.#askedFor.set(context, { line: number, time: line.time });
    else this.#askedFor.delete(context);
    return near;
  }

  #header(rule: Rule, match: RegExpExecArray, line: Line, number: number, context: string, open: Report | undefined): void {
    if (rule.id === 'orphan') {
      if (open !== undefined) {
        if (!open.add(line, number)) this.#close(context);
        return;
      }
      if (this.#swallowed(line, number, context) || this.#background(line, number, match[0])) return;
    }
    if (open !== undefined) {
      if (open.accepts(rule) && !open.silentUntil(line) && this.#samePlace(open, match)) {
        open.absorb(rule, match, line, number);
        if (rule.closes === true) this.#close(context);
        return;
      }
      // panic_on_warn: the panic comes before the warning's own trace, which then follows it.
      const inside = open.rule.expectsTrace && !open.sawTrace && !open.ended && rule.consequence?.test(match.groups?.['what'] ?? '') === true;
      if (inside) {
        if (!this.#panics.some(([, cause]) => cause === open)) this.#panics.push([new Report(rule, match, line, number), open]);
        open.add(line, number);
        this.#timeline.died();
        return;
      }
      if (rule.body !== 'none') {
        // Words that somebody quotes before the report itself.
        if (!open.stamped && !open.sawBody && open.rule.id === rule.id) this.#open.delete(context);
        else {
          if (!open.sawBody) open.cut('another report begins inside');
          this.#close(context);
        }
      }
    }
    this.#askedFor.delete(context);
    const follows = rule.consequence?.test(match.groups?.['what'] ?? '') === true ? this.#cause(line.time) : undefined;
    if (rule.kind === 'panic') this.#timeline.died();
    const report = new Report(rule, match, line, number, follows);
    if (follows === undefined && NEEDS_CAUSE.test(match.groups?.['what'] ?? '')) report.lost();
    if (rule.body === 'none') {
      this.#keep(report);
      return;
    }
    if (this.#open.size >= MAX_CONTEXTS) this.#close(this.#open.keys().next().value!);
    this.#open.set(context, report);
  }

  /** A trace that belongs to a report without being its own: another CPU's state, or the rest of a report already closed. */
  #background(line: Line, number: number, piece: string): boolean {
    for (const report of this.#open.values()) if (report.rule.guilty === 'interrupted' || report.rule.guilty === 'blocked') return true;
    const last = this.#lastTraced;
    // Behind its end a report may still repeat the program counter and the registers, but has no further trace.
    if (last === undefined || (last.ended && !piece.includes('RIP'))) return false;
    return line.time === undefined || last.time === undefined ? number - last.line < REST_LINES : line.time - last.time < REST_SECONDS;
  }

  /** Lines that continue a report name the same page and the same device, where they name one. */
  #samePlace(open: Report, match: RegExpExecArray): boolean {
    const { addr, dev } = holesOf(match);
    const same = (mine: string | undefined, its: string | undefined): boolean => mine === undefined || its === undefined || mine === its;
    return same(dev, open.device) && (open.rule.kind !== 'memory-failure' || same(addr, open.address));
  }

  #cause(time: number | undefined): Finding | undefined {
    this.#closeAll();
    for (let index = this.#findings.length - 1; index >= 0; index--) {
      const finding = this.#findings[index]!;
      if (finding.informational === true || finding.kind === 'dax-off') continue;
      if (time !== undefined && finding.time !== undefined && time - finding.time > CONSEQUENCE_WINDOW) return undefined;
      return finding;
    }
    return undefined;
  }

  #close(context: string): void {
    const report = this.#open.get(context);
    if (report === undefined) return;
    this.#open.delete(context);
    const cause = this.#keep(report);
    // Panics that were printed inside this report are its consequences.
    this.#panics = this.#panics.filter(([panic, inside]) => {
      if (inside !== report) return true;
      this.#keep(panic, cause);
      return false;
    });
  }

  #closeAll(): void {
    for (const context of [...this.#open.keys()]) this.#close(context);
  }

  #keep(report: Report, follows = report.follows): Finding | undefined {
    const finding = report.finish();
    if (finding.kind === 'dax-off') report.complete(finding);
    if (report.rule.kind === 'panic' || report.rule.expectsTrace) this.#lastTraced = { line: finding.endLine, time: finding.time, ended: report.ended };
    if (this.#saidBefore(finding)) return undefined;
    // Without a name for its place, a report that symbols will name is told from others by the address.
    const title = this.#symbols === undefined || report.place === undefined ? finding.title : `${finding.title} at ${report.place}`;
    const known = this.#seen.get(title);
    // The same report at the same instant is a replay: dmesg typed on the console, or printk catching up.
    if (finding.time !== undefined) {
      const key = `${finding.time} ${finding.header}`;
      if (this.#printed.has(key)) return undefined;
      if (this.#printed.size < MAX_PRINTED) this.#printed.add(key);
    }
    if (this.#findings.length >= this.#maxFindings || (known !== undefined && known.length >= this.#maxRepeats)) {
      this.#omitted++;
      const first = known?.[0];
      if (first !== undefined) first.repeats = (first.repeats ?? 0) + 1;
      return undefined;
    }
    report.complete(finding);
    if (known === undefined) this.#seen.set(title, [finding]);
    else known.push(finding);
    if (follows !== undefined) this.#follows.set(finding, follows);
    // In a log with time stamps, words without one are somebody's text unless a report follows them.
    if (!report.stamped && !report.sawBody) this.#unconfirmed.add(finding);
    if (this.#symbols !== undefined) this.#reports.set(finding, { report, boot: this.#boots });
    this.#findings.push(finding);
    return finding;
  }

  /** DAX is refused by the device and then, for that reason, by the file system: one event, told by the latter. */
  #saidBefore(finding: Finding): boolean {
    const last = this.#findings.at(-1);
    if (finding.kind !== 'dax-off' || last?.kind !== 'dax-off' || last.device !== finding.device) return false;
    if (finding.time === undefined || last.time === undefined || finding.time - last.time > 1 || finding.line - last.endLine > 3) return false;
    if (last.rule === 'dax-core') last.title = finding.title;
    if (last.excerpt.length < LIMITS.excerptChars) last.excerpt += `\n${finding.excerpt}`;
    last.endLine = finding.endLine;
    return true;
  }

  #fact(line: Line, number: number): void {
    if (line.user) return;
    const version = /^Linux version (\S+) (.*)/.exec(line.text);
    if (version !== null) {
      this.#bootLine = number;
      if (this.#boots > 0) {
        for (const report of this.#open.values()) report.cut('the machine restarted inside the report');
        this.#closeAll();
        this.#timeline.restart();
        this.#spent.fill(0);
        this.#printed.clear();
      }
      this.#boots++;
      this.#facts.release ??= version[1]!;
      this.#facts.version ??= line.text;
      return;
    }
    const cmdline = /^(?:Kernel )?[Cc]ommand line: (.*)/.exec(line.text);
    if (cmdline !== null) this.#facts.cmdline ??= cmdline[1]!;
    const machine = /^DMI: (.*)/.exec(line.text);
    if (machine !== null) this.#facts.machine ??= machine[1]!;
    const moved = /^Kernel Offset: 0x([0-9a-f]{1,16}) from 0x([0-9a-f]{1,16})/.exec(line.text);
    if (moved !== null && this.#offsets.size < MAX_BOOTS) this.#offsets.set(this.#boots, { offset: BigInt(`0x${moved[1]}`), base: BigInt(`0x${moved[2]}`) });
    const tainted = /\bTainted: ([A-Z](?:[A-Z ]*[A-Z])?)(?= {1,}\d|$)/.exec(line.text);
    if (tainted !== null) for (const flag of tainted[1]!.replace(/[ G]/g, '')) this.#taint.flags.add(flag);
  }

  /** Names and places for what was kept; returns how well the log and the symbols go together. */
  #symbolise(table: SymbolTable): KernelReport['symbols'] {
    const boots = new Map<number, BootSymbols>();
    const total = { checked: 0, matched: 0, addresses: 0, named: 0 };
    for (const [finding, { report, boot }] of this.#reports) {
      let symbols = boots.get(boot);
      if (symbols === undefined) boots.set(boot, (symbols = new BootSymbols(table, this.#offsets.get(boot))));
      report.symbolise(symbols);
      Object.assign(finding, report.finish());
      report.complete(finding);
    }
    for (const { match } of boots.values()) for (const count of ['checked', 'matched', 'addresses', 'named'] as const) total[count] += match[count];
    return total;
  }

  #result(): KernelReport {
    const symbols = this.#symbols === undefined ? undefined : this.#symbolise(this.#symbols);
    const stamped = this.#stampedLines >= STAMPED_FROM;
    const findings = this.#findings.filter((finding) => !(stamped && this.#unconfirmed.has(finding)));
    const stalls = this.#timeline.end();
    for (const stall of stalls) if (stall.explained === undefined) findings.push(stallFinding(stall));
    findings.sort((a, b) => a.line - b.line || a.endLine - b.endLine);
    for (const [finding, cause] of this.#follows) if (findings.includes(cause)) finding.follows = findings.indexOf(cause);
    for (const finding of findings) if (finding.kind === 'taint') this.#taint.lines.push(finding.header);
    const report: KernelReport = {
      findings,
      stalls,
      e820: this.#maps.e820,
      nodes: this.#maps.nodes,
      pmem: this.#maps.pmem(),
      nodeSpans: this.#maps.nodeSpans,
      zones: this.#maps.zones,
      srat: this.#maps.srat,
      milestones: this.#timeline.milestones,
      taint: { flags: [...this.#taint.flags].sort(), lines: this.#taint.lines.slice(0, 50) },
      ...this.#facts,
      clock: this.#stampedLines === 0 ? 'none' : this.#wallLines * 2 > this.#stampedLines ? 'wall' : 'kernel',
      // The last line may lack its end.
      lines: this.#number - (this.#endsLine ? 1 : 0),
      bytes: this.#bytes,
      boots: this.#boots,
      omitted: this.#omitted,
      ...(symbols === undefined ? {} : { symbols }),
    };
    const boot = this.#boot(findings);
    if (boot !== undefined) report.boot = boot;
    return report;
  }

  /** How the (last) boot went: it died when a complaint came and user space did not. */
  #boot(findings: readonly Finding[]): KernelReport['boot'] {
    if (!this.#timeline.sawBoot) return undefined;
    const seconds = this.#timeline.lastTime;
    const time = seconds === undefined ? {} : { seconds };
    if (this.#timeline.reachedUserSpace) return { outcome: 'user-space', ...time };
    const fatal = findings.findIndex(({ line, kind, informational }) => line >= this.#bootLine && FATAL.has(kind) && informational !== true);
    return fatal < 0 ? { outcome: 'unfinished', ...time } : { outcome: 'died', finding: fatal, ...time };
  }
}

function stallFinding(stall: KernelReport['stalls'][number]): Finding {
  const where = stall.subsystem === undefined ? '' : ` after ${stall.subsystem}`;
  return {
    kind: 'boot-stall',
    title: `boot stalled${where}`,
    time: stall.beforeTime,
    line: stall.beforeLine,
    endLine: stall.afterLine,
    excerpt: `${stall.before}\n${stall.after}`,
    rule: 'boot-stall',
    header: stall.before,
    message: `${stall.seconds.toFixed(1)} s without a line`,
  };
}

/** What a whole text says; for logs that are in memory anyway. */
export function parseKernelLog(text: string | Uint8Array, options?: KernelLogOptions): KernelReport {
  const log = new KernelLog(options);
  log.push(text);
  return log.end();
}

/** True for a finding that fails a workload; kinds that the workload provokes are no complaint. */
export function isComplaint(finding: Pick<Finding, 'kind' | 'informational'>, expectedKinds: Iterable<FindingKind> = []): boolean {
  if (finding.informational === true || finding.kind === 'taint') return false;
  for (const kind of expectedKinds) if (kind === finding.kind) return false;
  return true;
}
