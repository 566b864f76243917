// Workloads that crash, hang or vanish fail alone, with the right outcome; those after them pass.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunResult } from '../../src/run/result.js';
import { daxrig, fixtures, guestsOf, runJson, start, temporary, until } from './daxrig.js';

const folder = temporary('trouble');
const load = ['--load', path.join(fixtures, 'workloads/trouble.mjs')];
const small = ['--guest-mem', '2G', '--memmap', '512M!1G'];
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

describe('trouble/*', () => {
  let results: Map<string, RunResult>;
  let code: number | null;
  beforeAll(async () => {
    const run = await runJson(['trouble/*', ...load, ...small, '--out', path.join(folder, 'all')]);
    results = new Map(run.document.results.map((result) => [result.workload, result]));
    code = run.code;
  }, 600_000);

  it.each([
    ['trouble/pass', 'pass', undefined],
    ['trouble/expectation', 'fail', /^one should be more than two; was \{"one":1\}$/],
    ['trouble/skip', 'skip', /^needs a thing/],
    ['trouble/throws', 'broken', /^a mistake in the workload$/],
    ['trouble/panic', 'fail', /panic: sysrq triggered crash .*the guest restarted/],
    ['trouble/power-off', 'lost', /the guest powered off/],
    ['trouble/kill-agent', 'lost', /the agent ended \(signal 9\)/],
    ['trouble/out-of-memory', 'fail', /out of memory/],
    ['trouble/blocked', 'fail', /no result within 8 s.*; blocked in \w+ \(node\)/],
    ['trouble/hang', 'fail', /no result within 3 s/],
    ['trouble/warn', 'fail', /dax_disassociate_entry/],
    ['trouble/leak', 'broken', /umount2: EBUSY/],
  ])('%s is %s', (name, outcome, reason) => {
    const result = results.get(name);
    expect(result?.outcome, result?.reason).toBe(outcome);
    if (reason) expect(result?.reason).toMatch(reason);
  });

  it('exits 1 and leaves no guest behind', () => {
    expect(code).toBe(1);
    expect(guestsOf(folder)).toEqual([]);
  });

  it('has the blocked task\'s stack in the result', () => expect(results.get('trouble/blocked')?.detail).toMatch(/task:node\s+state:D[^]*vfs_write/));
});

describe('exit codes', () => {
  it.each([
    [['trouble/pass'], 0, 0],
    [['trouble/expectation'], 1, 1],
    [['trouble/throws'], 3, 125],
    [['trouble/skip'], 4, 125],
  ])('%j: %d, under --bisect %d', async (names, plain, bisect) => {
    expect((await daxrig(['run', ...names, ...load, ...small, '--out', path.join(folder, `p${plain}`)])).code).toBe(plain);
    expect((await daxrig(['run', ...names, ...load, ...small, '--bisect', '--out', path.join(folder, `b${plain}`)])).code).toBe(bisect);
  });
});

/** Starts a run of one quick workload and one that never ends, and waits until the second is at work. */
async function hanging(out: string): Promise<ReturnType<typeof start>> {
  const started = start(['run', 'trouble/pass', 'trouble/hang', ...load, ...small, '--jobs', '1', '--timeout', '100', '--out', out, '--json']);
  await until(() => (fs.existsSync(`${out}/events.ndjson`) && /"index":1,"type":"step","text":"running"/.test(fs.readFileSync(`${out}/events.ndjson`, 'utf8')) ? true : undefined), 'the second workload');
  return started;
}

it('QEMU killed from outside: lost, exit 3, the results so far kept', async () => {
  const out = path.join(folder, 'killed');
  const { ended } = await hanging(out);
  guestsOf(out).forEach((pid) => process.kill(pid, 'SIGKILL'));
  const { code, stdout } = await ended;
  const { results } = JSON.parse(stdout) as { results: RunResult[] };
  expect(results.map(({ workload, outcome }) => [workload, outcome])).toEqual([['trouble/pass', 'pass'], ['trouble/hang', 'lost']]);
  expect(code).toBe(3);
  expect(guestsOf(out)).toEqual([]);
});

it('Ctrl-C: the same, and nothing left in /tmp', async () => {
  const out = path.join(folder, 'interrupted');
  const before = fs.readdirSync('/tmp');
  const { child, ended } = await hanging(out);
  child.kill('SIGINT');
  const { code } = await ended;
  const document = JSON.parse(fs.readFileSync(`${out}/run.json`, 'utf8')) as { results: RunResult[]; run: { interrupted: boolean } };
  expect(document.results.map(({ workload, outcome }) => [workload, outcome])).toEqual([['trouble/pass', 'pass'], ['trouble/hang', 'lost']]);
  expect(document.run.interrupted).toBe(true);
  expect(code).toBe(3);
  expect(guestsOf(out)).toEqual([]);
  expect(fs.readdirSync('/tmp').filter((name) => name.startsWith('daxrig-') && !name.startsWith('daxrig-test-') && !before.includes(name))).toEqual([]);
  expect(fs.readdirSync(out).filter((name) => name.startsWith('.'))).toEqual([]);
});

it('kill -9 of daxrig itself leaves no guest and a readable run directory', async () => {
  const out = path.join(folder, 'shot');
  const { child, ended } = await hanging(out);
  child.kill('SIGKILL');
  await ended;
  await until(() => (guestsOf(out).length === 0 ? true : undefined), 'the end of its guests', 10);
  const { results } = JSON.parse(fs.readFileSync(`${out}/run.json`, 'utf8')) as { results: RunResult[] };
  expect(results.map(({ outcome }) => outcome)).toEqual(['pass']);
});
