// Runs record themselves; what was recorded when a run is killed is neither lost nor half there.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { daxrig, guestsOf, start, temporary, until } from './daxrig.js';

const folder = temporary('record');
const db = path.join(folder, 'timings.db');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const MEASURING = ['run', 'fsdax/pte-fault', '--param', 'fs=ext4', '--clock', 'icount', '--jobs', '1', '--db', db];
const sessions = async (): Promise<{ run: string; n: number }[]> => {
  const { stdout } = await daxrig(['history', 'fsdax/pte-fault/first read fault', '--json', '--db', db]);
  return (JSON.parse(stdout) as { series: { sessions: { run: string; n: number }[] }[] }).series.flatMap(({ sessions: all }) => all);
};
const resultsIn = (out: string): number => (fs.existsSync(path.join(out, 'events.ndjson')) ? fs.readFileSync(path.join(out, 'events.ndjson'), 'utf8').match(/"type":"result","index"/g)?.length ?? 0 : 0);

it('a run is in the database when it ends, unless it was told not to', async () => {
  const first = await daxrig([...MEASURING, '--out', path.join(folder, 'first')]);
  expect(first).toMatchObject({ code: 0, stderr: '' });
  expect(await sessions()).toHaveLength(1);
  await daxrig([...MEASURING, '--no-record', '--out', path.join(folder, 'second')]);
  expect(await sessions()).toHaveLength(1);
}, 600_000);

it('kill -9 of a run loses none of its results, and none comes in by half', async () => {
  const out = path.join(folder, 'killed');
  const { child, ended } = start([...MEASURING, '--repeat', '50', '--out', out]);
  await until(() => (resultsIn(out) >= 2 ? true : undefined), 'the second result');
  child.kill('SIGKILL');
  await ended;
  const finished = resultsIn(out);
  expect(finished).toBeLessThan(50);
  // Its guest is nobody's now.
  for (const pid of guestsOf(out)) process.kill(pid, 'SIGKILL');

  const before = await sessions();
  expect(before).toHaveLength(1);
  const imported = await daxrig(['import', out, '--db', db]);
  expect([imported.code, imported.stderr.split('\n').length]).toEqual([0, imported.stderr === '' ? 1 : 2]);
  const after = await sessions();
  expect(after).toHaveLength(2);
  // Every result that had come is there with all its samples.
  expect(after.at(-1)!.n).toBe(finished * before[0]!.n);
  expect((await daxrig(['import', out, '--db', db])).stdout).toMatch(/^1 known already/);
}, 600_000);
