// Takes one raw log line apart: whatever carried it (dmesg, /dev/kmsg, journalctl, a serial console, a mail) is peeled
// off, what stays is the kernel's text with the time and the context it was printed in.

export interface Line {
  /** The kernel's own text, indentation kept. */
  text: string;
  /** The line as shown in excerpts: without terminal codes and quoting. */
  shown: string;
  time?: number;
  /** True when `time` is wall-clock time (seconds since 1970, or since the start of its unnamed year). */
  wall: boolean;
  /** Caller id: T123 or C0. */
  caller?: string;
  /** Printed by user space: into /dev/kmsg, or by another program in the same journal. */
  user: boolean;
  /** The line carried a time stamp of its own. */
  stamped: boolean;
  /** What stood before the time stamp: a prompt, login text, the tail of another line. */
  mixed: boolean;
  /** Another message begins in the middle of the line; `text` ends where it does. */
  merged?: true;
}

const SPACE = 0x20;
const OPEN = 0x5b; // [
const CLOSE = 0x5d; // ]

// CSI and OSC sequences, charset switches, and single controls except tab.
// eslint-disable-next-line no-control-regex
const CONTROL = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()*+][A-Za-z0-9]|[@-Z\\^_=>cDEHM78])|[\x00-\x08\x0b-\x1f\x7f]/g;
/** One control byte that is no part of a kernel's text. */
export const NEEDS_CLEANING = /[\x00-\x08\x0b-\x1f\x7f]/;

const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';

/** Facility names of `dmesg --decode`. */
const DECODED = /^(kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d) *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: /;
// Month names are the language's of the machine.
const SYSLOG = /^ *(?:<\d+>(?:\d )?)?(\p{L}{3,5})\.? +(\d{1,2}) (\d\d):(\d\d):(\d\d)(\.\d+)? (?:\S+ )?(kernel|\S+?)(\[\d+\])?: ?/u;
const ISO = /^ *\[?(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?\]?:? /;
/** What follows a wall-clock stamp in a journal: host and program. */
const IDENTITY = /^(?:([\w.-]+) )?(kernel|[\w@./-]+)(\[\d+\])?: /;
const HUMAN = /^\[(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(\.\d+)? (\d{4})\] ?/;
const RELATIVE = /^\[(?:[A-Z][a-z]{2} ?\d{1,2} \d\d:\d\d| *[+<] *\d+\.\d+>?|\s*\d+\.\d+ < *\d+\.\d+>)\] ?/;
const MONOTONIC_HOST = /^(?:[\w.-]+ )?(kernel|[\w@./-]+)(\[\d+\])?: /;
const CALLER = /^ ?\[ *([TC]\d+)\] ?/;
const UNIX = /^(\d{9,10}\.\d{3,6}) (?:[\w.-]+ )?(kernel|[\w@./-]+)(\[\d+\])?: /;
const KMSG = /^(\d{1,5}),(\d+),(\d+),([^;\n]{0,64});/;
/** A kernel time stamp somewhere in a line: after a prompt, or in the middle of another line. */
const INNER_STAMP = /\[ *(\d{1,7}\.\d{6})\](?=[ [])/;
/** A program's own line in the kernel log: name[pid]: text, as systemd and udevd write them. */
const PROGRAM = /^(?!IOAPIC)[a-zA-Z][\w.@()-]*\[[1-9]\d*\]: /;
/** The kernel's own lines of that shape. */
const KERNEL_ABOUT_PROGRAM = /^[\w.@()-]+\[\d+\]: (?:segfault|bad frame|unhandled)/;
/** Stamps that CI systems and test runners put before a console line. */
const RUNNER = /^(?:\[ *\d+s\] |\[\d\d:\d\d:\d\d(?:\.\d+)?\] |\d\d:\d\d:\d\d(?:\.\d+)? (?=\[))/;
const PSTORE = /^(?:Panic|Oops)#\d+ Part\d+$/;

function month(name: string): number {
  const at = MONTHS.indexOf(name);
  return at >= 0 && at % 3 === 0 ? at / 3 : -1;
}

interface Stamp {
  length: number;
  time: number;
}

/** A kernel time stamp, `[   12.345678]`, at `from`; hand-written because it runs on every line of a boot. */
export function stampAt(text: string, from: number): Stamp | undefined {
  if (text.charCodeAt(from) !== OPEN) return undefined;
  let at = from + 1;
  const end = Math.min(text.length, from + 28);
  while (at < end && text.charCodeAt(at) === SPACE) at++;
  let seconds = 0;
  const first = at;
  for (; at < end; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) break;
    seconds = seconds * 10 + digit;
  }
  if (at === first || text.charCodeAt(at) !== 0x2e) return undefined;
  const point = ++at;
  let fraction = 0;
  let scale = 1;
  for (; at < end; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) break;
    fraction = fraction * 10 + digit;
    scale *= 10;
  }
  if (at - point < 3 || text.charCodeAt(at) !== CLOSE) return undefined;
  // One division of whole numbers: the nearest value, without the error of a sum.
  return { length: at + 1 - from, time: (seconds * scale + fraction) / scale };
}

/** Removes terminal codes; the common clean line costs one test. */
export function clean(raw: string): string {
  if (!NEEDS_CLEANING.test(raw)) return raw;
  return raw.replace(CONTROL, '');
}

/** Peels quote marks of mails: "> > | text". Returns the offset of the text. */
function unquote(text: string): number {
  let at = 0;
  for (;;) {
    let probe = at;
    while (text.charCodeAt(probe) === SPACE && probe - at < 2) probe++;
    const char = text.charCodeAt(probe);
    if (char !== 0x3e && char !== 0x7c) break; // > |
    at = probe + 1;
  }
  if (at > 0 && text.charCodeAt(at) === SPACE) at++;
  return at;
}

interface Carried {
  text: string;
  time?: number;
  wall?: boolean;
  user?: boolean;
  stamped?: boolean;
}

/** Wall-clock seconds; the year is left out where the log has none, so that only differences mean anything. */
function wallTime(year: number, monthIndex: number, day: number, h: string, m: string, s: string, fraction = ''): number {
  return Date.UTC(year, monthIndex, day, Number(h), Number(m), Number(s)) / 1000 + (fraction === '' ? 0 : Number(`0.${fraction}`));
}

function fromJournalJson(text: string): Carried | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof record !== 'object' || record === null) return undefined;
  const fields = record as Record<string, unknown>;
  const raw = fields['MESSAGE'] ?? fields['msg'];
  const message = Array.isArray(raw) ? Buffer.from(raw.filter((byte) => typeof byte === 'number')).toString('utf8') : raw;
  if (typeof message !== 'string') return undefined;
  const transport = fields['_TRANSPORT'] ?? (fields['SYSLOG_IDENTIFIER'] === 'kernel' ? 'kernel' : undefined);
  const micros = Number(fields['_SOURCE_MONOTONIC_TIMESTAMP'] ?? NaN);
  const wallMicros = Number(fields['_SOURCE_REALTIME_TIMESTAMP'] ?? fields['__REALTIME_TIMESTAMP'] ?? NaN);
  const carried: Carried = { text: message, stamped: true, user: transport !== undefined && transport !== 'kernel' };
  if (Number.isFinite(micros)) carried.time = micros / 1e6;
  else if (Number.isFinite(wallMicros)) {
    carried.time = wallMicros / 1e6;
    carried.wall = true;
  }
  return carried;
}

function fromSyslog(text: string): Carried | undefined {
  const match = SYSLOG.exec(text);
  if (match === null) return undefined;
  const monthIndex = Math.max(0, month(match[1]!));
  return {
    text: text.slice(match[0].length),
    time: wallTime(2000, monthIndex, Number(match[2]), match[3]!, match[4]!, match[5]!, match[6]?.slice(1)),
    wall: true,
    stamped: true,
    user: match[7] !== 'kernel',
  };
}

function fromIso(text: string): Carried | undefined {
  const match = ISO.exec(text);
  if (match === null) return undefined;
  let rest = text.slice(match[0].length);
  let user = false;
  const identity = rest.charCodeAt(0) === OPEN ? null : IDENTITY.exec(rest);
  // "host kernel: text" is a journal; without a host the stamp came from dmesg or a runner and "word:" is the text's own.
  if (identity !== null && (identity[1] !== undefined || identity[2] === 'kernel')) {
    user = identity[2] !== 'kernel';
    rest = rest.slice(identity[0].length);
  }
  const zone = match[8] === undefined || match[8] === 'Z' ? 0 : offsetSeconds(match[8]);
  const time = wallTime(Number(match[1]), Number(match[2]) - 1, Number(match[3]), match[4]!, match[5]!, match[6]!, match[7]);
  return { text: rest, time: time - zone, wall: true, stamped: true, user };
}

function offsetSeconds(zone: string): number {
  const digits = zone.replace(/\D/g, '');
  const seconds = Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2)) * 60;
  return zone.startsWith('-') ? -seconds : seconds;
}

function fromHuman(text: string): Carried | undefined {
  const match = HUMAN.exec(text);
  if (match !== null)
    return {
      text: text.slice(match[0].length),
      time: wallTime(Number(match[7]), Math.max(0, month(match[1]!)), Number(match[2]), match[3]!, match[4]!, match[5]!, match[6]?.slice(1)),
      wall: true,
      stamped: true,
    };
  const relative = RELATIVE.exec(text);
  return relative === null ? undefined : { text: text.slice(relative[0].length), stamped: true };
}

/** One record of /dev/kmsg, taken apart. */
export interface KmsgRecord {
  sequence: number;
  /** Seconds since boot. */
  time: number;
  level: number;
  facility: number;
  /** Written by user space. */
  user: boolean;
  /** T123 or C0, where the kernel gives it. */
  caller?: string;
  text: string;
  /** The KEY=value lines that follow a message of a device. */
  fields: Record<string, string>;
}

/** Reads one record as /dev/kmsg gives it: `prefix,seq,usec,flags[,...];text\n KEY=value\n`. */
export function parseKmsgRecord(record: string): KmsgRecord | undefined {
  const match = KMSG.exec(record);
  if (match === null) return undefined;
  const [text = '', ...rest] = record.slice(match[0].length).replace(/\n$/, '').split('\n');
  const fields: Record<string, string> = {};
  for (const line of rest) {
    const equals = line.indexOf('=');
    if (line.startsWith(' ') && equals > 1) fields[line.slice(1, equals)] = unescapeKmsg(line.slice(equals + 1));
  }
  const prefix = Number(match[1]);
  const caller = /caller=([TC]\d+)/.exec(match[4]!)?.[1];
  return {
    sequence: Number(match[2]),
    time: Number(match[3]) / 1e6,
    level: prefix & 7,
    facility: prefix >> 3,
    user: prefix >> 3 !== 0,
    ...(caller === undefined ? {} : { caller }),
    text: unescapeKmsg(text),
    fields,
  };
}

/** /dev/kmsg writes unprintable bytes as \xNN. */
const unescapeKmsg = (text: string): string =>
  text.includes('\\x') ? text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))) : text;

/** Takes a raw line apart. Linear in its length; callers bound the length. `dirty`: it may hold terminal codes. */
export function parseLine(raw: string, dirty = true): Line {
  let shown = dirty ? clean(raw) : raw;
  const quoted = unquote(shown);
  if (quoted > 0) shown = shown.slice(quoted);
  shown = shown.trimEnd();

  const plain = kernelStamped(shown, shown, 0);
  if (plain !== undefined) return plain;
  return carriedLine(shown);
}

/** The line when the text at `at` begins with a kernel time stamp. */
function kernelStamped(shown: string, text: string, at: number): Line | undefined {
  let from = at;
  // <4>[    1.234567]
  if (text.charCodeAt(from) === 0x3c) {
    const level = /^<\d{1,3}>/.exec(text.slice(from, from + 6));
    if (level === null) return undefined;
    from += level[0].length;
  }
  const stamp = stampAt(text, from);
  if (stamp === undefined) return undefined;
  from += stamp.length;
  let caller: string | undefined;
  const next = text.charCodeAt(from);
  if (next === OPEN || (next === SPACE && text.charCodeAt(from + 1) === OPEN)) {
    const match = CALLER.exec(text.slice(from, from + 24));
    if (match !== null) {
      caller = match[1]!;
      from += match[0].length;
    } else if (next === SPACE) from++;
  } else if (next === SPACE) from++;
  let rest = text.slice(from);
  let user = false;
  // What may stand in front, a host and a program, ends at the first colon; an indented line has neither.
  const colon = rest.charCodeAt(0) === SPACE ? -1 : rest.indexOf(': ');
  if (colon > 0) {
    const before = rest.charCodeAt(colon - 1);
    if (before === CLOSE) user = PROGRAM.test(rest) && !KERNEL_ABOUT_PROGRAM.test(rest);
    else if (colon < 80 && rest.endsWith('kernel', colon) && !rest.startsWith('kernel: usercopy')) {
      // journalctl -o short-monotonic: [    1.234567] host kernel: text
      const host = MONOTONIC_HOST.exec(rest);
      if (host !== null && host[1] === 'kernel') rest = rest.slice(host[0].length);
      user = PROGRAM.test(rest) && !KERNEL_ABOUT_PROGRAM.test(rest);
    }
  }
  const line: Line = { text: rest, shown, time: stamp.time, wall: false, user, stamped: true, mixed: at > 0 };
  if (caller !== undefined) line.caller = caller;
  const second = rest.includes('[', 1) ? INNER_STAMP.exec(rest) : null;
  if (second !== null && second.index > 0) {
    line.text = rest.slice(0, second.index);
    line.merged = true;
  }
  return line;
}

function carriedLine(shown: string): Line {
  let carried = carriedBy(shown);
  let text = carried?.text ?? shown;
  // A carrier may wrap a kernel time stamp of its own, which is the better clock.
  if (carried !== undefined) {
    const inner = kernelStamped(shown, text, 0);
    if (inner !== undefined) return { ...inner, user: inner.user || carried.user === true };
  } else {
    const level = /^<\d{1,3}>/.exec(shown);
    if (level !== null) text = shown.slice(level[0].length);
    const mixed = INNER_STAMP.exec(shown.slice(0, 256));
    if (mixed !== null) {
      const inner = kernelStamped(shown, shown, mixed.index);
      if (inner !== undefined) return inner;
    }
    if (PSTORE.test(shown)) carried = { text: '' };
  }
  let caller: string | undefined;
  const match = carried?.stamped === true ? CALLER.exec(text) : null;
  if (match !== null) {
    caller = match[1]!;
    text = text.slice(match[0].length);
  }
  const line: Line = {
    text,
    shown,
    wall: carried?.wall === true,
    user: carried?.user === true || (PROGRAM.test(text) && !KERNEL_ABOUT_PROGRAM.test(text)),
    stamped: carried?.stamped === true,
    mixed: false,
  };
  if (carried?.time !== undefined) line.time = carried.time;
  if (caller !== undefined) line.caller = caller;
  return line;
}

function carriedBy(shown: string): Carried | undefined {
  const first = shown.charCodeAt(0);
  if (first === 0x7b) return fromJournalJson(shown); // {
  if (first >= 0x30 && first <= 0x39) {
    const kmsg = KMSG.exec(shown);
    if (kmsg !== null) {
      const caller = /caller=([TC]\d+)/.exec(kmsg[4]!)?.[1];
      const text = unescapeKmsg(shown.slice(kmsg[0].length));
      return { text: caller === undefined ? text : `[${caller}] ${text}`, time: Number(kmsg[3]) / 1e6, stamped: true, user: Number(kmsg[1]) >> 3 !== 0 };
    }
    const unix = UNIX.exec(shown);
    if (unix !== null) return { text: shown.slice(unix[0].length), time: Number(unix[1]), wall: true, stamped: true, user: unix[2] !== 'kernel' };
    const runner = RUNNER.exec(shown);
    if (runner !== null) return { text: shown.slice(runner[0].length) };
    return fromIso(shown);
  }
  if (first === OPEN) {
    const human = fromHuman(shown) ?? fromIso(shown);
    if (human !== undefined) return human;
    const runner = RUNNER.exec(shown);
    if (runner !== null) return { text: shown.slice(runner[0].length) };
    return undefined;
  }
  if (first === 0x3c) return fromSyslog(shown) ?? carriedByLevel(shown);
  const decoded = first >= 0x61 ? DECODED.exec(shown) : null;
  if (decoded !== null) {
    const rest = shown.slice(decoded[0].length);
    const inner = rest.charCodeAt(0) === OPEN ? fromHuman(rest) ?? fromIso(rest) : undefined;
    return { text: rest, ...inner, user: decoded[1] !== 'kern' };
  }
  if (first === SPACE) return fromSyslog(shown) ?? fromIso(shown);
  return first > 0x40 ? fromSyslog(shown) : undefined;
}

function carriedByLevel(shown: string): Carried | undefined {
  const level = /^<\d{1,3}>/.exec(shown);
  if (level === null) return undefined;
  const rest = shown.slice(level[0].length);
  return rest.charCodeAt(0) === OPEN ? fromHuman(rest) : undefined;
}
