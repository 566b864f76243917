// Judges a kernel configuration: what of DAX it can do, what is missing by name, and why that matters. A table; the
// names of options changed over the versions, so an option is a list of names of which one is enough.

import { fnv1a } from '../hash.js';

export type KconfigValue = string;

/** Options that are set: `y`, `m`, a number or a string. What is "not set" is not in it. */
export type Kconfig = ReadonlyMap<string, KconfigValue>;

/** One thing the kernel must have. */
export interface Option {
  /** Names without CONFIG_, newest first; one of them is enough. */
  names: readonly string[];
  /** What breaks without it. */
  why: string;
  /** Options that it depends on: to be switched on first. */
  needs?: readonly string[];
  /** Only from, or only before, this version ("6.3"). */
  since?: string;
  until?: string;
  /** It has to be built in: a module comes too late. */
  builtin?: true;
}

export interface Capability {
  name: string;
  about: string;
  options: readonly Option[];
  /** Capabilities that this one stands on. */
  builtOn?: readonly string[];
  /** Nice to have for finding faults, but no kernel in the field has it. */
  debug?: true;
}

export interface MissingOption {
  option: string;
  why: string;
  /** Dependencies that are not set either; enabling the option alone will not last. */
  needs: string[];
}

export interface CapabilityCheck {
  capability: string;
  about: string;
  ok: boolean;
  missing: MissingOption[];
  /** Options of it that are modules: they have to be loaded. */
  modules: string[];
  debug?: true;
}

const ZONE_DEVICE: Option = {
  names: ['ZONE_DEVICE'],
  why: 'pmem gets no struct pages: file systems come up without DAX (or refuse it), and no devdax is possible',
  needs: ['MEMORY_HOTPLUG', 'MEMORY_HOTREMOVE', 'SPARSEMEM_VMEMMAP'],
  since: '4.3',
};

/** Capabilities, what they stand on first. */
export const CAPABILITIES: readonly Capability[] = [
  {
    name: 'dax',
    about: 'DAX at all: persistent memory mapped without the page cache',
    options: [
      { names: ['DAX'], why: 'nothing can offer a dax_device', since: '4.12' },
      { names: ['FS_DAX'], why: 'file systems know no -o dax: every mapping goes through the page cache', needs: ['MMU', 'DAX', 'ZONE_DEVICE'] },
      ZONE_DEVICE,
      { names: ['MEMORY_HOTPLUG'], why: 'ZONE_DEVICE depends on it', needs: ['SPARSEMEM'] },
      { names: ['MEMORY_HOTREMOVE'], why: 'ZONE_DEVICE depends on it', needs: ['MEMORY_HOTPLUG', 'MIGRATION'] },
      { names: ['SPARSEMEM_VMEMMAP'], why: 'ZONE_DEVICE depends on it', needs: ['SPARSEMEM', 'SPARSEMEM_VMEMMAP_ENABLE'] },
      { names: ['FS_DAX_PMD'], why: 'DAX mappings use 4K pages only', needs: ['FS_DAX', 'ZONE_DEVICE', 'TRANSPARENT_HUGEPAGE'], since: '4.5' },
      { names: ['TRANSPARENT_HUGEPAGE'], why: 'no PMD mappings: every 2M costs 512 faults' },
    ],
  },
  {
    name: 'pmem',
    about: 'persistent memory as block device: /dev/pmemN',
    builtOn: ['dax'],
    options: [
      { names: ['LIBNVDIMM'], why: 'no nvdimm bus, regions or namespaces', needs: ['PHYS_ADDR_T_64BIT', 'HAS_IOMEM', 'BLK_DEV'] },
      { names: ['BLK_DEV_PMEM'], why: 'no /dev/pmemN', needs: ['LIBNVDIMM'] },
      { names: ['NVDIMM_PFN'], why: 'fsdax namespaces cannot be set up: no struct pages for pmem', needs: ['LIBNVDIMM', 'ZONE_DEVICE'], since: '4.3' },
    ],
  },
  {
    name: 'fsdax-ext4',
    about: 'ext4 with -o dax',
    builtOn: ['pmem'],
    options: [{ names: ['EXT4_FS'], why: 'no ext4' }],
  },
  {
    name: 'fsdax-xfs',
    about: 'XFS with -o dax',
    builtOn: ['pmem'],
    options: [{ names: ['XFS_FS'], why: 'no XFS' }],
  },
  {
    name: 'fsdax-ext2',
    about: 'ext2 with -o dax',
    builtOn: ['pmem'],
    options: [{ names: ['EXT2_FS', 'EXT4_USE_FOR_EXT2'], why: 'no ext2' }],
  },
  {
    name: 'xfs-realtime',
    about: 'XFS with a realtime device',
    builtOn: ['fsdax-xfs'],
    options: [{ names: ['XFS_RT'], why: 'XFS refuses a realtime device', needs: ['XFS_FS'] }],
  },
  {
    name: 'devdax',
    about: 'a namespace mapped as a character device: /dev/daxX.Y',
    builtOn: ['pmem'],
    options: [
      { names: ['DEV_DAX'], why: 'no /dev/daxX.Y', needs: ['TRANSPARENT_HUGEPAGE'] },
      { names: ['DEV_DAX_PMEM'], why: 'devdax namespaces give no device', needs: ['LIBNVDIMM', 'NVDIMM_DAX', 'DEV_DAX'] },
      { names: ['NVDIMM_DAX'], why: 'no devdax namespaces', needs: ['LIBNVDIMM', 'NVDIMM_PFN', 'ZONE_DEVICE'] },
    ],
  },
  {
    name: 'kmem',
    about: 'devdax as ordinary memory (system-ram mode)',
    builtOn: ['devdax'],
    options: [
      { names: ['DEV_DAX_KMEM'], why: 'a dax device cannot become system RAM', needs: ['DEV_DAX', 'MEMORY_HOTPLUG'], since: '5.1' },
      { names: ['MEMORY_HOTPLUG'], why: 'memory cannot be added at run time' },
    ],
  },
  {
    name: 'hmem',
    about: 'memory set aside by firmware or by efi_fake_mem as dax devices',
    builtOn: ['devdax'],
    options: [{ names: ['DEV_DAX_HMEM'], why: 'soft-reserved memory gives no dax device', needs: ['EFI_SOFT_RESERVE', 'DEV_DAX'], since: '5.5' }],
  },
  {
    name: 'memory-failure',
    about: 'memory failures: poison, SIGBUS, recovery',
    options: [
      { names: ['MEMORY_FAILURE'], why: 'MADV_HWPOISON fails and a broken page kills the machine', needs: ['MMU', 'X86_MCE'] },
    ],
  },
  {
    name: 'hwpoison-inject',
    about: 'memory failures injected by pfn (debugfs hwpoison)',
    builtOn: ['memory-failure'],
    options: [
      { names: ['HWPOISON_INJECT'], why: 'no /sys/kernel/debug/hwpoison', needs: ['MEMORY_FAILURE', 'DEBUG_KERNEL', 'PROC_FS'] },
      { names: ['DEBUG_FS'], why: 'no debugfs to inject through' },
    ],
  },
  {
    name: 'mce-inject',
    about: 'machine checks injected',
    options: [{ names: ['X86_MCE_INJECT'], why: 'no machine check can be raised on purpose', needs: ['X86_MCE', 'X86_LOCAL_APIC', 'DEBUG_FS'] }],
  },
  {
    name: 'page-walks',
    about: '/proc/kpageflags, kpagecount and pagemap over every pfn',
    options: [{ names: ['PROC_PAGE_MONITOR'], why: 'no /proc/kpageflags: the state of pages cannot be read', needs: ['PROC_FS', 'MMU'] }],
  },
  {
    name: 'legacy-pmem',
    about: 'emulated persistent memory by memmap=nn!ss',
    builtOn: ['pmem'],
    options: [{ names: ['X86_PMEM_LEGACY'], why: 'memmap=nn!ss reserves memory but gives no /dev/pmemN', needs: ['PHYS_ADDR_T_64BIT', 'BLK_DEV'] }],
  },
  {
    name: 'nfit',
    about: 'NVDIMMs by ACPI: real ones and QEMU -device nvdimm',
    builtOn: ['pmem'],
    options: [{ names: ['ACPI_NFIT'], why: 'NVDIMMs are not seen', needs: ['ACPI', 'LIBNVDIMM'] }],
  },
  {
    name: 'btt',
    about: 'namespaces in sector mode (BTT)',
    builtOn: ['pmem'],
    options: [{ names: ['BTT', 'ND_BTT'], why: 'no sector mode: torn sectors after a power failure', needs: ['LIBNVDIMM'] }],
  },
  {
    name: 'virtio-pmem',
    about: 'QEMU -device virtio-pmem-pci',
    builtOn: ['pmem'],
    options: [{ names: ['VIRTIO_PMEM'], why: 'virtio-pmem devices are not seen', needs: ['VIRTIO', 'LIBNVDIMM'], since: '5.3' }],
  },
  {
    name: 'guest',
    about: 'boots as a QEMU guest with disks and a channel to the host',
    options: [
      { names: ['VIRTIO'], why: 'no virtio devices' },
      { names: ['VIRTIO_PCI'], why: 'virtio devices on PCI are not seen', needs: ['PCI', 'VIRTIO'] },
      { names: ['VIRTIO_BLK'], why: 'no disks from the host', needs: ['VIRTIO', 'BLK_DEV'] },
      { names: ['VIRTIO_CONSOLE'], why: 'no channel to the host besides the serial console', needs: ['VIRTIO', 'TTY'] },
      { names: ['BLK_DEV_INITRD'], why: 'no initramfs: nothing to boot into', builtin: true },
      { names: ['DEVTMPFS'], why: 'no /dev', builtin: true },
      { names: ['TMPFS'], why: 'no place for files in memory', builtin: true },
    ],
  },
  {
    name: 'serial-console',
    about: "the kernel's words on a serial line",
    options: [
      { names: ['SERIAL_8250'], why: 'no serial port: a crash leaves no trace', builtin: true },
      { names: ['SERIAL_8250_CONSOLE'], why: 'console=ttyS0 does nothing: a crash at boot leaves no trace', needs: ['SERIAL_8250'], builtin: true },
      { names: ['PRINTK'], why: 'the kernel says nothing', builtin: true },
      { names: ['PRINTK_TIME'], why: 'no time stamps: pauses of the boot cannot be seen (printk.time=1 helps)' },
    ],
  },
  {
    name: 'fw-cfg',
    about: 'parameters from QEMU through /sys/firmware/qemu_fw_cfg',
    options: [{ names: ['FW_CFG_SYSFS'], why: 'no parameters through fw_cfg', needs: ['SYSFS'], since: '4.6' }],
  },
  {
    name: '9p',
    about: "the host's files in the guest (9p)",
    options: [
      { names: ['NET_9P_VIRTIO'], why: 'no 9p over virtio', needs: ['VIRTIO', 'NET_9P'] },
      { names: ['9P_FS'], why: 'no 9p file system', needs: ['NET_9P'] },
    ],
  },
  {
    name: 'dm',
    about: 'DAX through device-mapper: linear and striped targets',
    builtOn: ['pmem'],
    options: [{ names: ['BLK_DEV_DM'], why: 'no device-mapper' }],
  },
  {
    name: 'fuse-dax',
    about: 'DAX through virtiofs',
    builtOn: ['dax'],
    options: [
      { names: ['VIRTIO_FS'], why: 'no virtiofs', needs: ['FUSE_FS', 'VIRTIO'], since: '5.4' },
      { names: ['FUSE_DAX'], why: 'virtiofs knows no DAX window', needs: ['VIRTIO_FS', 'FS_DAX', 'DAX'], since: '5.10' },
    ],
  },
  {
    name: 'erofs-dax',
    about: 'EROFS with -o dax',
    builtOn: ['pmem'],
    options: [{ names: ['EROFS_FS'], why: 'no EROFS', since: '5.4' }],
  },
  {
    name: 'tracing',
    about: 'function tracing and events: what a workload reaches in the kernel',
    options: [
      { names: ['FTRACE'], why: 'no tracefs' },
      { names: ['FUNCTION_TRACER'], why: 'functions cannot be traced', needs: ['FTRACE', 'HAVE_FUNCTION_TRACER'] },
      { names: ['DYNAMIC_FTRACE'], why: 'tracing costs even when it is off', needs: ['FUNCTION_TRACER'] },
      { names: ['EVENT_TRACING'], why: 'no fs_dax events' },
    ],
  },
  {
    name: 'kcov',
    about: 'code coverage of workloads',
    debug: true,
    options: [{ names: ['KCOV'], why: 'no coverage' }],
  },
  {
    name: 'lkdtm',
    about: 'crashes on purpose, to see that they are noticed',
    debug: true,
    options: [{ names: ['LKDTM'], why: 'drills need modules of their own', needs: ['DEBUG_FS'] }],
  },
  {
    name: 'kasan',
    about: 'use after free and out-of-bounds accesses reported',
    debug: true,
    options: [{ names: ['KASAN'], why: 'memory errors go unnoticed until they crash', needs: ['SLUB_DEBUG', 'STACKTRACE'] }],
  },
  {
    name: 'kfence',
    about: 'a cheap sample of memory errors reported',
    debug: true,
    options: [{ names: ['KFENCE'], why: 'memory errors go unnoticed', since: '5.12' }],
  },
  {
    name: 'ubsan',
    about: 'undefined behaviour reported',
    debug: true,
    options: [{ names: ['UBSAN'], why: 'shifts and indexes out of bounds go unnoticed' }],
  },
  {
    name: 'kcsan',
    about: 'data races reported',
    debug: true,
    options: [{ names: ['KCSAN'], why: 'data races go unnoticed', since: '5.8' }],
  },
  {
    name: 'lockdep',
    about: 'lock order violations reported',
    debug: true,
    options: [
      { names: ['PROVE_LOCKING'], why: 'possible deadlocks go unnoticed until they happen', needs: ['DEBUG_KERNEL', 'LOCK_DEBUGGING_SUPPORT'] },
      { names: ['DEBUG_ATOMIC_SLEEP'], why: 'sleeping in atomic context goes unnoticed' },
    ],
  },
  {
    name: 'vm-debug',
    about: "the memory manager's own checks",
    debug: true,
    options: [
      { names: ['DEBUG_VM'], why: 'VM_BUG_ON and VM_WARN_ON check nothing' },
      { names: ['DEBUG_VM_PGFLAGS'], why: 'wrong page flags go unnoticed', needs: ['DEBUG_VM'] },
      { names: ['DEBUG_LIST', 'LIST_HARDENED'], why: 'corrupted lists go unnoticed' },
    ],
  },
  {
    name: 'hang-detection',
    about: 'hung tasks and lockups reported',
    options: [
      { names: ['DETECT_HUNG_TASK'], why: 'a task that hangs for ever is not reported' },
      { names: ['SOFTLOCKUP_DETECTOR', 'LOCKUP_DETECTOR'], why: 'a CPU that spins in the kernel is not reported' },
      { names: ['HARDLOCKUP_DETECTOR', 'HARDLOCKUP_DETECTOR_PERF', 'HARDLOCKUP_DETECTOR_BUDDY', 'LOCKUP_DETECTOR'], why: 'a CPU that spins with interrupts off is not reported' },
    ],
  },
];

const SET = /^CONFIG_([A-Za-z0-9_]+)=(.*)$/;

/** Reads a .config (or /proc/config.gz's text, or /boot/config-*). */
export function parseKconfig(text: string): Kconfig {
  const config = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = SET.exec(line.trim());
    if (match === null) continue;
    const value = match[2]!.replace(/^"(.*)"$/, '$1');
    // "=n" is how fragments say "is not set".
    if (value === 'n') config.delete(match[1]!);
    else config.set(match[1]!, value);
  }
  return config;
}

/** The kernel version that a .config's first lines name, where they do. */
export function kconfigVersion(text: string): string | undefined {
  return /^# Linux\/\S+ (\d+\.\d+\S*) Kernel Configuration/m.exec(text)?.[1];
}

const enabled = (config: Kconfig, name: string): boolean => {
  const value = config.get(name);
  return value !== undefined && value !== '' && value !== '0';
};

function applies(option: Option, version: [number, number] | undefined): boolean {
  if (version === undefined) return true;
  const [major, minor] = version;
  const older = (text: string): boolean => {
    const [otherMajor = 0, otherMinor = 0] = text.split('.').map(Number);
    return major !== otherMajor ? major < otherMajor : minor < otherMinor;
  };
  return !(option.since !== undefined && older(option.since)) && !(option.until !== undefined && !older(option.until));
}

/** What the configuration can do, capability by capability; a capability also lacks what it is built on. */
export function checkKconfig(config: Kconfig, { version }: { version?: string } = {}): CapabilityCheck[] {
  const numbers = version === undefined ? null : /^v?(\d+)\.(\d+)/.exec(version);
  const release: [number, number] | undefined = numbers === null ? undefined : [Number(numbers[1]), Number(numbers[2])];
  const done = new Map<string, CapabilityCheck>();
  return CAPABILITIES.map((capability) => {
    const missing = new Map<string, MissingOption>();
    for (const below of capability.builtOn ?? []) for (const option of done.get(below)?.missing ?? []) missing.set(option.option, option);
    const modules: string[] = [];
    for (const option of capability.options) {
      if (!applies(option, release)) continue;
      const found = option.names.find((name) => enabled(config, name));
      const name = option.names[0]!;
      if (found === undefined) missing.set(name, { option: name, why: option.why, needs: (option.needs ?? []).filter((need) => !enabled(config, need)) });
      else if (config.get(found) === 'm') {
        if (option.builtin === true) missing.set(name, { option: name, why: `${option.why}; it is a module, which comes too late`, needs: [] });
        else modules.push(found);
      }
    }
    const check: CapabilityCheck = { capability: capability.name, about: capability.about, ok: missing.size === 0, missing: [...missing.values()], modules };
    if (capability.debug === true) check.debug = true;
    done.set(capability.name, check);
    return check;
  });
}

/** A name for a configuration: the same options give the same hash, whatever their order and comments. */
export function kconfigHash(config: Kconfig): string {
  const text = [...config]
    // What the compiler is called says nothing about what the kernel does.
    .filter(([name]) => !/^(?:CC_VERSION_TEXT|BUILD_SALT|LOCALVERSION|RUSTC_VERSION_TEXT)$/.test(name))
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join('\n');
  // Two of them are plenty to tell configurations apart.
  return fnv1a(text) + fnv1a(text, 0x9ae16a3b2f90404fn);
}
