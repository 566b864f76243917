// One report being read: its header has been seen, its lines are coming in, and at the end it is made into a finding.
import { isHelper, sourceName } from './guilty.js';
import { nameFrame, parseBody, registersOf, type BodyItem, type Frame } from './body.js';
import type { Line } from './line.js';
import { holesOf, type Rule } from './rules.js';
import type { BootSymbols } from './symbols.js';
import { scrub } from './titles.js';
import type { Finding, SymbolisedFrame } from './types.js';

export const LIMITS = {
  /** Lines and characters of an excerpt. */
  excerptLines: 120,
  excerptChars: 8192,
  lineChars: 320,
  frames: 48,
  registerLines: 64,
  /** Foreign lines in one report; a recursion's trace alone may have thousands of its own. */
  foreignLines: 400,
  message: 300,
} as const;

/** Foreign lines in a row that end a report. */
const TOLERATED = { none: 0, trace: 8, free: 40 } as const;
/** The same while the trace that the header promises has not come, or has not come to its end. */
const TOLERATED_BEFORE_TRACE = 60;

/** A trace of fewer frames that are all helpers has lost its rest. */
const BROKEN_BELOW = 6;

/** A fault of the instruction fetch itself. */
const FETCH = /^#PF: supervisor instruction fetch|^kernel tried to execute|^Oops: (?:Oops: )?001[0-9a-f] /;

/** First letters of those wordings: most lines begin with none of them. */
const FETCH_BEGINS = [0x23, 0x6b, 0x4f]; // # k O

/** Seconds of silence that end a report. */
const SILENCE = 10;

/** Frames that lie between an interrupt and what it interrupted. */
const INTERRUPT_ENTRY = /^(?:asm_sysvec_\w*|(?:smp_)?apic_timer_interrupt|el1h?_(?:64_)?irq|ret_from_intr|__irq_svc|asm_common_interrupt)$/;

interface Trace {
  frames: Frame[];
  /** Where the interrupted context begins: the frames above are the interrupt's. */
  interruptedFrom: number;
  openStack: string | undefined;
}

export class Report {
  rule: Rule;
  title: string | undefined;
  ended = false;
  readonly line: number;
  #header: string;
  #message: string | undefined;
  #groups: Record<string, string> = {};
  #endLine: number;
  #lines: string[] = [];
  #chars = 0;
  /** Excerpt lines up to the last one that surely belongs to the report. */
  #keep = 1;
  #foreign = 0;
  #foreignInAll = 0;
  #lastTime: number | undefined;
  readonly time: number | undefined;
  readonly caller: string | undefined;
  /** The header carried a time stamp although, or because, the log does. */
  readonly stamped: boolean;
  #traces: Trace[] = [];
  #current: Trace | undefined;
  /** Inside a trace that is not the report's own (allocated by, held locks, another CPU). */
  #aside = false;
  #pc: Frame | undefined;
  #pcs = 0;
  #fetched = false;
  #userMode = false;
  #headerFunction: string | undefined;
  #sawBody = false;
  #cpu: Extract<BodyItem, { type: 'cpu' }> | undefined;
  /** Lines of registers: taken apart when the report is kept. */
  #registerLines: string[] = [];
  #code: string | undefined;
  #workqueue: string | undefined;
  #corruption: string | undefined;
  #follows: Finding | undefined;
  #carriedOut = false;
  #symbolised: SymbolisedFrame[] | undefined;

  constructor(rule: Rule, match: RegExpExecArray, line: Line, number: number, follows?: Finding) {
    this.rule = rule;
    this.line = number;
    this.#endLine = number;
    this.time = line.time;
    this.#lastTime = line.time;
    this.caller = line.caller;
    this.stamped = line.stamped;
    this.#header = headerText(line.text, match);
    this.#follows = follows;
    this.#carriedOut = follows !== undefined;
    this.#take(match);
    if (line.merged === true) this.#corruption = 'two messages in one line';
    if (rule.headless === true) this.#corruption = 'the header is lost';
    if (rule.prelude === true) this.title = rule.id === 'cut-here' ? undefined : rule.title;
    this.#show(line);
    // Without a header the first line is one of the body.
    if (rule.id === 'orphan') this.ended = this.#body(line)?.type === 'end';
  }

  /** A further header line of the same report. */
  absorb(rule: Rule, match: RegExpExecArray, line: Line, number: number): void {
    const prelude = this.rule.prelude === true;
    if (prelude && rule.id === 'cut-here') {
      this.#corruption = undefined;
    } else if (prelude) {
      // The announcing message keeps its title; what it announced says what it is.
      if (rule.prelude === true) this.title = rule.title;
      this.#corruption = undefined;
      if (this.rule.id !== 'cut-here') this.#message ??= this.#header;
      this.rule = rule;
      if (rule.prelude === true) this.#message = headerText(line.text, match);
      else this.#header = headerText(line.text, match);
      this.#take(match);
    } else if (rule.prelude === true) {
      this.title = rule.title;
      this.#message ??= headerText(line.text, match);
    } else if (rule.retitles === true) {
      this.rule = rule;
      this.#take(match);
      this.#header = headerText(line.text, match);
    } else {
      for (const [name, value] of Object.entries(holesOf(match))) if (name !== 'what') this.#groups[name] ??= value;
    }
    this.#show(line);
    this.#belongs(number, line);
    if (rule.id === 'orphan') this.#body(line);
  }

  #take(match: RegExpExecArray): void {
    Object.assign(this.#groups, holesOf(match));
    const named = this.#groups['func'];
    if (named !== undefined) this.#headerFunction = named;
  }

  /** True while an equal wording of `rule` may still be this very report. */
  accepts(rule: Rule): boolean {
    if (this.ended) return false;
    if (this.rule.prelude === true && !this.sawTrace) return rule.prelude === true || (rule.expectsTrace && rule.id !== 'orphan');
    if (rule.continuesFault === true && this.rule.expectsTrace && !this.sawTrace) return true;
    // The message of a WARN may also come after its header.
    if (rule.prelude === true && rule.id !== 'cut-here' && this.rule.kind === 'warning') return !this.sawTrace;
    return rule.partOf?.includes(this.rule.id) === true;
  }

  /** Takes a line that is no header. Returns false when the report is over and the line is not its own. */
  add(line: Line, number: number): boolean {
    if (this.silentUntil(line)) return false;
    const item = line.user ? undefined : this.#body(line);
    if (item === undefined) {
      if (this.rule.body === 'none' || this.ended) return false;
      this.#message_(line);
      // Between time-stamped lines, a line without a stamp is not the kernel's.
      if (!this.stamped || line.stamped) this.#foreign++;
      if (this.#foreign > this.#tolerated() || ++this.#foreignInAll > LIMITS.foreignLines) return false;
      this.#show(line);
      return true;
    }
    this.#foreign = 0;
    this.#show(line);
    this.#belongs(number, line);
    if (item.type === 'end') this.ended = true;
    return true;
  }

  #tolerated(): number {
    return this.rule.expectsTrace && this.#incomplete() ? TOLERATED_BEFORE_TRACE : TOLERATED[this.rule.body];
  }

  /** The free text between "cut here" and the header, or that explains the header, is its message. */
  #message_(line: Line): void {
    const text = line.text.trim();
    if (text === '' || this.#sawBody) return;
    if (this.rule.prelude === true || this.rule.id.startsWith('ubsan') || this.rule.kind === 'oom') this.#message ??= text.slice(0, LIMITS.message);
  }

  #belongs(number: number, line: Line): void {
    this.#endLine = number;
    if (line.time !== undefined) this.#lastTime = line.time;
    this.#keep = this.#lines.length;
  }

  #show(line: Line): void {
    if (this.#lines.length >= LIMITS.excerptLines || this.#chars >= LIMITS.excerptChars) return;
    const shown = line.shown.slice(0, LIMITS.lineChars);
    this.#lines.push(shown);
    this.#chars += shown.length + 1;
  }

  #body(line: Line): BodyItem | undefined {
    const { text } = line;
    const kind = this.rule.kind;
    if (kind === 'kasan' || kind === 'lockdep') this.#readFreeText(text);
    // The program counter is no code then: who called it is in the trace.
    if (!this.#fetched && FETCH_BEGINS.includes(text.charCodeAt(0)) && FETCH.test(text)) this.#fetched = true;
    const item = parseBody(text);
    switch (item?.type) {
      case undefined:
        return undefined;
      case 'frame':
        this.#frame(item.frame);
        break;
      case 'trace':
        this.#current = undefined;
        this.#aside = false;
        this.#sawBody = true;
        this.#startTrace();
        break;
      case 'other-trace':
        // The other CPU's state is what a stall report is about; anything else is background.
        this.#aside = !/NMI backtrace|Sending NMI/.test(text);
        this.#current = undefined;
        break;
      case 'stack':
        this.#stack(item.name, item.open);
        break;
      case 'pc':
        this.#programCounter(item);
        break;
      case 'cpu':
        this.#cpu ??= item;
        this.#sawBody = true;
        break;
      case 'registers':
        if (!this.#userMode && this.#registerLines.length < LIMITS.registerLines) this.#registerLines.push(text);
        break;
      case 'code':
        if (!this.#userMode && item.code !== '') this.#code ??= item.code;
        break;
      case 'workqueue':
        this.#workqueue ??= item.name;
        break;
      case 'end':
      case 'part':
        break;
      default:
        item satisfies never;
    }
    return item;
  }

  /** What KASAN and lockdep say in words rather than in frames. */
  #readFreeText(text: string): void {
    const access = /^ ?(Read|Write) (?:of size|at addr)/.exec(text);
    if (access !== null) this.#groups['access'] ??= access[1]!;
    const user = /by task ([^/]+(?:\/\S+)?)\/(\d+)/.exec(text);
    if (user !== null && this.#groups['task'] === undefined) {
      this.#groups['task'] = user[1]!;
      this.#groups['pid'] = user[2]!;
    }
    if (this.#headerFunction === undefined && this.rule.kind === 'lockdep') {
      const lock = /(?:,|\]) at: (?:\[<[0-9a-f]+>\] )?([\w.]+)(?:\+0x[0-9a-f]+\/0x[0-9a-f]+)?/.exec(text);
      if (lock !== null && !isHelper(sourceName(lock[1]!))) this.#headerFunction = lock[1]!;
      const taking = /^(\S.*)\/(\d+) (?:is trying to|\[HC\d|just changed|is exiting|is leaving|was holding)/.exec(text);
      if (taking !== null) {
        this.#groups['task'] ??= taking[1]!;
        this.#groups['pid'] ??= taking[2]!;
      }
    }
  }

  #startTrace(): Trace {
    const trace: Trace = { frames: [], interruptedFrom: -1, openStack: undefined };
    this.#current = trace;
    if (this.#traces.length < 4) this.#traces.push(trace);
    return trace;
  }

  #frame(frame: Frame): void {
    if (this.#aside) return;
    this.#sawBody = true;
    const trace = this.#current ?? this.#startTrace();
    if (trace.frames.length < LIMITS.frames) trace.frames.push(frame);
    if (INTERRUPT_ENTRY.test(frame.name)) trace.interruptedFrom = trace.frames.length;
  }

  #stack(name: string, open: boolean): void {
    this.#sawBody = true;
    const trace = this.#current;
    if (trace === undefined) return;
    if (name === 'EOI' || name === 'EOE' || (!open && (name === 'IRQ' || name === 'NMI'))) {
      trace.interruptedFrom = trace.frames.length;
      trace.openStack = undefined;
    } else if (open) trace.openStack = name;
    else trace.openStack = undefined;
  }

  #programCounter(item: Extract<BodyItem, { type: 'pc' }>): void {
    this.#userMode = item.user;
    if (item.user) return;
    this.#sawBody = true;
    this.#pcs++;
    if (this.#aside) return;
    // For a stall the first one is where the CPU was; later ones in a trace are older interrupted contexts.
    if (item.frame !== undefined && (this.#pc === undefined || (this.rule.guilty === 'interrupted' && this.#helper(this.#pc.name)))) this.#pc = item.frame;
  }

  #helper(symbol: string): boolean {
    return isHelper(sourceName(symbol), this.rule.skipping);
  }

  /** The trace that tells most: the first with frames that can be relied on. */
  #mainTrace(): Trace | undefined {
    const filled = this.#traces.filter((trace) => trace.frames.length > 0);
    return filled.find((trace) => trace.frames.some((frame) => frame.reliable)) ?? filled[0];
  }

  #candidates(): Frame[] {
    const trace = this.#mainTrace();
    const all = trace?.frames ?? [];
    const reliable = all.filter((frame) => frame.reliable);
    const frames = reliable.length > 0 ? reliable : all;
    if (this.rule.guilty !== 'interrupted') return frames;
    const from = trace?.interruptedFrom ?? -1;
    return from > 0 ? [...all.slice(from).filter((frame) => frame.reliable), ...frames] : frames;
  }

  /** The guilty function, by the rule's way of telling. */
  #guilty(): { name: string; module?: string } | undefined {
    const { guilty } = this.rule;
    // A panic that carries out what another report decided has no place of its own.
    if (guilty === 'none' || this.#carriedOut) return undefined;
    const ordered: Frame[] = [];
    if (guilty === 'header' && this.#headerFunction !== undefined) ordered.push(bare(this.#headerFunction));
    const pc = this.#pc?.raw === undefined ? this.#pc : undefined;
    if (pc !== undefined && guilty !== 'blocked' && guilty !== 'trace' && !this.#fetched) ordered.push(pc);
    const frames = this.#candidates();
    const first = ordered[0];
    // A WARN that traps prints its own entry first; everything above the frame that the header or the pc names is that.
    const named = ordered.find((frame) => !this.#helper(frame.name)) ?? first;
    const below = named === undefined ? -1 : frames.findIndex((frame) => frame.name === named.name);
    ordered.push(...(below >= 0 ? frames.slice(below) : frames));
    if (guilty === 'trace' && pc !== undefined) ordered.push(pc);
    const found = ordered.find((frame) => !this.#helper(frame.name)) ?? named;
    if (found === undefined) return undefined;
    return { name: sourceName(found.name), ...(found.module === undefined ? {} : { module: found.module }) };
  }

  /** The page or address that the header names. */
  get address(): string | undefined {
    return this.#groups['addr'];
  }

  /** The address where it happened, in hexadecimal digits, when it was printed without a name. */
  get place(): string | undefined {
    return this.#pc?.raw ?? this.#mainTrace()?.frames[0]?.raw;
  }

  get device(): string | undefined {
    return this.#groups['dev'];
  }

  /** So much time has passed that the line can be no part of this. */
  silentUntil(line: Line): boolean {
    return line.time !== undefined && this.#lastTime !== undefined && line.time - this.#lastTime > SILENCE;
  }

  /** Seen from outside: something of a body has come, so that a further header is a further report. */
  get sawBody(): boolean {
    return this.#sawBody;
  }

  /** Frames of its own have come. */
  get sawTrace(): boolean {
    return this.#traces.some((trace) => trace.frames.length > 0);
  }

  /** It is a consequence of something that the log does not show. */
  lost(): void {
    this.#carriedOut = true;
    this.#corruption = 'what it is a consequence of is not in the log';
  }

  /** The log, or this report's part of it, broke off. */
  cut(reason: string): void {
    if (this.rule.expectsTrace && !this.ended) this.#corruption ??= this.#incomplete() ? reason : undefined;
  }

  #incomplete(): boolean {
    const trace = this.#mainTrace();
    if (trace === undefined) return true;
    return trace.openStack === 'TASK' || trace.openStack === 'IRQ';
  }

  #corrupt(): string | undefined {
    if (this.#corruption !== undefined) return this.#corruption;
    if (!this.rule.expectsTrace) return undefined;
    const main = this.#mainTrace();
    if (main !== undefined) {
      const broken = main.frames.length < BROKEN_BELOW && this.rule.guilty === 'blocked' && main.frames.every((frame) => this.#helper(frame.name));
      return broken ? 'the call trace breaks off' : undefined;
    }
    if (this.#traces.length > 0) return 'the call trace is missing';
    return 'no call trace';
  }

  /** Names the frames that were printed as bare addresses, and finds the places of the others; `finish` then knows them. */
  symbolise(symbols: BootSymbols): void {
    const frames: SymbolisedFrame[] = [];
    const take = (frame: Frame, pc: boolean): void => {
      const found = frame.raw === undefined ? undefined : symbols.resolve(BigInt(`0x${frame.raw}`), !pc);
      if (found !== undefined) nameFrame(frame, found);
      const { name, offset, size, module, reliable } = frame;
      if (offset === undefined || size === undefined) return;
      const address = found?.linked ?? symbols.locate(name, offset, size, module);
      frames.push({
        function: sourceName(name),
        offset,
        size,
        ...(module === undefined ? {} : { module }),
        ...(address === undefined ? {} : { address: `0x${address.toString(16)}` }),
        ...(pc ? { pc: true as const } : {}),
        ...(reliable ? {} : { uncertain: true as const }),
      });
    };
    if (this.#pc !== undefined) take(this.#pc, true);
    for (const trace of this.#traces)
      for (const [index, frame] of trace.frames.entries()) {
        const unnamed = frame.raw !== undefined;
        if (trace === this.#mainTrace()) take(frame, false);
        else if (unnamed) {
          const found = symbols.resolve(BigInt(`0x${frame.raw}`), true);
          if (found !== undefined) nameFrame(frame, found);
        }
        if (unnamed && INTERRUPT_ENTRY.test(frame.name)) trace.interruptedFrom = index + 1;
      }
    this.#symbolised = frames;
  }

  /** The finding that this report amounts to; `complete` adds what only a finding that is kept needs. */
  finish(): Finding {
    const guilty = this.#guilty();
    const { rule } = this;
    const groups = this.#groups;
    const finding: Finding = {
      kind: rule.kind,
      title: '',
      line: this.line,
      endLine: this.#endLine,
      excerpt: '',
      rule: rule.id,
      header: this.#header.slice(0, LIMITS.message),
    };
    if (guilty !== undefined) {
      finding.function = guilty.name;
      if (guilty.module !== undefined) finding.module = guilty.module;
    }
    const task = groups['task'] ?? this.#cpu?.task;
    if (task !== undefined) finding.task = task;
    const pid = groups['pid'] ?? this.#cpu?.pid;
    if (pid !== undefined) finding.pid = Number(pid);
    const cpu = groups['cpu'] ?? this.#cpu?.cpu;
    if (cpu !== undefined) finding.cpu = Number(cpu);
    if (this.time !== undefined) finding.time = this.time;
    const corruption = this.#corrupt();
    if (corruption !== undefined) {
      finding.corrupted = true;
      finding.corruption = corruption;
    }
    if (rule.informational === true) finding.informational = true;
    if (groups['dev'] !== undefined) finding.device = groups['dev'];
    if (rule.id === 'orphan' && this.#pcs === 0 && !this.ended) {
      // A bare stack dump: somebody wondered, nothing broke.
      finding.kind = 'warning';
      this.title = 'call trace without a header in {func}';
    }
    finding.title = this.#makeTitle(finding);
    return finding;
  }

  /** Adds the details: excerpt, trace, registers. */
  complete(finding: Finding): void {
    const { rule } = this;
    const groups = this.#groups;
    finding.excerpt = this.#lines.slice(0, Math.max(1, this.#keep)).join('\n');
    if (this.#message !== undefined) finding.message = this.#message;
    const registers: Record<string, string> = {};
    for (const text of this.#registerLines) for (const [name, value] of registersOf(text)) registers[name] ??= value;
    const address = groups['addr'] ?? (rule.kind === 'page-fault' || rule.kind === 'null-deref' ? registers['CR2'] : undefined);
    if (address !== undefined) finding.address = /^[0-9a-f]+$/.test(address) ? `0x${BigInt(`0x${address}`).toString(16)}` : address;
    if (groups['src'] !== undefined) finding.source = groups['src'];
    if (groups['killed'] !== undefined) finding.killed = groups['killed'];
    const trace = this.#mainTrace();
    if (trace !== undefined) finding.trace = trace.frames.map((frame) => `${frame.reliable ? '' : '? '}${frame.shown}`);
    if (this.#symbolised !== undefined && this.#symbolised.length > 0) finding.frames = this.#symbolised;
    if (Object.keys(registers).length > 0) finding.registers = registers;
    if (this.#code !== undefined) finding.code = this.#code;
    if (this.#workqueue !== undefined) finding.workqueue = this.#workqueue;
    if (this.#cpu?.tainted !== undefined) finding.tainted = this.#cpu.tainted;
    if (this.#cpu?.release !== undefined) finding.release = this.#cpu.release;
    if (this.caller !== undefined) finding.caller = this.caller;
  }

  get follows(): Finding | undefined {
    return this.#follows;
  }

  #makeTitle(finding: Finding): string {
    const valueOf = (name: string): string | undefined => (name === 'func' ? finding.function : name === 'device' ? deviceClass(this.#groups['dev']) : this.#groups[name]);
    const template = this.title ?? this.rule.title;
    const filled = template
      .replace(/ in \{func\}/, () => (finding.function === undefined ? '' : ` in ${finding.function}`))
      .replace(/ ?\{(\w+)\}/g, (hole, name: string) => {
        const value = valueOf(name);
        return value === undefined ? '' : `${hole.startsWith(' ') ? ' ' : ''}${name === 'func' || name === 'pair' ? value : scrub(value)}`;
      });
    return filled.replace(/[ :,]+$/, '').slice(0, 160);
  }
}

function headerText(text: string, match: RegExpExecArray): string {
  // What stands before a header in the same line is another line's tail or a prompt.
  return text.slice(match.index).replace(/^[^\w\[({-]+/, '').trimEnd();
}

function bare(name: string): Frame {
  return { name, shown: name, reliable: true };
}

/** pmem0p1 -> pmem: titles are stable over machines. */
function deviceClass(device: string | undefined): string | undefined {
  return device?.replace(/\d.*$/, '').replace(/[-_.]+$/, '') || device;
}
