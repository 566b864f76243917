// The fault guard by itself: builds and runs guard_test.cc, and once more with sanitizers.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root, scratchFolder } from './support.js';

const SANITIZED = ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

describe('the fault guard', () => {
  it.each([
    ['optimized', ['-O2']],
    ['with sanitizers', SANITIZED],
  ])('keeps its promises, %s', (_name, flags) => {
    using folder = scratchFolder();
    const program = join(folder.path, 'guard_test');
    const sources = [join(root, 'test/native/guard_test.cc'), join(root, 'native/guard.cc')];
    execFileSync('g++', ['-std=c++17', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-pthread', ...flags, ...sources, '-o', program]);
    const run = spawnSync(program, { encoding: 'utf8', env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0:handle_segv=0:handle_sigbus=0' } });
    expect({ out: run.stdout, err: run.stderr, status: run.status }).toEqual({ out: '17 cases, 0 failed\n', err: '', status: 0 });
  }, 30_000);
});
