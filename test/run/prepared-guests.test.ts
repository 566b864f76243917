// When a guest is prepared for several instances, who gets copies of it, and when its memory goes.
import os from 'node:os';
import { afterEach, expect, it, vi } from 'vitest';
import { filledIn } from '../../src/device/provision.js';
import type { PreparedGuest } from '../../src/guest/prepare.js';
import type { SavedState } from '../../src/guest/state.js';
import type { PlannedInstance } from '../../src/run/plan.js';
import { PreparedGuests } from '../../src/run/prepared-guests.js';
import type { Workload } from '../../src/workload/types.js';

const instance = (dax: 'fsdax' | 'devdax' | undefined, params: Record<string, string> = {}, more: Partial<Workload> = {}): PlannedInstance => ({
  id: 'x', params, workload: { name: 'group/x', about: '', guards: [], needs: dax ? { dax } : {}, run() {}, ...more },
});

function guest() {
  const release = vi.fn();
  return { release, prepare: vi.fn(() => Promise.resolve<PreparedGuest | undefined>({ state: { folder: 'prepared' } as SavedState, release })) };
}

const start = (state: SavedState) => Promise.resolve(state.folder);

afterEach(() => vi.restoreAllMocks());

it('prepares once for instances that get the same place, and lets go after the last has begun', async () => {
  const guests = new PreparedGuests(true);
  const { prepare, release } = guest();
  // A legacy region's namespace is taken as it is where nothing else is asked for: its page map is in memory.
  const three = [instance('fsdax'), instance('fsdax', { fs: 'ext4', map: 'mem' }), instance('fsdax', { fs: 'ext4' })];
  guests.expect(three);
  expect(await guests.start(three[0]!, prepare, start)).toBe('prepared');
  expect(await guests.start(three[1]!, prepare, start)).toBe('prepared');
  expect(release).not.toHaveBeenCalled();
  expect(await guests.start(three[2]!, prepare, start)).toBe('prepared');
  expect([prepare.mock.calls.length, release.mock.calls.length]).toEqual([1, 1]);
});

it('prepares nothing for a few, for what was not announced, or for those that only measure', async () => {
  const guests = new PreparedGuests(true);
  const { prepare } = guest();
  guests.expect([instance('devdax'), instance('devdax')]);
  guests.expect([1, 2, 3, 4].map(() => instance('fsdax', { fs: 'xfs' }, { onRequest: true })));
  for (const one of [instance('devdax'), instance('fsdax', { fs: 'xfs' }), instance(undefined)]) expect(await guests.start(one, prepare, start)).toBeUndefined();
  expect(prepare).not.toHaveBeenCalled();
});

it('one that only measures takes no part, though others get the same place', async () => {
  const guests = new PreparedGuests(true);
  const { prepare, release } = guest();
  const measures = instance('devdax', {}, { onRequest: true });
  const others = [1, 2, 3].map(() => instance('devdax'));
  guests.expect([measures, ...others]);
  expect(await guests.start(others[0]!, prepare, start)).toBe('prepared');
  expect(await guests.start(measures, prepare, start)).toBeUndefined();
  expect(await guests.start(others[1]!, prepare, start)).toBe('prepared');
  expect(release).not.toHaveBeenCalled();
  expect(await guests.start(others[2]!, prepare, start)).toBe('prepared');
  expect(release).toHaveBeenCalledTimes(1);
});

it('prepares nothing where memory is short', async () => {
  vi.spyOn(os, 'freemem').mockReturnValue(2 ** 30);
  const guests = new PreparedGuests(true);
  const { prepare } = guest();
  guests.expect([1, 2, 3].map(() => instance(undefined)));
  expect(await guests.start(instance(undefined), prepare, start)).toBeUndefined();
  expect(prepare).not.toHaveBeenCalled();
});

it('asks once where a guest could not be prepared, and leaves its instances to themselves', async () => {
  const guests = new PreparedGuests(true);
  const prepare = vi.fn(() => Promise.resolve(undefined));
  guests.expect([1, 2, 3].map(() => instance('devdax')));
  for (let i = 0; i < 3; i++) expect(await guests.start(instance('devdax'), prepare, start)).toBeUndefined();
  expect(prepare).toHaveBeenCalledTimes(1);
});

it('lets go of what is left when a run was broken off', async () => {
  const guests = new PreparedGuests(true);
  const { prepare, release } = guest();
  guests.expect([1, 2, 3].map(() => instance('devdax')));
  await guests.start(instance('devdax'), prepare, start);
  await guests.close();
  expect(release).toHaveBeenCalledTimes(1);
});

it('what a request leaves open is what provisioning then does', () => {
  expect(filledIn({ mode: 'fsdax' }, true)).toEqual({ mode: 'fsdax', fs: 'ext4', map: 'mem', align: '2M' });
  expect(filledIn({ mode: 'fsdax', align: '4K' }, true)).toMatchObject({ map: 'dev', align: '4K' });
  expect(filledIn({ mode: 'fsdax' }, false)).toMatchObject({ map: 'dev' });
  expect(filledIn({ mode: 'devdax', region: 1 }, true)).toEqual({ mode: 'devdax', map: 'dev', align: '2M', region: 1 });
});
