// Races on this machine: no update is lost under a lock, collisions are counted, and one actor tells another where a page is.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { Mapping, race } from '../../src/native.js';
import { addRaces } from '../../src/workload/shared/race.js';

it('locked increments are all counted, and their meetings are collisions', () => {
  using mapping = Mapping.anonymous({ length: 4096 });
  const actor = (name: string, group: number) => ({ name, rounds: 20_000, steps: [{ op: 'locked-increment', mapping, group } as const] });
  const result = race({ schedule: 'parallel', seed: 1, actors: [actor('one', 1), actor('two', 2)] });
  expect(mapping.read(0, 8).bytes.readBigUInt64LE()).toBe(40_000n);
  expect(result.claimed).toBeLessThanOrEqual(result.collisions);
  expect(result.actors.map(({ rounds }) => rounds)).toEqual([20_000, 20_000]);
});

it('an operation that is going on counts once for each other step that began meanwhile', () => {
  using mapping = Mapping.anonymous({ length: 1 << 21 });
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-race-')), 'file');
  const fd = fs.openSync(file, 'w+');
  try {
    // The long one is met by two different steps, over and over.
    const result = race({
      schedule: 'parallel',
      seed: 1,
      actors: [
        { name: 'long', rounds: 20, steps: [{ op: 'file-fill', fd, length: 1 << 21, pattern: { seed: 1 }, group: 1 }] },
        { name: 'short', steps: [{ op: 'load', mapping, group: 2 }, { op: 'store', mapping, group: 2 }] },
      ],
    });
    expect(result.claimed).toBeGreaterThan(0);
    // Each of the 20 by two steps; besides, each short one can be met once, by the one step that there is.
    expect(result.claimed).toBeLessThanOrEqual(20 * 2 + 20);
  } finally {
    fs.closeSync(fd);
    fs.rmSync(path.dirname(file), { recursive: true });
  }
});

it.runIf(process.getuid?.() === 0)('a located page is handed over by its physical address, once and again', () => {
  using mapping = Mapping.anonymous({ length: 4096 });
  mapping.touch({ count: 1, access: 'write' });
  const page = mapping.pagemap(0, 1)[0]!;
  if (!page.present || !page.pfn) return; // a kernel that tells nobody
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-race-'));
  const fd = fs.openSync(path.join(folder, 'file'), 'w+');
  const again = fs.openSync(path.join(folder, 'again'), 'w+');
  try {
    const none = race({ schedule: 'parallel', seed: 1, actors: [{ name: 'early', rounds: 1, steps: [{ op: 'poke-last', fd: again }] }] });
    expect(none.actors[0]!.steps[0]).toMatchObject({ runs: 1, done: 0 });
    race({
      schedule: 'parallel',
      seed: 1,
      actors: [
        { name: 'waits', rounds: 1, steps: [{ op: 'await-located' }, { op: 'poke-located', fd }, { op: 'poke-last', fd: again }] },
        { name: 'tells', steps: [{ op: 'store', mapping }, { op: 'locate', mapping }] },
      ],
    });
    for (const name of ['file', 'again']) expect(fs.readFileSync(path.join(folder, name), 'utf8')).toBe(String(page.pfn * 4096));
  } finally {
    fs.closeSync(fd);
    fs.closeSync(again);
    fs.rmSync(folder, { recursive: true });
  }
});

it('two races add up', () => {
  using mapping = Mapping.anonymous({ length: 4096 });
  const once = () => race({ schedule: 'parallel', seed: 1, actors: [{ name: 'one', rounds: 5, steps: [{ op: 'increment', mapping }] }] });
  const [a, b] = [once(), once()];
  const sum = addRaces(a, b);
  expect(sum.actors[0]).toMatchObject({ rounds: 10, steps: [{ op: 'increment', runs: 10, done: 10 }] });
  expect(sum.digest).not.toBe(a.digest);
  expect(sum.elapsedNs).toBe(a.elapsedNs + b.elapsedNs);
});
