// KTAP, the kernel's dialect of the Test Anything Protocol (Documentation/dev-tools/ktap.rst): one subtest level
// for each kernel when there are several.
import type { RunResult } from '../run/result.js';
import type { RunDocument } from '../run/runner.js';

/** A description ends at "#" (directives follow) and at the end of the line. */
const clean = (text: string): string => text.replace(/[\r\n]+/g, ' ').replace(/#/g, '\\#');

function testLine(result: RunResult, number: number): string[] {
  const ok = result.outcome === 'pass' || result.outcome === 'skip' || result.outcome === 'xfail';
  const directive = result.outcome === 'skip' ? ` # SKIP ${clean(result.reason ?? '')}` : result.outcome === 'xfail' ? ` # XFAIL ${clean(result.reason ?? '')}` : '';
  const diagnosis = ok ? [] : [`${result.outcome}: ${result.reason ?? ''}`, ...(result.detail ?? '').split('\n').filter(Boolean)].map((line) => `# ${line.replace(/\r/g, '')}`);
  return [...diagnosis, `${ok ? 'ok' : 'not ok'} ${number} ${clean(result.id)}${directive}`];
}

/** The whole run as one KTAP document. */
export function ktap(document: RunDocument): string {
  const kernels = [...new Set(document.results.map(({ kernel }) => kernel))];
  const lines = ['KTAP version 1'];
  if (kernels.length <= 1) {
    lines.push(`1..${document.results.length}`, ...document.results.flatMap((result, i) => testLine(result, i + 1)));
    return `${lines.join('\n')}\n`;
  }
  lines.push(`1..${kernels.length}`);
  kernels.forEach((kernel, i) => {
    const results = document.results.filter((result) => result.kernel === kernel);
    const inner = ['KTAP version 1', `# Subtest: ${kernel}`, `1..${results.length}`, ...results.flatMap((result, j) => testLine(result, j + 1))];
    lines.push(...inner.map((line) => `    ${line}`));
    const ok = results.every(({ outcome }) => ['pass', 'skip', 'xfail'].includes(outcome));
    lines.push(`${ok ? 'ok' : 'not ok'} ${i + 1} ${kernel}`);
  });
  return `${lines.join('\n')}\n`;
}
