// The lines below a report's header: frames, program counter, registers, the CPU line. One function says what a line is.
import { memoized } from './memo.js';

export interface Frame {
  name: string;
  /** "name+0x5/0x90 [module]" or "name (file:line)", as printed. */
  shown: string;
  module?: string;
  source?: string;
  reliable: boolean;
  /** Bytes into the function, and its size, where they were printed. */
  offset?: number;
  size?: number;
  /** The run-time address of a frame that was printed without a name, in hexadecimal digits. */
  raw?: string;
}

export type BodyItem =
  | { type: 'frame'; frame: Frame }
  | { type: 'pc'; frame?: Frame; user: boolean }
  | { type: 'trace' }
  | { type: 'other-trace' }
  | { type: 'stack'; name: string; open: boolean }
  | { type: 'cpu'; cpu: number; pid: number; task: string; tainted?: string; release?: string }
  | { type: 'registers' }
  | { type: 'code'; code: string }
  | { type: 'workqueue'; name: string }
  | { type: 'end' }
  | { type: 'part' };

// 64-bit powerpc puts a dot before the name.
const SYMBOL = String.raw`\.?[A-Za-z_$][\w.$]*`;
const MODULE = String.raw`(?: \[([\w-]+)(?: [^\]]*)?\])?`;
// " [<ffffffff8107b7b4>] ? name+0x84/0xa0 [mod]", " ? name+0x84/0xa0", "([<...>] name+0x..)", with file:line appended or not
const FRAME = new RegExp(
  String.raw`^ *\(?(?:\[[<\(]?[0-9a-fx ]+[>\)]?\] *){0,2}(?:[<(][0-9a-f]{8,16}[>)] *)?(\? )?(${SYMBOL})\+0x([0-9a-f]+)/0x([0-9a-f]+)${MODULE}\)?(?: \(?([\w./+-]+\.[chSr][\w]*:\d+))?`,
);
// decode_stacktrace.sh: " name (fs/dax.c:123 (discriminator 3)) mod"; syzkaller: " name fs/dax.c:123 [inline]"
const DECODED = new RegExp(String.raw`^ *(\? )?(${SYMBOL}) \(?([\w./+-]+\.[chSr]\w*:\d+)(?: \(discriminator \d+\))?\)?(?: (?:\[inline\]|[\w-]+))?\)? ?$`);
const ARM_FRAME = new RegExp(String.raw`^ *\[<[0-9a-f]+>\] \((${SYMBOL})(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?\) from`);
const ARM_FRAME_NEW = new RegExp(String.raw`^ *(${SYMBOL})(?: \[[\w-]+\])? from (${SYMBOL})\+0x[0-9a-f]+/0x[0-9a-f]+`);

/** A kernel without kallsyms, or a place in no function: "[<ffffffff81234567>] ? 0xffffffff81234567" */
const RAW_FRAME = /^ *(?:\[<([0-9a-f]{8,16})>\] *)?(\? +)?(?:0x([0-9a-f]{8,16}))? *$/;
const RAW_BEGINS = /^ *(?:\[<|\? +0x|0x)/;
const PC_RAW = /^ *(?:\[<|0x)([0-9a-f]{8,16})\b/;

const PC = new RegExp(
  String.raw`^ *(?:RIP|EIP|IP|NIP|PC is at|pc|epc|Krnl PSW)(?: is at)? ?:? *(?:([0-9a-f]{4}):)?(.*)$`,
);
const PC_WORD = /^ *(?:RIP|EIP|IP|NIP|PC is at|pc|epc|Krnl PSW|RIP )(?=[ :[])/;
const PC_SYMBOL = new RegExp(String.raw`(?:^|[ \](:])(${SYMBOL})\+0x([0-9a-f]+)/0x([0-9a-f]+)${MODULE}`);
const PC_DECODED = new RegExp(String.raw`^(?:0x[0-9a-f]+ )?(${SYMBOL}) \(([\w./+-]+\.[chSr]\w*:\d+)`);

const CPU = /^ *CPU: (\d+)(?: UID: \d+)? PID: (\d+) Comm: (.*?) (?:Kdump: loaded )?(?:Not tainted|Tainted: ([A-Z](?:[A-Z ]*[A-Z])?))(?:[ -]+([0-9]\S*))?/;
const CPU_SHORT = /^ *CPU: (\d+)(?: UID: \d+)? PID: (\d+) Comm: (.*?)(?: Not taint| Tainted|$)/;
const OLD_CPU = /^ *Pid: (\d+), comm: (.*?) (?:Not tainted|Tainted: ([A-Z](?:[A-Z ]*[A-Z])?))(?: +([0-9]\S*))?/;
const TRACE = /^ *(?:\w+ )?(?:Call Trace|Call trace|Backtrace|stack backtrace|Stack backtrace)(?:\[[^\]]*\])?:/;
const OTHER_TRACE = /^ *(?:(?:Allocated|Freed)(?: by task \d+.*)?:|Last potentially related work creation:|Second to last potentially|page_owner |page last (?:allocated|free)|Uninit was (?:stored|created)|Local variable .* created|allocated by task|freed by task|(?:Possibly|The buggy address belongs)|-> #\d+ |the existing dependency chain|(?:hard|soft)irqs? last +(?:enabled|disabled)|write to 0x|read to 0x|value changed|INFO: (?:Allocated|Freed) in|Showing all locks held|NMI backtrace for cpu|Sending NMI)/;
const HELD = /^ *(?:\d+ locks? held by|\S.* held by )/;
const STACK = /^ *<(\/?)(IRQ|TASK|NMI|SOFTIRQ|#DF|#DB|#VC\d?|ENTRY_TRAMPOLINE|SYSENTER|<EOE>|EOI|EOE|UNK|BOTTOM HALF)>/;
const REGISTER = /\b(RSP|EFLAGS|RAX|RBX|RCX|RDX|RSI|RDI|RBP|R0[89]|R1[0-5]|FS|GS|knlGS|CS|DS|ES|CR[0234]|ORIG_RAX|PKRU|EAX|EBX|ECX|EDX|ESI|EDI|EBP|ESP|SS|sp|pstate|x\d{1,2}|r\d{1,2}|GPR\d\d|ra|gp|tp|t[0-6]|s\d{1,2}|a[0-7]|status|badaddr|cause|esr|far)\s?: ?([0-9a-f]{4}:[0-9a-f]{8,16}|[0-9a-fx(]+\w*\)?)/g;
const REGISTER_LINE = /^ *(?:RSP|RAX|RDX|RBP|R10|R13|FS|CS|CR2|DR[0-7]|ORIG_RAX|PKRU|EAX|ESI|DS|EFLAGS|sp|pstate|x\d{1,2}|r\d{1,2}|GPR\d\d|MSR|LR|CFAR|lr|epc|ra|status|gp|t\d|s\d{1,2}|a\d)(?=\s?:)/;
const CODE = /^ *Code: +(?:(?:Unable|Bad) .*|((?:[<(]?[0-9a-f]{2,8}[>)]? ?)+))/;
const PART = new RegExp(
  '^ *(?:' +
    [
      'Modules linked in:', 'Hardware name:', 'Workqueue:', 'Oops', 'PGD ', 'P4D ', 'PUD ', 'PMD ', '\\*pde', '\\*pgd', 'pgd = ', 'SMP', 'PREEMPT', '#PF:', 'CPU:? ?\\d', 'task: ', 'task:', 'Stack:', 'Bad RIP', 'Kernel Offset', 'Tainted:', 'Last Breaking',
      'Dumping ftrace', 'Rebooting in', 'Fixing recursive', 'note: ', 'RIP', 'CR2:', 'unwind stack', 'irq event stamp', 'hardirqs last', 'softirqs last', 'INFO: lockdep is turned off', 'Process ', 'Insufficient', 'Internal error', 'Mem abort info', 'Data abort info', 'ESR = ', 'EC = ', 'SET = ', 'EA = ', 'FSC = ', 'ISV = ', 'CM = ', 'user pgtable', '\\[[0-9a-f]{8,16}\\] (?:pgd|address|\\*p)', 'Trace/BPT', 'Faulting instruction', 'NIP ', 'LR ', 'Krnl', 'Instruction dump', 'Failing address', 'Fault in', 'AS:',
      'the code segment', 'preempt_count', 'in_atomic', 'Preemption disabled', 'last sysfs file', 'addr:', 'page dumped because', 'raw: ', 'page:', 'flags: ', 'head: ', '={20,}', '-{20,}', '\\*\\*\\* DEADLOCK', 'echo 0 >', '"echo 0 >', 'Not tainted', 'Read of size', 'Write of size', 'The buggy address', 'Memory state around', '>?[0-9a-f]{8,16}: ', 'NMI backtrace', 'Sending NMI', 'KASAN: ', 'Object ', 'Redzone ', 'Padding ', 'Bytes b4', 'Memory Limit', 'ret_from', 'R1[0-5]:', '[\\w/:.@-]+ +[A-Z] +(?:stack:)? *\\d', 'Mem-Info', 'Exception stack', 'which belongs to', 'which lock already', 'but task is already', 'other info that might', 'Possible unsafe', 'rcu:', 'cr2:',
    ].join('|') +
    ')',
);
const END = /^ *-+\[ end (?:trace|Kernel panic)/;
const WORKQUEUE = /^ *Workqueue: (?:.*? )?([\w.]+)(?: \[[\w-]+\])?\)? *$/;

/** A stack word printed bare on old kernels: " ffff88003d69bd60 ffffffff81234567 ..." */
const STACK_WORDS = /^ *[0-9a-f]{8,16}(?: +[0-9a-f]{8,16}){0,3} *$/;

function rawFrame(digits: string, reliable: boolean): Frame {
  return { name: `0x${digits}`, shown: `0x${digits}`, reliable, raw: digits };
}

/** "name+0x5/0x90 [module]", the numbers in hexadecimal digits. */
function sized(name: string, offset: string, size: string, reliable: boolean, module?: string, source?: string): Frame {
  const frame = frameOf(name, `${name}+0x${offset}/0x${size}${module === undefined ? '' : ` [${module}]`}`, reliable, module, source);
  frame.offset = Number.parseInt(offset, 16);
  frame.size = Number.parseInt(size, 16);
  return frame;
}

/** Gives a frame that was printed as an address its name. */
export function nameFrame(frame: Frame, { name, offset, size, module }: { name: string; offset: number; size: number; module?: string }): void {
  Object.assign(frame, sized(name, offset.toString(16), size.toString(16), frame.reliable, module));
  delete frame.raw;
}

function frameOf(name: string, shown: string, reliable: boolean, module?: string, source?: string): Frame {
  const frame: Frame = { name, shown, reliable };
  if (module !== undefined) frame.module = module;
  if (source !== undefined) frame.source = source;
  return frame;
}

/** A frame of a call trace, in the wordings of all architectures and of the usual symbolisers. */
export function parseFrame(text: string): Frame | undefined {
  if (text.includes('+0x')) {
    const match = FRAME.exec(text);
    if (match !== null) {
      const [, unsure, name, offset, size, module, source] = match;
      return sized(name!, offset!, size!, unsure === undefined && !text.includes('(unreliable)'), module, source);
    }
    const arm = ARM_FRAME_NEW.exec(text);
    if (arm !== null) return frameOf(arm[1]!, arm[1]!, true);
  }
  if (text.includes(') from')) {
    const match = ARM_FRAME.exec(text);
    if (match !== null) return frameOf(match[1]!, match[1]!, true);
  }
  if (text.includes(':')) {
    const match = DECODED.exec(text);
    if (match !== null) return frameOf(match[2]!, `${match[2]} (${match[3]})`, match[1] === undefined, undefined, match[3]);
  }
  const raw = RAW_BEGINS.test(text) ? RAW_FRAME.exec(text) : null;
  const digits = raw?.[3] ?? raw?.[1];
  return digits === undefined ? undefined : rawFrame(digits, raw![2] === undefined);
}

function parsePc(text: string): BodyItem | undefined {
  const match = PC.exec(text);
  if (match === null) return undefined;
  const [, segment, rest = ''] = match;
  // A code segment ending in 3 is user mode.
  const user = segment !== undefined && segment.endsWith('3');
  if (user) return { type: 'pc', user };
  const symbol = PC_SYMBOL.exec(rest);
  if (symbol !== null) {
    const [, name, offset, size, module] = symbol;
    return { type: 'pc', user, frame: sized(name!, offset!, size!, true, module) };
  }
  const decoded = PC_DECODED.exec(rest.trimStart());
  if (decoded !== null) return { type: 'pc', user, frame: frameOf(decoded[1]!, `${decoded[1]} (${decoded[2]})`, true, undefined, decoded[2]) };
  const raw = PC_RAW.exec(rest);
  return { type: 'pc', user, ...(raw === null ? {} : { frame: rawFrame(raw[1]!, true) }) };
}

const REGISTERS: BodyItem = { type: 'registers' };

/** Names and values of the registers in a line of them. */
export const registersOf = (text: string): [string, string][] => [...text.matchAll(REGISTER)].map((match) => [match[1]!, match[2]!]);

/** Longest line that is remembered. */
const MAX_REMEMBERED = 160;
const remembered = memoized(readBody);

/** What a line of a report's body is, or undefined when it looks like none. What it returns is shared: not to be changed. */
export function parseBody(text: string): BodyItem | undefined {
  // The same frames come in report after report; registers and the like do not.
  return text.length <= MAX_REMEMBERED && text.includes('+0x') ? remembered(text) : readBody(text);
}

/** Frames come first: most lines are. */
function readBody(text: string): BodyItem | undefined {
  if (PC_WORD.test(text)) {
    const pc = parsePc(text);
    if (pc !== undefined) return pc;
  }
  const frame = parseFrame(text);
  if (frame !== undefined) return { type: 'frame', frame };
  if (REGISTER_LINE.test(text)) return REGISTERS;
  if (text.includes('CPU: ') || text.includes('Pid: ')) {
    const cpu = CPU.exec(text);
    if (cpu !== null) return cpuItem(cpu[1]!, cpu[2]!, cpu[3]!, cpu[4], cpu[5]);
    const short = CPU_SHORT.exec(text);
    if (short !== null) return cpuItem(short[1]!, short[2]!, short[3]!);
    const old = OLD_CPU.exec(text);
    if (old !== null) return cpuItem('0', old[1]!, old[2]!, old[3], old[4]);
  }
  if (text.includes('race') && TRACE.test(text)) return { type: 'trace' };
  const stack = STACK.exec(text);
  if (stack !== null) return { type: 'stack', name: stack[2]!, open: stack[1] === '' };
  if (OTHER_TRACE.test(text) || (text.includes(' held by ') && HELD.test(text))) return { type: 'other-trace' };
  const code = CODE.exec(text);
  if (code !== null) return { type: 'code', code: (code[1] ?? '').trim() };
  if (END.test(text)) return { type: 'end' };
  if (text.includes('orkqueue: ')) {
    const work = WORKQUEUE.exec(text);
    if (work !== null) return { type: 'workqueue', name: work[1]! };
  }
  if (PART.test(text) || STACK_WORDS.test(text)) return { type: 'part' };
  return undefined;
}

function cpuItem(cpu: string, pid: string, task: string, tainted?: string, release?: string): BodyItem {
  return {
    type: 'cpu',
    cpu: Number(cpu),
    pid: Number(pid),
    task,
    ...(tainted === undefined ? {} : { tainted: tainted.replace(/ +/g, '') }),
    ...(release === undefined ? {} : { release }),
  };
}
