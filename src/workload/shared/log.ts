// For workloads that make the kernel complain in one certain way: expectsLog lets a whole kind pass, this lets through
// what is meant and nothing else of that kind.
import { isComplaint, parseKernelLog } from '../../kernel/klog.js';
import type { Context } from '../types.js';

/** Expects that the kernel has complained of nothing but findings whose title matches. Call it last. */
export function expectOnlyLog(ctx: Context, title: RegExp): void {
  const complaints = parseKernelLog(ctx.log.lines().join('\n')).findings.filter((finding) => isComplaint(finding, []));
  const others = complaints.filter((finding) => !title.test(finding.title));
  ctx.prove('complaints that were wanted', [...new Set(complaints.filter((finding) => title.test(finding.title)).map((finding) => finding.title))]);
  ctx.expect(others.length === 0, `the kernel should complain of nothing else than ${String(title)}`, others.map((finding) => finding.title));
}
