// Requirements of workloads, checked in one place: what is missing, and how to get it.
import fs from 'node:fs';
import { toolPath } from '../device/tool.js';
import type { Layout } from '../guest/layout.js';
import type { Accel } from '../guest/qemu.js';
import type { InstanceJob } from './execute.js';
import type { Workload } from '../workload/types.js';

const PACKAGES: Record<string, string> = { losetup: 'mount', mke2fs: 'e2fsprogs', 'mkfs.xfs': 'xfsprogs', ndctl: 'ndctl', daxctl: 'daxctl', fio: 'fio', dmsetup: 'dmsetup' };

/** What a guest is known to lack before it is started; undefined when nothing, or when its own set-up decides. */
export function lackOf({ layout, accel, append, ownSetup }: GuestKnown, { needs }: Workload): string | undefined {
  if (needs.caches && accel === 'tcg') return 'needs the caches of a real CPU, which an emulated one has not; run it on hardware or with KVM';
  if (append || ownSetup) return undefined;
  if (needs.memory === 'nvdimm' && layout.nvdimms.length === 0) return 'needs NVDIMM devices with label areas; try --layout nfit';
  if (needs.memory === 'soft-reserved' && layout.softReserved.length === 0) return 'needs soft-reserved memory; try --layout hmem';
  return undefined;
}

/** What is known of a guest from its configuration. */
export interface GuestKnown {
  layout: Pick<Layout, 'nvdimms' | 'softReserved'>;
  accel: Accel;
  /** More words on the kernel's command line. */
  append?: string;
  /** The user's script has a say in what the guest has. */
  ownSetup?: boolean;
}

/** Why the workload cannot run here, with what to do; undefined when nothing is missing. */
export function unmetNeed(workload: Workload, job: InstanceJob): string | undefined {
  const { needs } = workload;
  if (needs.root !== false && process.getuid?.() !== 0) return 'needs root; run as root, or use a guest (--target guest)';
  if (needs.guest && job.target.kind !== 'namespace') return 'may bring the whole machine down: it runs in guests only';
  for (const tool of needs.tools ?? []) if (toolPath(tool) === undefined) return `needs ${tool}; install the package ${PACKAGES[tool] ?? tool}`;
  for (const file of needs.files ?? []) if (!fs.existsSync(file)) return `needs ${file}, which this kernel does not have`;
  for (const option of needs.kconfig ?? []) if (job.kconfig && !job.kconfig.includes(option)) return `needs a kernel with CONFIG_${option}`;
  const known = needs.filesystems && fs.readFileSync('/proc/filesystems', 'utf8');
  for (const kind of needs.filesystems ?? []) if (!new RegExp(`\\b${kind}$`, 'm').test(known!)) return `needs the file system ${kind}; load its module or enable it in the kernel`;
  return undefined;
}
