// The main job, from the command line, in real guests: every workload on real DAX pages.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunDocument } from '../../src/run/runner.js';
import { daxrig, guestsOf, runJson, temporary } from './daxrig.js';

const folder = temporary('run');
const out = path.join(folder, 'out');
const FIRST = ['kernel/boot', 'fsdax/dax-active', 'fsdax/direct-io', 'fsdax/remap', 'fsdax/map-sync', 'fsdax/poison', 'fsdax/pmd-fault', 'devdax/verify', 'devdax/direct-io', 'devdax/remap', 'devdax/poison', 'kpageflags/walk', 'nodax/mount'];
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

describe('daxrig run --json, everything', () => {
  let code: number | null;
  let document: RunDocument;
  let stderr: string;
  beforeAll(async () => {
    ({ code, document, stderr } = await runJson(['--out', out, '--format', `ktap=${folder}/r.ktap`, '--format', `junit=${folder}/r.xml`]));
  }, 600_000);

  it('passes, with the reason for anything else', () => {
    // What this kernel is known to do wrong is told as such; nothing else may differ from a pass.
    const known = document.results.filter(({ outcome }) => outcome === 'xfail');
    for (const { id, reason } of known) expect(reason, id).toMatch(/^known issue: /);
    const others = document.results.filter(({ outcome }) => outcome !== 'pass' && outcome !== 'xfail');
    // What this layout cannot have names the one that can.
    for (const { id, outcome, reason } of others) expect(`${outcome} ${id}: ${reason}`, stderr).toMatch(/^skip ((devdax|namespace)\/.*: .*try --layout (huge|nfit|hmem|colliding)|(devdax|fsdax)\/cached .*: needs the caches of a real CPU)/);
    expect(others.length).toBeLessThan(document.results.length / 6);
    expect(code).toBe(0);
  });

  it('ran each first workload with each value of its parameters', () => {
    const ids = document.results.map(({ id }) => id);
    for (const name of ['dax-active', 'direct-io', 'remap', 'map-sync', 'poison']) {
      const params = document.results.filter(({ workload }) => workload === `fsdax/${name}`).map((result) => result.params);
      expect([params.map(({ fs }) => fs).sort(), params.map(({ map }) => map).sort()], name).toEqual([['ext4', 'xfs'], ['dev', 'mem']]);
    }
    for (const name of ['direct-io', 'remap', 'poison']) for (const map of ['mem', 'dev']) expect(ids).toContain(`devdax/${name} map=${map},align=2M`);
    for (const id of ['kpageflags/walk', 'devdax/verify map=mem,align=2M', 'nodax/mount fs=ext4', 'nodax/mount fs=xfs']) expect(ids).toContain(id);
  });

  it('keeps the contract of its JSON', () => {
    expect(document).toMatchObject({ schema: expect.any(String), run: expect.any(Object), totals: { pass: expect.any(Number), fail: 0, xfail: expect.any(Number), skip: expect.any(Number), broken: 0, lost: 0 } });
    for (const result of document.results) {
      expect(result).toMatchObject({ workload: expect.any(String), params: expect.any(Object), kernel: expect.stringMatching(/^\d+\.\d+/), outcome: expect.stringMatching(/^(pass|skip|xfail)$/), seconds: expect.any(Number), findings: expect.any(Array), metrics: expect.any(Array) });
      for (const metric of result.metrics) expect(metric).toMatchObject({ name: expect.any(String), unit: expect.any(String), clock: expect.stringMatching(/^(wall|count)$/), samples: expect.any(Array) });
    }
  });

  it('saw a recovery on the console for each poison, no more and no less', () => {
    const consoles = fs.readdirSync(out).filter((name) => name.startsWith('console-'));
    const recovered = consoles.flatMap((name) => fs.readFileSync(path.join(out, name), 'utf8').match(/recovery action for dax page: Recovered/g) ?? []);
    const injected = document.results.reduce((sum, result) => sum + result.injected, 0);
    expect(injected).toBeGreaterThanOrEqual(10);
    expect(recovered).toHaveLength(injected);
  });

  it('proves every huge page by the kernel\'s word', () => {
    for (const result of document.results.filter(({ workload }) => /(direct-io|remap|map-sync)$|devdax\/verify/.test(workload))) {
      const levels = Object.values(result.evidence).filter((fact): fact is { level: string; method: string; pfn: string } => typeof fact === 'object' && fact !== null && 'level' in fact);
      expect(levels.length, result.id).toBeGreaterThan(0);
      for (const { level, method, pfn } of levels) expect({ level, method, pfn }, result.id).toEqual({ level: 'pmd', method: expect.stringMatching(/pagemap-scan|smaps/), pfn: expect.stringMatching(/^0x/) });
    }
  });

  it('leaves a run directory that is the truth, and nothing else', () => {
    expect(JSON.parse(fs.readFileSync(path.join(out, 'run.json'), 'utf8'))).toEqual(document);
    const events = fs.readFileSync(path.join(out, 'events.ndjson'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { type: string });
    expect(events.filter(({ type }) => type === 'result')).toHaveLength(document.results.length);
    expect(fs.readdirSync(out).filter((name) => !/^(run\.json|events\.ndjson|console-.*\.log)$/.test(name))).toEqual([]);
    expect(guestsOf(out)).toEqual([]);
  });

  it('writes KTAP that a TAP reader takes', () => {
    const lines = fs.readFileSync(`${folder}/r.ktap`, 'utf8').trim().split('\n');
    expect(lines[0]).toBe('KTAP version 1');
    expect(lines[1]).toBe(`1..${document.results.length}`);
    const tests = lines.filter((line) => /^(not )?ok /.test(line));
    tests.forEach((line, i) => expect(line).toMatch(new RegExp(`^ok ${i + 1} `)));
    expect(tests).toHaveLength(document.results.length);
  });

  it('writes JUnit with every test case', () => {
    const xml = fs.readFileSync(`${folder}/r.xml`, 'utf8');
    expect(xml.match(/<testcase /g)).toHaveLength(document.results.length);
    expect(xml).toMatch(new RegExp(`<testsuites name="daxrig" tests="${document.results.length}" failures="0" errors="0" skipped="${document.totals.skip + document.totals.xfail}"`));
  });
});

it('a glob runs only what it names', async () => {
  const { code, document } = await runJson(['fsdax/dax-*', '--param', 'fs=xfs', '--out', path.join(folder, 'glob')]);
  expect(document.results.map(({ id }) => id)).toEqual(['fsdax/dax-active fs=xfs,map=mem', 'fsdax/dax-active fs=xfs,map=dev']);
  expect(code).toBe(0);
});

it('a kernel of another suite passes as well', async () => {
  const { code, document, stderr } = await runJson([...FIRST, '--kernel', 'debian:bullseye', '--out', path.join(folder, 'second')]);
  expect(document.results.filter(({ outcome }) => outcome !== 'pass').map(({ id, outcome, reason }) => `${outcome} ${id}: ${reason}`), stderr).toEqual([]);
  expect(new Set(document.results.map(({ kernel }) => kernel)).size).toBe(1);
  expect(document.results[0]!.kernel).toMatch(/^5\.10\./);
  expect(code).toBe(0);
}, 600_000);

it('--no-snapshot boots for the workload', async () => {
  const { code, document } = await runJson(['kpageflags/*', '--no-snapshot', '--out', path.join(folder, 'boot')]);
  expect(document.results.map(({ outcome }) => outcome)).toEqual(['pass']);
  expect(code).toBe(0);
});

it('without pmem every workload that needs some is skipped and says so: exit 4', async () => {
  const { code, document } = await runJson(['devdax/remap', '--layout', 'none', '--out', path.join(folder, 'none')]);
  expect(document.results.map(({ outcome, reason }) => `${outcome}: ${reason}`)).toEqual(Array.from({ length: 2 }, () => expect.stringMatching(/^skip: no pmem region on this machine/)));
  expect(code).toBe(4);
  const human = await daxrig(['run', 'devdax/remap', '--layout', 'none', '--out', path.join(folder, 'none2')]);
  expect(human.stdout).toMatch(/2 skip/);
});
