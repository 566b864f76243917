// What the kernel complains with: one entry per wording family, in the order in which they are tried. A header's
// named holes ({func}, {src}, {addr}, ...) expand to regular expressions; a title's name what was found in them.
import type { FindingKind } from './types.js';
import type { Skipping } from './guilty.js';

/** How to tell the guilty function once the whole report has been read. */
export type Guilty =
  /** The program counter, then the trace below it. */
  | 'pc'
  /** The function that the header names, then as 'pc'. */
  | 'header'
  /** The trace alone: the report prints itself with a stack dump. */
  | 'trace'
  /** What the CPU was doing when a timer or NMI asked. */
  | 'interrupted'
  /** What a sleeping task waits for. */
  | 'blocked'
  | 'none';

/** What follows a header. */
export type Body =
  /** Nothing: the line is the report. */
  | 'none'
  /** CPU line, registers, trace; few foreign lines are tolerated. */
  | 'trace'
  /** Free text of many lines, with or without a trace. */
  | 'free';

export interface Rule {
  id: string;
  kind: FindingKind;
  /** Literal words; one of them in a line brings the rule up. */
  words: readonly string[];
  match: RegExp;
  /** {hole} is replaced by what the header or the body gave; " in {func}" vanishes when no function is known. */
  title: string;
  body: Body;
  guilty: Guilty;
  skipping?: Skipping;
  /** A report without any trace is cut off. */
  expectsTrace: boolean;
  /** Header lines of these rules, when one of them is open, are continued by this one. */
  partOf?: readonly string[];
  /** A second line of whatever fault was announced before it ("Oops: 0002 [#1]", "invalid opcode: 0000 [#1]"). */
  continuesFault?: true;
  /** A message that the real header is still to follow: its title stays, kind and body come from that header. */
  prelude?: true;
  /** This line sets the title of the report that it continues. */
  retitles?: true;
  /** The report that it continues is over with it. */
  closes?: true;
  /** A consequence of the report before, where there was one a moment ago. */
  consequence?: RegExp;
  informational?: true;
  /** Always cut off: the line only shows that a header was lost. */
  headless?: true;
}

const HOLES: Record<string, string> = {
  func: String.raw`(?:\[<[0-9a-f]+>\] *)*(?<func>(?![0-9a-f]{8,16}(?![\w.]))[A-Za-z_$][\w.$]*)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?`,
  src: String.raw`(?<src>[\w.+-]+(?:/[\w.+-]+)*\.(?:c|h|S|rs)(?:\.\w+)?:\d+)`,
  addr: String.raw`(?:0x)?(?<addr>[0-9a-f]{1,16}|\(null\)|\(efault\)|[(]ptrval[)])`,
  task: String.raw`(?<task>.{1,31}?)`,
  pid: String.raw`(?<pid>\d+)`,
  cpu: String.raw`(?<cpu>\d+)`,
  dev: String.raw`(?<dev>[\w.!:/-]+)`,
  what: String.raw`(?<what>[^\n]+?)`,
  // Kernels with CONFIG_DEBUG_BUGVERBOSE_DETAILED put the condition before the file.
  cond: String.raw`(?:\[(?<cond>[^\n]*?)\] )?`,
};

/** A header pattern with its holes expanded. A hole may stand in several branches: the second is called func2. */
export function pattern(source: string): RegExp {
  const uses = new Map<string, number>();
  return new RegExp(
    source.replace(/\{(\w+)\}/g, (hole, name: string) => {
      const expanded = HOLES[name];
      if (expanded === undefined) return hole;
      const count = (uses.get(name) ?? 0) + 1;
      uses.set(name, count);
      return count === 1 ? expanded : expanded.replace(`<${name}>`, `<${name}${count}>`);
    }),
  );
}

const isSecond = (name: string): boolean => name.charCodeAt(name.length - 1) <= 0x39;

/** What a header's holes were filled with, whichever branch filled them. */
export function holesOf(match: RegExpExecArray): Record<string, string> {
  const holes: Record<string, string> = {};
  for (const name in match.groups) {
    const value = match.groups[name];
    if (value !== undefined) holes[isSecond(name) ? name.slice(0, -1) : name] ??= value;
  }
  return holes;
}

const START = String.raw`(?:^|[^\w-])`;

interface Defaults {
  body: Body;
  guilty: Guilty;
  expectsTrace: boolean;
}

type Entry = Pick<Rule, 'id' | 'words' | 'title'> & { match: string } & Partial<Omit<Rule, 'id' | 'words' | 'title' | 'match' | 'kind'>>;

function family(kind: FindingKind, defaults: Defaults, entries: readonly Entry[]): Rule[] {
  return entries.map((entry) => ({ kind, ...defaults, ...entry, match: pattern(entry.match) }));
}

const ACCESS: Defaults = { body: 'trace', guilty: 'pc', expectsTrace: true };
const TEXT: Defaults = { body: 'free', guilty: 'trace', expectsTrace: true };
const LINE: Defaults = { body: 'none', guilty: 'none', expectsTrace: false };

/** Panics that only carry out what an earlier report decided. */
const CARRIED_OUT = /^(?:Fatal exception|Oops|panic_on_warn|KASAN: panic_on_warn|kasan\.fault|KFENCE: panic|UBSAN: panic_on_warn|hung_task|softlockup|Softlockup|Hard LOCKUP|Watchdog detected hard LOCKUP|RCU Stall|Attempted to kill init|Attempted to kill the idle|Aiee, killing|stack-protector|corrupted stack end|Fatal [mM]achine check|Machine check|Uncorrected|kernel: panic_on_warn|Kernel mode fault|System is deadlocked|Out of memory|scheduling while atomic|kmemleak|workqueue|Memory error|kernel stack overflow|bad mode)/;

/** Those of them that nothing else can have caused. */
export const NEEDS_CAUSE = /^(?:Fatal exception|(?:kernel: )?panic_on_warn|hung_task|softlockup)/;

const OOPSES: Rule[] = [
  ...family('null-deref', ACCESS, [
    {
      id: 'null-deref',
      words: ['ernel NULL pointer'],
      match: `${START}BUG: (?:[Uu]nable to handle )?[Kk]ernel NULL pointer(?: dereference)?(?:(?:,? address:?|,? at(?: address)?| on (?:read|write|instruction fetch)(?: at)?):? *{addr})?`,
      title: 'BUG: unable to handle kernel NULL pointer dereference in {func}',
    },
    {
      id: 'null-deref-arm',
      words: ['ernel NULL pointer'],
      match: `${START}Unable to handle kernel NULL pointer(?: dereference)?(?: at virtual address {addr})?`,
      title: 'BUG: unable to handle kernel NULL pointer dereference in {func}',
    },
  ]),
  ...family('page-fault', ACCESS, [
    {
      id: 'page-fault',
      words: ['BUG: unable to handle', 'BUG: Unable to handle'],
      match: `${START}BUG: [Uu]nable to handle (?:kernel |user )?(?:page fault|paging request|data access|instruction fetch|unaligned access)(?: on (?:read|write))?(?:,? (?:for|at)(?: address)?:? *{addr})?`,
      title: 'BUG: unable to handle kernel paging request in {func}',
    },
    {
      id: 'page-fault-arm',
      words: ['nable to handle kernel'],
      match: `${START}Unable to handle kernel (?:paging request|access to user memory|read from unreadable memory|write to read-only memory|execution of (?:user|kernel) memory|execute from non-executable memory|pointer dereference in virtual kernel address space|pointer dereference|unknown)[^:]*?(?: at virtual address {addr}(?:,.*)?)?$`,
      title: 'BUG: unable to handle kernel paging request in {func}',
    },
    {
      id: 'page-fault-cut',
      words: ['nable to handle'],
      match: `${START}BUG: [Uu]nable to handle(?: kernel)?$`,
      title: 'BUG: unable to handle kernel paging request in {func}',
      headless: true,
    },
  ]),
  ...family('gpf', ACCESS, [
    {
      id: 'gpf',
      words: ['general protection fault'],
      match: `general protection fault(?! ip:)(?:, (?:probably|maybe) for (?:non-canonical )?address (?:0x)?(?<addr>[0-9a-f]+))?(?:, kernel [^:]*)?: (?:[0-9a-f]{4}|maybe|$)`,
      title: 'general protection fault in {func}',
    },
  ]),
  ...family('bug', ACCESS, [
    {
      id: 'kernel-bug-list',
      words: ['kernel BUG at'],
      match: `${START}kernel BUG at {cond}(?<src>\\S*lib/list_debug\\.c:\\d+)!?`,
      title: 'BUG: list corruption in {func}',
    },
    { id: 'kernel-bug', words: ['kernel BUG at', 'Kernel BUG at'], match: `${START}[Kk]ernel BUG at {cond}(?:{src}|(?<at>\\S+))!?`, title: 'kernel BUG in {func}' },
    { id: 'kernel-bug-bare', words: ['Kernel BUG', 'kernel BUG'], match: `${START}[Kk]ernel BUG(?: \\[#\\d+\\]|$)`, title: 'kernel BUG in {func}', continuesFault: true },
  ]),
  ...family('oops', ACCESS, [
    { id: 'double-fault', words: ['double fault', 'double-fault'], match: `(?:PANIC: double fault|${START}double fault: [0-9a-f]{4}|kernel stack overflow \\(double-fault\\))`, title: 'double fault in {func}', continuesFault: true },
    { id: 'stack-guard', words: ['stack guard page was hit'], match: `BUG: .*?stack guard page was hit(?: at {addr})?`, title: 'BUG: stack guard page was hit in {func}' },
    { id: 'stack-overflow', words: ['ernel stack overflow', 'nsufficient stack space', 'stack overflow'], match: `^(?:[Kk]ernel stack overflow|Insufficient stack space to handle exception|(?:do_IRQ|handle_irq): .* near stack overflow)`, title: 'kernel stack overflow in {func}' },
    { id: 'control-protection', words: ['CP: ', 'ENDBR', 'control protection'], match: `^(?:traps: )?(?:Missing ENDBR: {func}|Unexpected #CP|control protection fault)`, title: 'control protection fault in {func}', guilty: 'header' },
    {
      id: 'internal-error',
      words: ['Internal error: '],
      match: `^Internal error: (?<what>[^\\[]*?)(?:: ?[0-9a-f]+)? \\[#\\d+\\]`,
      title: '{what} in {func}',
      continuesFault: true,
    },
    { id: 'bad-pagetable', words: ['orrupted page table at'], match: `^(?:{task}: )?Corrupted page table at address (?<addr>[0-9a-f]+)`, title: 'corrupted page table in {func}' },
    { id: 'bad-mode', words: ['Bad mode in', 'Unhandled ', 'synchronous external abort', 'SError'], match: `^(?:Bad mode in .* handler|Unhandled (?:fault|\\d+-bit el1h .* exception|prefetch abort)|SError Interrupt on CPU\\d+|synchronous external abort)`, title: 'unhandled exception in {func}', continuesFault: true },
    {
      // "divide error: 0000 [#1] SMP", "Oops: invalid opcode: 0000 [#1]", "Oops: 0002 [#1]", "Oops: Kernel access of bad area, sig: 11 [#1]"
      id: 'trap',
      words: [' [#'],
      match: `^(?:traps: )?(?:Oops: (?=[A-Za-z]))?(?<what>[A-Za-z][\\w #/,()-]*?(?:: [A-Za-z][\\w #/,()-]*?)*?)(?:, sig)?: ?[0-9a-f]{1,16}(?: ilc:\\d+)? \\[#\\d+\\]`,
      title: '{what} in {func}',
      continuesFault: true,
    },
    { id: 'oops-headless', words: ['Oops'], match: `^(?:Kernel )?Oops(?: -[ \\w]+)?: ?(?:[0-9a-f]{4,16}|Fatal|Exception|Kernel)|^Unable to handle kernel|^Fixing recursive fault but reboot is needed`, title: 'Oops in {func}', headless: true, continuesFault: true },
  ]),
];

const BUGS: Rule[] = [
  ...family('kasan', TEXT, [
    {
      id: 'kasan-free',
      words: ['BUG: KASAN'],
      match: `BUG: KASAN: (?:double-free or invalid-free|double-free|invalid-free) in {func}`,
      title: 'KASAN: invalid-free in {func}',
      guilty: 'header',
    },
    { id: 'kasan', words: ['BUG: KASAN'], match: `BUG: KASAN: (?:(?:slab|vmalloc|maybe wild|wild)-)?(?<what>[\\w-]+)(?: in {func}| on address {addr})?`, title: 'KASAN: {what} {access} in {func}', guilty: 'header' },
    { id: 'kmsan', words: ['BUG: KMSAN'], match: `BUG: KMSAN: (?<what>[\\w -]+?)(?: in {func}|$)`, title: 'KMSAN: {what} in {func}', guilty: 'header' },
    { id: 'kcsan', words: ['BUG: KCSAN'], match: `BUG: KCSAN: (?<what>[\\w: -]+?) in (?<pair>[\\w.]+(?: / [\\w.]+)?)`, title: 'KCSAN: {what} in {pair}', guilty: 'trace', expectsTrace: false },
    { id: 'kfence', words: ['BUG: KFENCE'], match: `BUG: KFENCE: (?<what>[\\w -]+?)(?: in {func}|$)`, title: 'KFENCE: {what} in {func}', guilty: 'header' },
    { id: 'ubsan', words: ['UBSAN:'], match: `^UBSAN: (?<what>[\\w -]+?) in (?:\\.\\.?/)*(?<src>[\\w./+-]+:\\d+)`, title: 'UBSAN: {what} in {func}', expectsTrace: true },
    { id: 'ubsan-unnamed', words: ['UBSAN:', 'Undefined behaviour in'], match: `^UBSAN: (?<what>[\\w -]+)`, title: 'UBSAN: {what} in {func}', expectsTrace: false },
  ]),
  ...family('lockdep', TEXT, [
    { id: 'circular', words: ['circular locking dependency'], match: `(?:WARNING|INFO): possible circular locking dependency`, title: 'possible circular locking dependency in {func}', guilty: 'header' },
    { id: 'recursive', words: ['recursive locking detected'], match: `(?:WARNING|INFO): possible recursive locking`, title: 'possible recursive locking in {func}', guilty: 'header' },
    { id: 'irq-inversion', words: ['lock inversion dependency', 'lock order detected'], match: `(?:WARNING|INFO): (?:possible irq lock inversion dependency|\\S+-safe -> \\S+-unsafe lock order|possible \\S+ lock order|.* lock order detected)`, title: 'possible irq lock inversion in {func}', guilty: 'header' },
    { id: 'inconsistent-lock', words: ['nconsistent lock state'], match: `(?:WARNING|INFO): [Ii]nconsistent lock state`, title: 'inconsistent lock state in {func}', guilty: 'header' },
    { id: 'suspicious-rcu', words: ['suspicious RCU usage', 'Suspicious RCU usage'], match: `(?:WARNING|INFO): [Ss]uspicious RCU usage`, title: 'suspicious RCU usage in {func}' },
    { id: 'invalid-wait', words: ['nvalid wait context'], match: `(?:WARNING|BUG): [Ii]nvalid wait context`, title: 'invalid wait context in {func}' },
    { id: 'unlock-balance', words: ['bad unlock balance'], match: `(?:WARNING|BUG): bad unlock balance`, title: 'bad unlock balance in {func}', guilty: 'header' },
    { id: 'contention', words: ['bad contention'], match: `(?:WARNING|BUG): bad contention`, title: 'bad contention in {func}' },
    { id: 'held-freed', words: ['held lock freed'], match: `(?:WARNING|BUG): held lock freed`, title: 'held lock freed in {func}' },
    { id: 'locks-held', words: ['locks held', 'lock held when returning', 'Nested lock'], match: `(?:WARNING|BUG): (?:.*still has locks held|lock held when returning to user space|Nested lock was not taken|.* exiting with locks held)`, title: 'lock held too long in {func}', expectsTrace: false },
    { id: 'non-static-key', words: ['non-static key'], match: `INFO: trying to register non-static key`, title: 'trying to register non-static key in {func}' },
    { id: 'lockdep-limit', words: ['BUG: MAX_', 'BUG: MAX '], match: `BUG: (?<what>MAX[_ ]\\w+) too low`, title: 'lockdep: {what} too low', expectsTrace: false },
    { id: 'lockdep-other', words: ['[ INFO: ', '[ BUG: ', '[ WARNING: '], match: `^\\[ (?:INFO|BUG|WARNING): (?<what>[^\\]]+?)[.!]* \\]`, title: 'lockdep: {what} in {func}' },
  ]),
  ...family('soft-lockup', { body: 'free', guilty: 'interrupted', expectsTrace: true }, [
    { id: 'soft-lockup', words: ['BUG: soft lockup'], match: `BUG: soft lockup(?: - CPU#{cpu} stuck for \\d+s!(?: \\[{task}:{pid}\\])?)?`, title: 'BUG: soft lockup in {func}', skipping: 'waiting' },
    { id: 'workqueue-lockup', words: ['BUG: workqueue lockup'], match: `BUG: workqueue lockup`, title: 'BUG: workqueue lockup', expectsTrace: false, guilty: 'none' },
  ]),
  ...family('bug', TEXT, [
    { id: 'spinlock', words: ['BUG: spinlock', 'BUG: rwlock', 'BUG: raw spinlock'], match: `BUG: (?<what>(?:raw )?(?:spinlock|rwlock) [a-zA-Z ]+?)(?: on CPU#{cpu}(?:, {task}/{pid})?|[,.]|$)`, title: 'BUG: {what} in {func}' },
    { id: 'sleeping', words: ['BUG: sleeping function'], match: `BUG: sleeping function called from invalid context(?: at {src})?`, title: 'BUG: sleeping function called from invalid context in {func}' },
    { id: 'atomic', words: ['BUG: scheduling while atomic'], match: `BUG: scheduling while atomic(?:: {task}/{pid}/0x)?`, title: 'BUG: scheduling while atomic in {func}', skipping: 'blocking' },
    { id: 'preemptible', words: ['in preemptible'], match: `BUG: using (?<what>[\\w]+)\\(\\) in preemptible(?: \\[[0-9a-f]+\\] code: {task}/{pid})?`, title: 'BUG: using {what}() in preemptible code in {func}' },
    { id: 'bad-page', words: ['BUG: Bad page'], match: `BUG: (?<what>Bad page (?:state|map|cache))(?: in process {task} +(?:pfn:{addr}|pte:))?`, title: 'BUG: {what}' },
    { id: 'bad-rss', words: ['BUG: Bad rss-counter', 'BUG: non-zero', 'Bad rss-counter'], match: `BUG: (?<what>Bad rss-counter state|non-zero \\w+ on freeing mm)`, title: 'BUG: {what}', body: 'none', expectsTrace: false, guilty: 'none' },
    { id: 'slub', words: ['BUG '], match: `^BUG (?<cache>[\\w.:-]+) \\((?:Not tainted|Tainted: [^)]*|[A-Z ]+)\\): (?<what>.+)`, title: 'BUG: slab {what} in {func}', expectsTrace: false, partOf: ['kasan', 'kasan-free'] },
    { id: 'slab-error', words: ['slab error in', 'double free detected', 'slab corruption', 'Slab corruption'], match: `^(?:slab error in {func}\\(\\): cache ['\`](?<cache>[^']*)': (?<what>.*)|cache ['\`](?<cache2>[^']*)': (?<what2>double free detected)|[Ss]lab corruption(?: \\([^)]*\\))?: )`, title: 'BUG: slab {what} in {func}', expectsTrace: false },
    { id: 'bad-pgd', words: [': bad p'], match: `^\\S+\\.[ch]:\\d+: (?<what>bad (?:pte|pmd|pud|p4d|pgd)) [0-9a-f(]`, title: 'BUG: {what}', body: 'none', expectsTrace: false, guilty: 'none' },
    { id: 'dentry-in-use', words: ['still in use', 'Busy inodes after unmount'], match: `(?:BUG: Dentry .* still in use|VFS: Busy inodes after unmount)`, title: 'VFS: still busy after unmount', expectsTrace: false },
    { id: 'leaked-lock', words: ['workqueue leaked'], match: `BUG: workqueue leaked (?:lock|atomic)`, title: 'BUG: workqueue leaked lock or atomic', expectsTrace: false },
    { id: 'memory-leak', words: ['BUG: memory leak', 'new suspected memory leaks'], match: `(?:BUG: memory leak|kmemleak: \\d+ new suspected memory leaks?)`, title: 'memory leak in {func}', expectsTrace: false },
    { id: 'bug-other', words: ['BUG: '], match: `^(?:[\\w.-]+: ){0,2}BUG: (?<what>[a-zA-Z].{3,})`, title: 'BUG: {what}', expectsTrace: false },
  ]),
];

/** Prints that announce a BUG or WARN which follows a line or two later; they name it better than that line does. */
const PRELUDES: Rule[] = [
  ...family('warning', { body: 'trace', guilty: 'trace', expectsTrace: true }, [
    { id: 'cut-here', words: ['[ cut here ]'], match: `-{3,}\\[ cut here \\]-{3,}`, title: 'WARNING: cut off report', prelude: true, headless: true },
  ]),
  ...family('bug', { body: 'trace', guilty: 'trace', expectsTrace: true }, [
    { id: 'list-corruption', words: ['list_add', 'list_del', 'slist_'], match: `^(?:list_(?:add|del)(?:_rcu)? (?:corruption|double add)|list_(?:add|del) attempted)`, title: 'BUG: list corruption in {func}', prelude: true },
    { id: 'refcount', words: ['refcount_t: '], match: `^refcount_t: (?<what>[^;.]+)`, title: 'WARNING: refcount bug in {func}', prelude: true },
    { id: 'usercopy', words: ['usercopy: '], match: `^(?:kernel: )?usercopy: [Kk]ernel memory (?<what>exposure|overwrite) attempt detected`, title: 'usercopy: Kernel memory {what} in {func}', prelude: true },
    { id: 'xfs-assert', words: ['XFS: Assertion failed', 'XFS ('], match: `^XFS(?: \\({dev}\\))?: Assertion failed: (?<what>.*), (?:in )?file: (?<file>\\S+), line: \\d+`, title: 'XFS: assertion failed in {func}', prelude: true },
    { id: 'page-dump', words: ['page dumped because'], match: `^page dumped because: VM_(?:BUG|WARN)_ON(?:_\\w+)?\\((?<what>.*)\\)`, title: 'kernel BUG in {func}', prelude: true },
    { id: 'odebug', words: ['ODEBUG: '], match: `^ODEBUG: (?<what>\\w+) \\w+ `, title: 'WARNING: ODEBUG bug in {func}', prelude: true },
    { id: 'cfi', words: ['CFI failure'], match: `^CFI failure (?:at {func}|\\(target: )`, title: 'CFI failure in {func}', prelude: true },
    { id: 'fortify', words: ['detected buffer overflow', 'detected field-spanning'], match: `^(?:detected buffer overflow in {func}|\\w+: detected buffer overflow: \\d+ byte|memcpy: detected field-spanning write)`, title: 'buffer overflow in {func}', prelude: true },
  ]),
];

const WARNINGS: Rule[] = family('warning', { body: 'trace', guilty: 'header', expectsTrace: true }, [
  { id: 'warning', words: ['WARNING: '], match: `WARNING: (?:CPU:? ?{cpu} PID:? ?{pid} )?at {cond}(?:{src}|0x[0-9a-f]+|\\S+)(?: {func})?`, title: 'WARNING in {func}' },
  { id: 'warning-new', words: ['WARNING: '], match: `WARNING: {cond}(?:{src} )?at (?:{func}|0x[0-9a-f]+)(?: \\[[\\w-]+\\])?, CPU#{cpu}: {task}/{pid}$`, title: 'WARNING in {func}' },
  { id: 'warning-cut', words: ['WARNING: '], match: `^WARNING: CPU: \\d+ PID`, title: 'WARNING in {func}', headless: true },
  { id: 'stack-walk', words: ['WARNING: kernel stack', 'WARNING: stack going', 'WARNING: can\'t access', 'WARNING: can\'t dereference', 'WARNING: unrecognized unwind'], match: `^WARNING: (?:(?<what>kernel stack (?:regs|frame pointer)) at .* has bad|(?<what2>stack going in the wrong direction)|(?<what3>can't (?:access|dereference) \\w+|unrecognized unwind \\w+))`, title: 'WARNING: {what}', expectsTrace: false, guilty: 'none' },
  { id: 'irq-nobody', words: ['nobody cared'], match: `^irq \\d+: nobody cared`, title: 'irq: nobody cared', guilty: 'none' },
  { id: 'softirq', words: ['softirq: huh', 'huh, entered'], match: `^(?:softirq: )?huh, entered (?:softirq \\d+ (?<what>\\w+)|(?<what2>\\S+))`, title: 'softirq {what} left another preempt count', body: 'none', expectsTrace: false, guilty: 'none' },
  { id: 'netdevice', words: ['unregister_netdevice: waiting'], match: `^unregister_netdevice: waiting for \\S+ to become free`, title: 'unregister_netdevice: waiting for a device to become free', body: 'none', expectsTrace: false, guilty: 'none' },
  { id: 'msr', words: ['unchecked MSR access'], match: `^unchecked MSR access error: `, title: 'unchecked MSR access in {func}', informational: true, guilty: 'trace' },
  { id: 'duplicate-name', words: ['cannot create duplicate', 'kobject_add_internal failed', 'tried to init an initialized'], match: `(?:^sysfs: cannot create duplicate filename|^(?:kobject: )?kobject_add_internal failed for .* with -EEXIST|^kobject.*tried to init an initialized object)`, title: 'duplicate name in {func}', guilty: 'trace' },
  { id: 'page-allocation', words: ['page allocation failure', 'page allocation stalls', 'allocation failure:'], match: `^(?:{task}: )?(?:page allocation failure: order:|page allocation stalls for|vmalloc: allocation failure|vmalloc error: )`, title: 'page allocation failure in {func}', guilty: 'trace', body: 'free' },
]);

const HANGS: Rule[] = [
  ...family('hung-task', { body: 'free', guilty: 'blocked', expectsTrace: true }, [
    { id: 'hung-task', words: ['blocked for more than', 'blocked in I/O wait for more', "can't die for more"], match: `INFO: task {task}:{pid} (?:blocked (?:in I/O wait )?for more than|can't die for more than) (?<secs>\\d+) seconds`, title: 'INFO: task hung in {func}', skipping: 'blocking' },
  ]),
  ...family('hard-lockup', { body: 'free', guilty: 'interrupted', expectsTrace: true }, [
    { id: 'hard-lockup', words: ['hard LOCKUP'], match: `(?:Watchdog detected hard LOCKUP(?: on cpu {cpu})?|CPU \\d+ (?:self-)?detected hard LOCKUP)`, title: 'hard LOCKUP in {func}', skipping: 'waiting' },
  ]),
  ...family('rcu-stall', { body: 'free', guilty: 'interrupted', expectsTrace: true }, [
    { id: 'rcu-stall', words: ['detected stall', 'detected expedited stall', 'self-detected'], match: `INFO: (?<flavor>rcu\\w*) (?:self-)?detected (?:expedited )?stalls?`, title: 'INFO: rcu detected stall in {func}', skipping: 'waiting' },
    { id: 'rcu-starved', words: ['kthread starved', 'kthread timer wakeup'], match: `^(?:rcu: )?(?<flavor>rcu\\w*) kthread (?:starved|timer wakeup didn't happen) for`, title: 'INFO: rcu kthread starved', partOf: ['rcu-stall'], expectsTrace: false },
  ]),
];

const PANICS: Rule[] = family('panic', { body: 'trace', guilty: 'trace', expectsTrace: false }, [
  { id: 'panic-stack', words: ['ernel panic'], match: `${START}Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: {func}`, title: 'kernel panic: stack is corrupted in {func}', guilty: 'header' },
  { id: 'panic', words: ['ernel panic'], match: `(?:^|[^\\w\\[ -] ?)Kernel panic - not(?: syncing:? ?(?<what>.*?)(?:[.!](?: .*)?)?$)?`, title: 'kernel panic: {what}', consequence: CARRIED_OUT },
]);

const MEMORY: Rule[] = [
  ...family('oom', { body: 'free', guilty: 'none', expectsTrace: false }, [
    { id: 'oom-invoked', words: ['invoked oom-killer'], match: `^{task} invoked oom-killer: `, title: 'out of memory: OOM killer invoked' },
    { id: 'oom-kill', words: ['ut of memory: Kill', 'ut of memory (', 'Memory cgroup out of memory'], match: `^(?:Memory cgroup out of memory|Out of memory)(?: \\([^)]*\\))?: Kill(?:ed)? process \\d+,? \\(?(?<killed>[^)]*)\\)?`, title: 'out of memory: OOM killer invoked', partOf: ['oom-invoked'], body: 'none', closes: true },
  ]),
  ...family('mce', { body: 'free', guilty: 'none', expectsTrace: false }, [
    { id: 'mce', words: ['[Hardware Error]', 'Machine check events logged', 'HARDWARE ERROR', 'Machine Check Exception'], match: `^(?:\\{\\d+\\})?(?:mce: |MCE: |BERT: |EDAC .*?: |.*?: )?(?:\\{\\d+\\})?\\[Hardware Error\\]: (?<what>.*)|^(?:mce: )?Machine check events logged|^HARDWARE ERROR|^CPU \\d+: Machine Check Exception`, title: 'machine check', partOf: ['mce'] },
    { id: 'mce-memory', words: ['ncorrected hardware memory error', 'hardware memory corruption fault'], match: `(?:[Uu]ncorrected hardware memory error in user-access at {addr}|^MCE: Killing {task}:{pid} due to hardware memory corruption)`, title: 'machine check: uncorrected memory error', partOf: ['mce', 'mce-memory'] },
    { id: 'edac', words: ['EDAC '], match: `^EDAC \\S+: \\d+ (?<what>[CU]E) `, title: 'machine check: EDAC {what}', body: 'none' },
    { id: 'nmi-reason', words: ['NMI: PCI system error', 'NMI: IOCK error'], match: `^NMI: (?<what>PCI system error|IOCK error)`, title: 'NMI: {what}', body: 'trace' },
    { id: 'nmi-unknown', words: ['NMI received for unknown reason'], match: `NMI received for unknown reason`, title: 'NMI for unknown reason', body: 'trace' },
  ]),
  ...family('memory-failure', { body: 'none', guilty: 'none', expectsTrace: false }, [
    { id: 'memory-failure', words: ['Memory failure: ', 'MCE 0x'], match: `^(?:Memory failure: |MCE )0x{addr}: recovery action for (?<what>.*?): (?<action>Recovered|Failed|Ignored|Delayed)`, title: 'Memory failure: {what}: {action}', partOf: ['memory-failure-step'], retitles: true, closes: true },
    { id: 'memory-failure-step', words: ['Memory failure: ', 'MCE 0x'], match: `^(?:Memory failure: |MCE )0x{addr}: (?:(?<what>Sending SIGBUS) to {task}:{pid} due to|(?<what2>Killing) {task}:{pid} due to|(?<what3>.*))`, title: 'Memory failure: {what}', partOf: ['memory-failure-step'], body: 'free' },
    { id: 'soft-offline-twice', words: ['page already poisoned'], match: `^(?:Memory failure: )?[Ss]oft[_ ]offline(?:_page)?: (?:0x)?{addr}:? page already poisoned`, title: 'soft offline: page already poisoned', informational: true },
    { id: 'soft-offline', words: ['oft offline', 'oft_offline'], match: `^(?:Memory failure: )?[Ss]oft[_ ]offline(?:_page)?: (?:0x{addr}:? )?(?<what>.*)`, title: 'soft offline: {what}' },
    { id: 'media-error', words: ['I/O error', 'critical medium error', 'medium error'], match: `(?:[Bb]uffer I/O error on dev(?:ice)? (?<dev>(?:pmem|dm-)[\\w.]+),|(?:I/O|critical medium|medium) error, dev (?<dev2>(?:pmem|dm-)[\\w.]+),? sector)`, title: 'I/O error on {device}' },
    { id: 'badblock', words: ['bad block', 'badblock', 'poison'], match: `^(?:nd_pmem|nd_region|nfit|ACPI NFIT|nvdimm|libnvdimm|dax_pmem|nd_bus|cxl\\w*)\\b.*(?:bad ?block|poison)`, title: 'nvdimm: media error reported' },
  ]),
];

const DAX: Rule[] = [
  ...family('dax-off', LINE, [
    { id: 'dax-unsupported', words: ['DAX unsupported', 'Turning off DAX', 'urning off DAX', 'does not support dax', 'does not support DAX', 'unsupported blocksize for dax', 'unsupported blocksize for DAX', 'DAX disabled', 'dax disabled', 'Disabling DAX', 'disabling DAX', 'disabling dax', 'Turning DAX off'], match: `^(?:(?<fs>[A-Za-z][\\w-]*)(?: \\((?:device )?{dev}\\)| {dev})?: )?.*?(?:DAX unsupported|[Tt]urning off DAX|does not support (?:dax|DAX)|unsupported blocksize for (?:dax|DAX)|(?:dax|DAX) disabled|[Dd]isabling (?:dax|DAX)|Turning DAX off)`, title: 'DAX turned off: {fs}', partOf: ['dax-core'] },
    { id: 'dax-conflict', words: ["can't mount with dax", "can't mount with both", 'DAX and reflink', 'DAX is incompatible', 'dax is incompatible', "can't support DAX", "Cannot enable DAX", 'dax option not supported', 'DAX cannot be', 'DAX and', 'and DAX', "dax can't be enabled", 'dax options not supported'], match: `^(?<fs>[A-Za-z][\\w-]*):?(?: \\((?:device )?{dev}\\))?: .*(?:can't mount with (?:both )?(?:dax|data=journal.*dax)|DAX and reflink can ?not|dax can't be enabled|dax options not supported|[Dd][Aa][Xx] is incompatible|can't support DAX|Cannot enable DAX|dax option not supported|DAX cannot be)`, title: 'DAX refused: {fs}' },
    { id: 'dax-core', words: ['dax access failed', 'partition for dax', 'dax support not enabled', 'support dax', 'bdev for dax', 'blocksize for dax', 'dax page-cache'], match: `^(?:dax: )?(?:VFS \\((?<dev>[\\w.!-]+)\\)|(?<dev2>[\\w.!-]+)(?: \\([^)]*\\))?): error: (?:.*(?:partition|blocksize|bdev|support) (?:for )?dax|dax .*)`, title: 'DAX refused by {device}' },
    { id: 'no-zone-device', words: ['ZONE_DEVICE'], match: `^(?:nd_\\w+|dax\\w*|pmem\\w*|device-mapper|XFS|EXT[24]-fs)\\b.*ZONE_DEVICE`, title: 'DAX turned off: no ZONE_DEVICE' },
  ]),
  ...family('warning', LINE, [
    { id: 'nvdimm-probe', words: ['probe with driver', 'robe of ', 'probe failed', 'failed with error'], match: `^(?<driver>nd_\\w+|dax_\\w+|device_dax|kmem|dax|nfit|acpi NFIT|nvdimm|cxl\\w*|virtio_pmem|e820_pmem|ndtest|nfit_test)\\b(?: {dev})?: probe (?:with driver \\S+ |of {dev} )?failed with error (?<errno>-\\d+)`, title: '{driver}: probe failed' },
    {
      // Kernels that hotplug whole sections say so when they pad a namespace (start_pad, end_trunc).
      id: 'section-collision',
      words: ['alignment collision', 'section collision'],
      match: `^(?<driver>nd_\\w+|dax_\\w+)(?: {dev})?: .*(?:alignment|section) collision`,
      title: '{driver}: section collision, namespace padded',
      informational: true,
    },
    {
      id: 'nvdimm-failure',
      words: ['nfit ACPI', 'acpi nfit', 'nd_pmem ', 'nd_region ', 'nd_bus ', 'nd_btt ', 'nd_blk ', 'nd_dax', 'nd_pfn', 'dax_pmem ', 'device_dax ', 'kmem dax', 'dax dax', 'nvdimm ', 'libnvdimm', 'e820_pmem', 'virtio_pmem '],
      match: `^(?<driver>nd_\\w+|dax_\\w+|device_dax|kmem|dax|nfit|acpi nfit|nvdimm|libnvdimm|e820_pmem|virtio_pmem)(?: {dev})?: (?:[\\w.]+: )?(?<what>.*?(?:could not reserve|cannot be hotremoved|io error|has bad|failed|[Ff]ailure|misaligned|unable to (?!guarantee)|[Uu]nable to (?!guarantee)|rejecting|inaccessible|bad offset|invalid|corrupt|mismatch|no such|not enough|too small|timed? ?out).*)`,
      title: '{driver}: {what}',
    },
  ]),
];

const FILESYSTEMS: Rule[] = family('bug', { body: 'free', guilty: 'header', expectsTrace: false }, [
  { id: 'ext-error', words: ['-fs error'], match: `^(?<fs>EXT[234]-fs) error(?: \\(device {dev}\\))?(?: in {func}|: {func})?`, title: '{fs} error in {func}', body: 'none' },
  { id: 'ext-abort', words: ['-fs (', 'borting journal', 'etected aborted journal', '-fs: ', 'JBD2: '], match: `^(?:(?<fs>EXT[234]-fs) \\({dev}\\): panic forced|JBD2: (?:Detected aborted|Error -?\\d+ detected)|Aborting journal on device {dev})`, title: 'journal aborted', body: 'none' },
  { id: 'ext-lost', words: ['-fs (', 'JBD2: '], match: `^(?:(?<fs>EXT[234]-fs) \\({dev}\\): (?<what>previous I/O error to superblock|I/O error while writing superblock|Delayed block allocation failed)|(?<fs2>JBD2): (?<what2>Detected IO errors while flushing|I/O error|recovery failed))`, title: '{fs}: {what}', body: 'none' },
  { id: 'ext-user-shutdown', words: ['shut down requested'], match: `^EXT4-fs \\({dev}\\): shut down requested`, title: 'EXT4: shut down by its user', body: 'none', informational: true },
  { id: 'ext-damage', words: ['-fs ('], match: `^(?<fs>EXT[234]-fs) \\({dev}\\): (?:error: {func}: |group descriptors corrupted|{func}: (?:Checksum|Block bitmap|Inode bitmap|Inode table) for group|failed to open journal|error loading journal|Inode \\d+ \\([^)]*\\): (?:orphan list check failed|i_reserved_data_blocks))`, title: '{fs} error in {func}', body: 'none' },
  { id: 'ext-io', words: ['-fs warning'], match: `^(?<fs>EXT[234]-fs) warning \\(device {dev}\\): {func}:\\d+: I/O error`, title: '{fs}: I/O error in {func}', body: 'none' },
  { id: 'xfs-io', words: ['I/O error', 'I/O Error', 'returned error', 'mount/recovery failed', 'log mount failed', 'page discard', 'writeback error'], match: `^XFS(?: \\({dev}\\))?: (?:metadata I/O error(?:(?:: block [^"]*|:? in )\\(?"{func}[^"]*"\\)?)?|log I/O error|{func}: .*returned error -?\\d+|page discard on|writeback error|log mount(?:/recovery)? failed)`, title: 'XFS: I/O error in {func}', body: 'trace', partOf: ['xfs-internal', 'xfs-corruption', 'xfs-crc', 'xfs-io'] },
  { id: 'xfs-internal', words: ['Internal error '], match: `^XFS(?: \\({dev}\\))?: Internal error (?<what>.*?) at line \\d+ of file (?<file>\\S+?)\\.? +Caller {func}`, title: 'XFS: internal error in {func}', body: 'free' },
  { id: 'xfs-corruption', words: ['orruption detected', 'orruption of in-memory', 'orruption warning', 'Corruption'], match: `^XFS(?: \\({dev}\\))?: (?:Metadata (?:corruption|CRC error) detected|Corruption of in-memory data(?: \\(0x[0-9a-f]+\\))? detected|[Cc]orruption warning|Corruption detected)(?: at {func})?`, title: 'XFS: corruption detected in {func}', body: 'free', partOf: ['xfs-internal', 'xfs-corruption'] },
  { id: 'xfs-crc', words: ['Metadata CRC error'], match: `^XFS(?: \\({dev}\\))?: Metadata CRC error detected(?: at {func})?`, title: 'XFS: corruption detected in {func}', body: 'free', partOf: ['xfs-internal', 'xfs-corruption'] },
  { id: 'xfs-user-shutdown', words: ['User initiated shutdown'], match: `^XFS(?: \\({dev}\\))?: User initiated shutdown received`, title: 'XFS: shut down by its user', body: 'trace', informational: true },
  { id: 'xfs-shutdown', words: ['ilesystem has been shut down', 'hutting down filesystem', 'xfs_do_force_shutdown', 'I/O Error Detected'], match: `^XFS(?: \\({dev}\\))?: (?!User initiated)(?:Filesystem has been shut down|xfs_do_force_shutdown|.*Shutting down filesystem|.*I/O Error Detected)`, title: 'XFS: file system shut down', body: 'none', partOf: ['xfs-internal', 'xfs-corruption', 'xfs-crc', 'xfs-user-shutdown'] },
  { id: 'btrfs', words: ['BTRFS error', 'BTRFS critical', 'BTRFS: error', 'BTRFS: Transaction aborted'], match: `^BTRFS:? (?:error|critical|Transaction aborted)(?: \\(device {dev}[^)]*\\))?`, title: 'BTRFS error', body: 'none' },
]);

const TAINTS: Rule[] = family('taint', LINE, [
  { id: 'taint-module', words: ['taints kernel', 'tainting kernel'], match: `^(?<what>[\\w-]+): (?:loading out-of-tree module taints kernel|module license '.*' taints kernel|module verification failed.*tainting kernel|.*taint(?:s|ing) kernel)`, title: 'kernel tainted by a module', informational: true },
  { id: 'taint-lockdep', words: ['due to kernel taint'], match: `^Disabling lock debugging due to kernel taint`, title: 'kernel tainted', informational: true },
]);

/** Pieces of a report whose header was lost; only considered when no report is open. */
const ORPHANS: Rule[] = family('oops', { body: 'trace', guilty: 'pc', expectsTrace: true }, [
  { id: 'orphan', words: ['Call Trace:', 'Call trace:', '---[ end trace', 'RIP: 0010:', 'RIP: 0060:'], match: `^ *(?:Call [Tt]race:|---\\[ end trace|RIP: 00[16]0:)`, title: 'report without a header in {func}', headless: true },
]);

/** Stack dumps that somebody asked for: they swallow their traces and are no findings. */
export const ASKED_FOR = pattern(
  `^(?:sysrq: |SysRq : )|^FAULT_INJECTION: |^FAULT_FLAG_ALLOW_RETRY missing|^Sending NMI from CPU|^CPU ?\\d+: stopping|^NMI backtrace for cpu|^Showing all locks held|^Dumping ftrace|^Stack depth|^task: ?.* state:|^\\w+: unsupported .* stack|^bpf_|^Showing busy workqueues`,
);
export const ASKED_FOR_WORDS = ['sysrq: ', 'SysRq : ', 'FAULT_INJECTION: ', 'FAULT_FLAG_ALLOW', 'Sending NMI from', 'Showing all locks', 'Dumping ftrace', ': stopping', 'NMI backtrace for'];

/** All rules, most telling first. */
export const RULES: readonly Rule[] = [
  ...OOPSES, ...BUGS.filter((rule) => rule.id !== 'bug-other'), ...PRELUDES, ...WARNINGS, ...HANGS, ...PANICS, ...MEMORY, ...DAX, ...FILESYSTEMS, ...TAINTS, ...BUGS.filter((rule) => rule.id === 'bug-other'), ...ORPHANS,
];

/** Lines that quote the kernel's words without complaining. */
export const QUOTED = /^(?:(?:Subject|From|To|Cc|Re|Date|Title|title): |Kernel command line:|Command line:|Unknown kernel command line|Booting with|Boot options|audit: |audit\(|systemd|dracut|-----?\[ end |.*DEBUG:|Linux version |\[Firmware|.*\bmodprobe\b|.*\bgrep\b|.*\becho\b)/;
