// The closing line of scripts/test, from vitest's JSON report; the exit status is the tests' own.
import fs from 'node:fs';

const [report, status] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(fs.readFileSync(report, 'utf8'));
  passed = numPassedTests;
  // A file that could not even be loaded has no tests of its own to count.
  failed = numFailedTests + testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
  skipped = numPendingTests;
} catch (error) {
  console.error(`daxrig: the test runner left no report: ${error.message}`);
  failed = 1;
}
if (Number(status) !== 0 && failed === 0) failed = 1;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
