// Requirements of workloads, checked in one place: what is missing, and how to get it.
import fs from 'node:fs';
import { toolPath } from '../device/tool.js';
import type { InstanceJob } from './execute.js';
import type { Workload } from '../workload/types.js';

const PACKAGES: Record<string, string> = { losetup: 'mount', mke2fs: 'e2fsprogs', 'mkfs.xfs': 'xfsprogs', ndctl: 'ndctl', daxctl: 'daxctl', fio: 'fio', dmsetup: 'dmsetup' };

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
