// JUnit XML as CI servers read it: one testsuite for each kernel, one testcase for each instance. fail is a <failure>
// (the kernel's), broken and lost are an <error> (the harness's).
import type { RunResult } from '../run/result.js';
import type { RunDocument } from '../run/runner.js';

/** XML 1.0 forbids most control characters outright; kernel logs have them. */
const escape = (text: string): string =>
  text
    .replace(/[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '�')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replace(/[\n\t\r]/g, (char) => (char === '\n' ? '&#10;' : char === '\t' ? '&#9;' : '&#13;'));

const body = (text: string): string => escape(text).replaceAll('&#10;', '\n').replaceAll('&#9;', '\t');

function testcase(result: RunResult): string[] {
  const [group, ...name] = result.id.split('/');
  const open = `    <testcase classname="${escape(`${result.kernel}.${group}`)}" name="${escape(name.join('/') || result.id)}" time="${result.seconds.toFixed(3)}"`;
  const reason = escape(result.reason ?? '');
  const detail = body([result.detail, result.log.slice(-40).join('\n')].filter(Boolean).join('\n\n'));
  switch (result.outcome) {
    case 'pass':
      return [`${open}/>`];
    case 'skip':
    case 'xfail':
      return [`${open}>`, `      <skipped message="${reason}"/>`, '    </testcase>'];
    case 'fail':
      return [`${open}>`, `      <failure type="fail" message="${reason}">${detail}</failure>`, '    </testcase>'];
    default:
      return [`${open}>`, `      <error type="${result.outcome}" message="${reason}">${detail}</error>`, '    </testcase>'];
  }
}

/** The whole run as one JUnit XML document. */
export function junit(document: RunDocument): string {
  const kernels = [...new Set(document.results.map(({ kernel }) => kernel))];
  const count = (results: RunResult[], ...outcomes: string[]): number => results.filter(({ outcome }) => outcomes.includes(outcome)).length;
  const counts = (results: RunResult[]): string =>
    `tests="${results.length}" failures="${count(results, 'fail')}" errors="${count(results, 'broken', 'lost')}" skipped="${count(results, 'skip', 'xfail')}" time="${results.reduce((sum, { seconds }) => sum + seconds, 0).toFixed(3)}"`;
  const suites = kernels.flatMap((kernel) => {
    const results = document.results.filter((result) => result.kernel === kernel);
    return [`  <testsuite name="${escape(`daxrig ${kernel}`)}" timestamp="${document.run.startedAt.slice(0, 19)}" ${counts(results)}>`, ...results.flatMap(testcase), '  </testsuite>'];
  });
  return `${['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites name="daxrig" ${counts(document.results)}>`, ...suites, '</testsuites>'].join('\n')}\n`;
}
