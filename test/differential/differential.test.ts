import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';

const script = path.join(import.meta.dirname, 'differential.mjs');
const compare = (...args: string[]): { status: number | null; stdout: string; stderr: string } => spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });

it('the comparison with ndctl skips without its build, and says what a build lacks', () => {
  expect(compare()).toMatchObject({ status: 0, stdout: 'skipped: no folder of an ndctl build was named\n' });
  expect(compare('/nowhere')).toMatchObject({ status: 0, stdout: 'skipped: /nowhere does not exist\n' });
  const empty = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-build-'));
  try {
    expect(compare(empty)).toMatchObject({ status: 2, stderr: expect.stringMatching(/lacks test\/dax-pmd, .*; build ndctl's tests there/) as string });
  } finally {
    fs.rmSync(empty, { recursive: true });
  }
});
