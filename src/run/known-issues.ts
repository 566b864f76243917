// Documented misbehaviour of kernels: a failure that is just what an entry says becomes xfail, with its reason. An
// entry names its evidence in docs/known-issues.md; anything that fails otherwise stays a failure.
import { isBefore, parseKernelVersion } from '../kernel/version.js';
import type { InstanceResult } from './result.js';

export interface KnownIssue {
  workload: string;
  /** Kernel versions, major.minor: the first that has it, and the first that does not (open: not yet fixed). */
  from: string;
  until?: string;
  /** What the failure's reason must say. */
  reason: RegExp;
  why: string;
}

const KNOWN_ISSUES: readonly KnownIssue[] = [
  {
    workload: 'fsdax/poison-tail',
    from: '6.15',
    reason: /^a tail page: the process should get SIGBUS$/,
    why: 'memory failure looks for the huge page\'s head only: a process that maps a tail page alone gets no signal',
  },
  {
    workload: 'fsdax/poison-shared',
    from: '5.10',
    until: '5.11',
    reason: /^a process told early, by a huge page: one action-optional signal should come; was \[\]$/,
    why: 'memory failure on a DAX page signals the process that met it alone: others that asked to be told early are not',
  },
  {
    workload: 'fsdax/poison-races',
    from: '5.10',
    until: '5.11',
    reason: /^in each slice each other process that maps the page should get one signal; was \{"told":\[0(,0)*\]\}$/,
    why: 'memory failure on a DAX page signals the process that met it alone (see fsdax/poison-shared)',
  },
  {
    workload: 'fsdax/pte-pmd-conflict',
    from: '6.15',
    reason: /^WARNING in (dax_folio_put|dax_disassociate_entry)\b/,
    why: 'write(2) takes the entry of new blocks out of a file while a fault maps it: the folio is let go of while still mapped',
  },
  {
    workload: 'fsdax/pte-pmd-conflict',
    from: '6.15',
    reason: /^every operation of the race should end; was .*(ext4_wait_dax_page|xfs_wait_dax_page).*dax_break_layout/,
    why: 'zeroing waits for a page to have no user at all: one that maps it meanwhile keeps it waiting for ever',
  },
  {
    workload: 'fsdax/pte-pmd-conflict',
    from: '6.15',
    reason: /^(huge|small|mapper)\.(stamp|load) should meet nothing but success; was \{"errors":\{\},"signals":\{"BUS_ADRERR":\d+\}\}$/,
    why: 'a fault finds the folio that it is to map let go of meanwhile, and ends in SIGBUS',
  },
  {
    workload: 'fsdax/dma-truncate',
    from: '6.1',
    until: '6.2',
    reason: /^every operation of the race should end; was .*(ext4_break_layouts|xfs_break_dax_layouts)/,
    why: 'the end of a transfer does not wake who waits for its DAX pages: truncate and hole punch hang for ever',
  },
  {
    workload: 'fsdax/dma-truncate',
    from: '6.15',
    reason: /^every operation of the race should end; was .*(ext4_wait_dax_page|xfs_wait_dax_page).*dax_break_layout/,
    why: 'truncate and hole punch wait for a transfer\'s page to have no user at all: one that maps it meanwhile keeps them waiting for ever',
  },
  {
    workload: 'fsdax/dma-truncate',
    from: '6.18',
    until: '6.19',
    reason: /^WARNING in bio_iov_iter_get_pages(?: \(and: every operation of the race should end; was .*(ext4_wait_dax_page|xfs_wait_dax_page).*dax_break_layout.*)?$/,
    why: 'a transfer from pages that are truncated meanwhile finds more pages than its bio was made for: a warning, EINVAL to the caller',
  },
  {
    workload: 'fsdax/reflink',
    from: '6.0',
    until: '6.2',
    reason: /^WARNING in dax_insert_entry( \(and: after stores: bytes \d+\.\.\d+ of the clone should be its own; .*)?$/s,
    why: 'copies of shared blocks are not told to the page cache\'s entries: a warning, and mappings that show the old block after write(2)',
  },
  {
    workload: 'fsdax/reflink-poison',
    from: '6.0',
    until: '6.2',
    reason: /^WARNING in dax_insert_entry$/,
    why: 'shared blocks and page-cache entries disagree (see fsdax/reflink)',
  },
  {
    workload: 'fsdax/reflink',
    from: '6.15',
    reason: /^WARNING in dax_insert_entry$/,
    why: 'a small entry for a block that another file holds in a huge folio is warned of',
  },
  {
    workload: 'fsdax/reflink-poison',
    from: '6.15',
    reason: /^WARNING in dax_insert_entry$/,
    why: 'a small entry for a block that another file holds in a huge folio is warned of (see fsdax/reflink)',
  },
  {
    workload: 'devdax/remap',
    from: '5.10',
    until: '6.1',
    reason: /^BUG: bad pud$/,
    why: 'mremap of a part of a 1 GiB devdax entry takes the entry for a broken one: "bad pud", and drops it; the data stay right',
  },
  {
    workload: 'kernel/pagemap-walk',
    from: '6.15',
    reason: /^small pages: what was stored to should be soft-dirty, and nothing of another entry; was \{"store":0,"pages":0\}$/,
    why: 'a store to a small page of a DAX file that was mapped already makes its entry writable, but not soft-dirty',
  },
  {
    workload: 'namespace/round-trip',
    from: '6.18',
    until: '6.19',
    reason: /^with the page map in memory, disabling should give back the memory of its struct pages; was /,
    why: 'the struct pages of a disabled namespace are never freed: 16 MiB per GiB are lost each time',
  },
  {
    workload: 'fsdax/grow',
    from: '5.10',
    until: '7.3',
    reason: /^ext4, (truncate|a write behind the end), at once: read\(2\) should give zeros behind the old end; was /,
    why: 'what a mapping stored behind the end of a file in its last page shows up as data when the file grows',
  },
  {
    workload: 'driver/unbind',
    from: '5.10',
    until: '6.1',
    reason: /^(WARNING in __mark_inode_dirty$|the kernel should complain of nothing else .*\["WARNING in __mark_inode_dirty"\]$)/,
    why: 'a file system whose device is gone marks inodes dirty that nobody will write back: a warning',
  },
  {
    workload: 'namespace/btt-damage',
    from: '5.10',
    reason: /^a write to a sector should end, be it with EIO, when its spare block is lost$/,
    why: 'a block that cannot be cleared counts as cleared: who writes a sector tries again for ever',
  },
  {
    workload: 'driver/unbind',
    from: '5.10',
    reason: /^BUG: unable to handle kernel paging request in (dax_disassociate_entry|zap_huge_pmd|vm_normal_folio_pmd)\b/,
    why: 'struct pages are freed with the driver while a mounted file system and its mappings still use them',
  },
  {
    workload: 'driver/unbind-devdax',
    from: '5.10',
    reason: /^BUG: unable to handle kernel NULL pointer dereference in (__)?check_vma\b/,
    why: 'a device without its driver can be opened while somebody has it open, and mapping it then is an oops',
  },
  {
    workload: 'driver/unbind-devdax',
    from: '5.10',
    reason: /^WARNING: refcount bug in cdev_put$/,
    why: 'binding the driver again starts to count anew who has the device open: closing what was open before is one too many',
  },
  {
    workload: 'namespace/old-start-pad',
    from: '5.10',
    until: '5.17',
    reason: /^DAX turned off: EXT4-fs \(and: ext4 on \/dev\/pmem\d+ should be mounted with DAX; was "?EINVAL"?\)$/,
    why: 'page frames of a namespace with a start_pad are told without it: the check of a mount finds none there, and DAX stays off',
  },
  {
    workload: 'namespace/old-start-pad',
    from: '5.17',
    reason: /^stored through a mapping: the page frames mapped should be those of byte \d+ of \/dev\/pmem\d+; was /,
    why: 'page frames of a namespace with a start_pad are told without it: a mapping has other bytes than the block device',
  },
];

/** The result, or its xfail where a known issue of this kernel says just that. */
export function applyKnownIssues<T extends InstanceResult>(workload: string, release: string, result: T, issues = KNOWN_ISSUES): T {
  if (result.outcome !== 'fail') return result;
  const version = parseKernelVersion(release);
  const issue = issues.find(
    (candidate) =>
      candidate.workload === workload &&
      !isBefore(version, candidate.from) &&
      (candidate.until === undefined || isBefore(version, candidate.until)) &&
      candidate.reason.test(result.reason ?? ''),
  );
  return issue ? { ...result, outcome: 'xfail', reason: `known issue: ${issue.why}` } : result;
}
