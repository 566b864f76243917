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
