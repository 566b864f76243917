// A race that is broken on purpose is found by its seeds, and each failing seed fails again, to the bit.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { RunDocument } from '../../src/run/runner.js';
import { daxrig, fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('race');
const common = ['--clock', 'icount', '--load', path.join(fixtures, 'workloads/race.mjs')];
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it('a lost update is found by some seeds; each is named with its command, and fails again every time', async () => {
  const out = path.join(folder, 'search');
  const { code, stdout } = await daxrig(['run', 'race/lost-update', ...common, '--seeds', '1..40', '--out', out]);
  const { results } = JSON.parse(fs.readFileSync(path.join(out, 'run.json'), 'utf8')) as RunDocument;
  const failed = results.filter(({ outcome }) => outcome === 'fail');
  expect(new Set(results.map(({ outcome }) => outcome))).toEqual(new Set(['pass', 'fail']));
  for (const { reason } of failed) expect(reason).toMatch(/^2000 increments should be counted; was \{"count":1\d\d\d,/);
  expect(new Set(results.map(({ digest }) => digest)).size).toBe(40);
  expect(code).toBe(1);
  const named = [...stdout.matchAll(/again: daxrig run race\/lost-update --seed (\d+) --clock icount --load \S+race\.mjs$/gm)].map((match) => Number(match[1]));
  expect(named).toEqual(failed.map(({ seed }) => seed));
  const events = fs.readFileSync(path.join(out, 'events.ndjson'), 'utf8').split('\n').filter(Boolean).map((line) => (JSON.parse(line) as { type: string }).type);
  expect(events.filter((type) => type === 'begin' || type === 'result').slice(0, 2)).toEqual(['begin', 'begin']); // side by side
  expect(stdout).toMatch(new RegExp(`^fail +race/lost-update seed ${failed[0]!.seed} `, 'm'));

  const { seed, digest, reason } = failed[0]!;
  const again = await runJson(['race/lost-update', ...common, '--seed', String(seed), '--repeat', '6', '--out', path.join(folder, 'again')]);
  expect(again.document.results.map((result) => [result.digest, result.reason])).toEqual(Array.from({ length: 6 }, () => [digest, reason]));
}, 600_000);

it('the same race with a locked instruction never fails', async () => {
  const { document } = await runJson(['race/locked-update', ...common, '--seeds', '1..10', '--out', path.join(folder, 'locked')]);
  expect(document.results.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 10 }, () => 'pass'));
}, 600_000);

it('a workload that is named for one run takes its time by wall clock, and knows its limit', async () => {
  const told = async (...args: string[]): Promise<unknown[]> => {
    const { document } = await runJson([...args, '--load', path.join(fixtures, 'workloads/told.mjs'), '--out', fs.mkdtempSync(path.join(folder, 'told-'))]);
    return document.results.map(({ evidence }) => evidence.time);
  };
  expect(await told('told/time')).toEqual([[true, 240]]);
  expect(await told('told/*', '--timeout', '33')).toEqual([[false, 33]]);
  expect(await told('told/time', '--repeat', '2')).toEqual([[false, 60], [false, 60]]);
  expect(await told('told/time', '--clock', 'icount')).toEqual([[false, 'no limit']]);
}, 600_000);
