// The boot's own clock: when it passed which milestone, and where it stood still. A pause counts when it is long by
// itself and long for this boot: machines without KVM, with KASAN or a slow console have another rhythm than a server.
import type { Milestone, Stall } from './types.js';
import type { Line } from './line.js';

/** No pause below this is worth a word, in seconds. */
export const STALL_FLOOR = 3;
/** A pause is that many times what all but the slowest lines of this boot take. */
export const STALL_RATIO = 10;
/** Share of a boot's lines that set its rhythm; the rest are its slow steps. */
const RHYTHM_QUANTILE = 0.95;
/** A log without the boot's first line is a piece of a boot only when it starts this early. */
const BOOT_STARTS_BEFORE = 20;
/** Kept candidates; a boot with more pauses is slow, not stalled. */
const CANDIDATES = 16;
const MAX_TEXT = 300;

interface MilestoneRule {
  name: string;
  words: readonly string[];
  match: RegExp;
  /** Kernel lines behind it are no longer the boot's. */
  endsBoot?: true;
}

export const MILESTONES: readonly MilestoneRule[] = [
  { name: 'start', words: ['Linux version '], match: /^Linux version / },
  { name: 'e820', words: ['physical RAM map'], match: /^(?:e820: )?BIOS-provided physical RAM map/ },
  { name: 'memory', words: ['Memory: '], match: /^Memory: \d+K\/\d+K available/ },
  { name: 'cpus', words: ['Brought up ', 'Total of '], match: /^(?:smp: |x86: )?Brought up \d+ node|^smpboot: Total of/ },
  { name: 'drivers', words: ['SCSI subsystem initialized', 'clocksource: Switched to', 'PCI: Using ACPI', 'PnP ACPI: found'], match: /^(?:SCSI subsystem initialized|clocksource: Switched to|PCI: Using ACPI|pnp: PnP ACPI: found)/ },
  { name: 'nvdimm', words: ['nd_', 'nfit', 'NFIT', 'nvdimm'], match: /^(?:nd_\w+|libnvdimm|nvdimm|nfit|nd)[ :]/ },
  { name: 'pmem', words: ['pmem', 'namespace'], match: /^(?:nd_pmem namespace|pmem\d[\w.]*:|pmem: )/ },
  { name: 'filesystem', words: ['mounted filesystem', 'Mounting V', 'Ending clean mount', 'BTRFS info', 'Mounted root'], match: /^(?:EXT[234]-fs \([^)]*\): mounted filesystem|XFS \([^)]*\): (?:Mounting V|Ending clean)|VFS: Mounted root|erofs|squashfs)/ },
  { name: 'root', words: ['Mounted root'], match: /^VFS: Mounted root/ },
  { name: 'init', words: ['Run /', 'as init process', 'unused kernel', 'unused decrypted'], match: /^(?:Run \S+ as init process|Freeing unused (?:kernel|decrypted))/, endsBoot: true },
];

/** User space's own first words, where the kernel has none (before 4.20) or they are lost. */
const USER_SPACE = /^(?:systemd\[1\]|init:|Run \S+ as init process|Welcome to |dracut|random: \S+: uninitialized urandom read|udevd?\[|\S+ login:|SELinux: (?:initialized|policy)|audit: type=14|EXT4-fs \(\S+\): re-mounted|reboot: )/;
/** Where somebody left lines out: pauses there are none of the kernel's. */
const LEFT_OUT = /^[[(<]?(?:\.{2,}|…|snip|-+8<-+)[\])>]?$/i;

/** Lines of a kernel that has not come to user space yet. */
const BOOTING =
  /^(?:brd: |loop: |clocksource: |tsc: |NET: Registered|Serial: 8250|virtio[_-]\w+ |e1000|i8042|rtc_cmos|scsi host|usbcore|pci |pci_bus |PCI|ACPI: (?!PM: Prep)|pnp|io scheduler|Key type|registered taskstats|Loading compiled-in|md: |IPv6|zswap|smp: |smpboot|x86: |devtmpfs|workingset|Freeing |Trying to unpack|VFS: |Run \S+ as init|tun: |Btrfs loaded|raid6: |HugeTLB|SCSI subsystem|libata|AMD-Vi|DMAR|iommu|microcode|TCP|UDP|audit: initializing|Initialise system|zbud|fuse: init|sched_clock|Unpacking)/;

/** Lines that announce a wait of their own; a pause behind them is no fault. */
const ANNOUNCED: readonly [RegExp, string][] = [
  [/^Waiting \d+ ?sec(?:onds)? before mounting root|^Waiting for root device/, 'waits for its root device'],
  [/^(?:Trying to unpack rootfs image|Unpacking initramfs|RAMDISK: )/, 'unpacks the initramfs'],
  [/^(?:ata\d|scsi|usb|nvme|mmc)\S*: .*(?:waiting|wait for|spin)/i, 'a device said that it waits'],
  [/^raid6: |^xor: measuring/, 'measures checksum speeds'],
  [/^(?:md|mdadm|dm-crypt|Please enter passphrase)/, 'waits for a person'],
];

/** Steps that compute for long where instructions are emulated; the line before or behind the pause tells. A pause above the limit, in seconds, is none of theirs. */
const COMPUTING: readonly { before?: RegExp; after?: RegExp; why: string; limit: number }[] = [
  { before: /^Asymmetric key parser 'x509' registered/, after: /^alg: self-tests for .* passed|^cryptomgr_test/, why: 'tests its ciphers', limit: 4 },
];

/** Lines that interrupt whatever is being set up and so say nothing about it. */
const ASIDE = /^(?:clocksource|tsc|random|Refined|input|usb|hid|audit|IPv6|TCP|UDP|NET|ata\d|sd |sr |cdrom|psmouse|rtc|evm|ima)[: ]/;
const SUBSYSTEMS: readonly [RegExp, string][] = [
  [/^(?:nd_|nd |nvdimm|libnvdimm|nfit|pmem|dax|device_dax|e820_pmem)/, 'nvdimm'],
  [/^(?:EXT[234]-fs|XFS|BTRFS|VFS|erofs)/, 'file systems'],
  [/^(?:virtio|virtio_\w+|vda|vdb)/, 'virtio'],
  [/^(?:pci|PCI|pcieport|ACPI|PM:)/, 'PCI and ACPI'],
  [/^(?:smp|smpboot|x86: Booting|\.\.\.\. node)/, 'CPU bring-up'],
  [/^(?:Memory|e820|Zone|node|NUMA|SRAT|SLUB|kasan|KernelAddressSanitizer)/i, 'memory setup'],
  [/^(?:scsi|sd|ata|nvme|ahci)/, 'storage'],
];

interface Gap {
  seconds: number;
  before: string;
  after: string;
  beforeTime: number;
  afterTime: number;
  beforeLine: number;
  afterLine: number;
  subsystem: string | undefined;
  explained: string | undefined;
}

/** What a line is about: the word before its colon, by table where that word is known. */
function subsystemOf(text: string): string | undefined {
  if (ASIDE.test(text)) return undefined;
  for (const [match, name] of SUBSYSTEMS) if (match.test(text)) return name;
  return /^([A-Za-z][\w-]{1,15})(?: [\w:.]+)?: /.exec(text)?.[1];
}

/** Follows one log's boot line by line. */
export class Timeline {
  readonly milestones: Milestone[] = [];
  #booting = true;
  #started = false;
  #reached = false;
  #lines = 0;
  #firstTime: number | undefined;
  #last: { text: string; time: number; line: number } | undefined;
  #subsystem: string | undefined;
  /** The last line that was no interruption. */
  #step = '';
  /** Pauses by size, in half powers of two of a microsecond: a rhythm in flat memory. */
  #histogram = new Uint32Array(80);
  #gaps: Gap[] = [];
  #kept: Gap[] = [];

  /** True while every line counts. */
  get booting(): boolean {
    return this.#booting;
  }
  get reachedUserSpace(): boolean {
    return this.#reached;
  }
  /** The log shows (a part of) a boot. */
  get sawBoot(): boolean {
    return this.#started;
  }
  get lastTime(): number | undefined {
    return this.#last?.time;
  }

  /** A further boot begins in the same log. */
  restart(): void {
    this.#settle();
    this.#booting = true;
    this.#reached = false;
    this.#lines = 0;
    this.#firstTime = undefined;
    this.#last = undefined;
    this.#subsystem = undefined;
    this.#step = '';
    this.#histogram.fill(0);
    this.#gaps = [];
  }

  /** A kernel line of a boot. */
  line(line: Line, number: number): void {
    if (!this.#booting) return;
    const { time, text } = line;
    if (line.user || USER_SPACE.test(text)) {
      this.#endBoot(true);
      return;
    }
    if (time === undefined) {
      if (LEFT_OUT.test(text.trim())) this.#started = false;
      return;
    }
    if (this.#firstTime === undefined) {
      this.#firstTime = time;
      if (!this.#started && (line.wall || time > BOOT_STARTS_BEFORE)) {
        this.#booting = false;
        return;
      }
    }
    const last = this.#last;
    if (last !== undefined && time > last.time) this.#gap(last, text, time, number);
    // Lines of several CPUs come slightly out of order, and early in a boot the kernel changes its clock: the line before
    // a pause is the one printed last, but time never goes back.
    this.#last = { text, time: Math.max(time, last?.time ?? time), line: number };
    if (++this.#lines > 100_000) this.#booting = false;
    this.#subsystem = subsystemOf(text) ?? this.#subsystem;
    if (!ASIDE.test(text)) this.#step = text;
  }

  /** A line of a report: it takes its time, but is no step of the boot. */
  pass(line: Line, number: number): void {
    if (this.#booting && line.time !== undefined && this.#last !== undefined) this.#last = { text: line.text, time: Math.max(line.time, this.#last.time), line: number };
  }

  /** True when this milestone's first line has been seen, or the boot is over: its words need no looking at. */
  passed(name: string): boolean {
    return this.milestones.some((known) => known.name === name);
  }

  /** A line that a milestone's words were found in. */
  milestone(line: Line, number: number): void {
    if (line.user) return;
    for (const rule of MILESTONES) {
      if (!rule.match.test(line.text)) continue;
      if (rule.name === 'start') this.#started = true;
      if (rule.endsBoot === true && this.#booting && line.stamped) this.#endBoot(true);
      if (this.milestones.some((known) => known.name === rule.name)) continue;
      this.milestones.push({ name: rule.name, ...(line.time === undefined ? {} : { time: line.time }), line: number, text: line.text.slice(0, MAX_TEXT) });
    }
  }

  /** A boot ends without user space, by a panic: what comes later is no pause of it. */
  died(): void {
    this.#booting = false;
  }

  #endBoot(reached: boolean): void {
    this.#booting = false;
    this.#reached ||= reached;
  }

  #gap(last: { text: string; time: number; line: number }, text: string, time: number, number: number): void {
    const seconds = time - last.time;
    const bin = Math.max(0, Math.min(79, Math.round(2 * Math.log2(seconds * 1e6))));
    this.#histogram[bin] = this.#histogram[bin]! + 1;
    if (seconds < STALL_FLOOR) return;
    // In a piece of a log only lines that a booting kernel alone prints show that it still boots.
    if (!this.#started && !BOOTING.test(text)) return;
    this.#gaps.push({
      seconds,
      before: last.text.slice(0, MAX_TEXT),
      after: text.slice(0, MAX_TEXT),
      beforeTime: last.time,
      afterTime: time,
      beforeLine: last.line,
      afterLine: number,
      subsystem: this.#subsystem,
      explained: ANNOUNCED.find(([match]) => match.test(last.text))?.[1] ?? COMPUTING.find(({ before, after, limit }) => seconds <= limit && (before?.test(this.#step) === true || after?.test(text) === true))?.why,
    });
    if (this.#gaps.length > CANDIDATES) {
      this.#gaps.sort((a, b) => b.seconds - a.seconds);
      this.#gaps.length = CANDIDATES;
    }
  }

  /** The pause that RHYTHM_QUANTILE of this boot's lines stay below; the pauses in question do not count themselves. */
  #rhythm(): number {
    const total = this.#histogram.reduce((sum, count) => sum + count, 0);
    const limit = total * RHYTHM_QUANTILE;
    let seen = 0;
    for (const [bin, count] of this.#histogram.entries()) {
      seen += count;
      if (seen >= limit) return 2 ** (bin / 2) / 1e6;
    }
    return 0;
  }

  #settle(): void {
    const total = this.#histogram.reduce((sum, count) => sum + count, 0);
    // A handful of lines has no rhythm: only the floor speaks.
    const threshold = Math.max(STALL_FLOOR, total < 20 ? 0 : STALL_RATIO * this.#rhythm());
    this.#kept.push(...this.#gaps.filter((gap) => gap.seconds >= threshold));
    if (this.#kept.length > 4 * CANDIDATES) this.#kept.length = 4 * CANDIDATES;
  }

  end(): Stall[] {
    this.#settle();
    return this.#kept
      .sort((a, b) => a.beforeLine - b.beforeLine)
      .map(({ subsystem, explained, ...gap }) => ({
        ...gap,
        seconds: Math.round(gap.seconds * 1e6) / 1e6,
        ...(subsystem === undefined ? {} : { subsystem }),
        ...(explained === undefined ? {} : { explained }),
      }));
  }
}
