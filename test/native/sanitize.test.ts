// The native tests once more on an addon built with ASan and UBSan, in a child: any report of theirs is a failure.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root, scratchFolder } from './support.js';

const addon = join(root, 'build/sanitize/build/Release/daxrig.node');
const library = (name: string): string => execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();

/** The sanitizers must be in the process from its start, and must leave the signals to us and the leaks to V8. */
const environment = (reports: string): NodeJS.ProcessEnv => ({
  ...process.env,
  DAXRIG_ADDON: addon,
  DAXRIG_FUZZ_SEEDS: '3',
  DAXRIG_FUZZ_CALLS: '4000',
  LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
  ASAN_OPTIONS: `detect_leaks=0:handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1:allocator_may_return_null=1:log_path=${reports}/asan`,
  UBSAN_OPTIONS: `print_stacktrace=1:log_path=${reports}/ubsan`,
});

function reported(folder: string): string {
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('');
}

// Inside its own child this file has nothing to do.
it.skipIf(process.env['DAXRIG_ADDON'] !== undefined)('neither ASan nor UBSan has anything to report', () => {
  const build = spawnSync(process.execPath, [join(root, 'scripts/build-addon.mjs'), '--sanitize'], { encoding: 'utf8' });
  expect({ status: build.status, err: build.stderr }).toEqual({ status: 0, err: '' });
  using reports = scratchFolder();
  const tests = ['mapping', 'pages', 'system', 'abuse'].map((name) => `test/native/${name}.test.ts`);
  const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'native', '--testTimeout', '60000'];
  const run = spawnSync(process.execPath, [...vitest, ...tests], {
    cwd: root,
    encoding: 'utf8',
    env: environment(reports.path),
    timeout: 100_000,
  });
  expect(reported(reports.path)).toBe('');
  expect(run.status, `${run.stdout}${run.stderr}`).toBe(0);
}, 120_000);
