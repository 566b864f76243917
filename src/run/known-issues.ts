// Documented misbehaviour of kernels: a failure that is just what an entry says becomes xfail, with its reason. An
// entry names its evidence in docs/known-issues.md; anything that fails otherwise stays a failure.
import type { InstanceResult } from './result.js';

export interface KnownIssue {
  workload: string;
  /** Kernel versions, the first that has it and the first that does not (open: not yet fixed). */
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

/** Compares dotted versions by their numbers; a release's suffix (-amd64, -rc7) does not count. */
export function compareReleases(a: string, b: string): number {
  const numbers = (text: string): number[] => (/^\d+(\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number);
  const [x, y] = [numbers(a), numbers(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The result, or its xfail where a known issue of this kernel says just that. */
export function applyKnownIssues<T extends InstanceResult>(workload: string, release: string, result: T, issues = KNOWN_ISSUES): T {
  if (result.outcome !== 'fail') return result;
  const issue = issues.find(
    (candidate) =>
      candidate.workload === workload &&
      compareReleases(release, candidate.from) >= 0 &&
      (candidate.until === undefined || compareReleases(release, candidate.until) < 0) &&
      candidate.reason.test(result.reason ?? ''),
  );
  return issue ? { ...result, outcome: 'xfail', reason: `known issue: ${issue.why}` } : result;
}
