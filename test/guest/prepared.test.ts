// Guests prepared for several instances: each still gets a fresh one, and nothing that happens while preparing is lost.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('prepared');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const load = (name: string): string[] => ['--load', path.join(fixtures, 'workloads', name)];

it('four instances on one place, made once: each finds it new, and has random numbers and the time of its own', async () => {
  const { code, document } = await runJson(['fresh/*', ...load('fresh.mjs'), '--out', path.join(folder, 'fresh')]);
  expect(document.results.map(({ outcome, reason }) => reason ?? outcome)).toEqual(['pass', 'pass', 'pass', 'pass']);
  expect(code).toBe(0);
  const own = document.results.map(({ evidence }) => evidence.own as { random: string; uuid: string; now: number; release: string; cwd: string });
  expect(new Set(own.flatMap(({ random, uuid }) => [random, uuid])).size).toBe(8);
  expect(own.every(({ release }) => release === document.results[0]!.kernel)).toBe(true);
  expect(own.every(({ cwd }) => cwd === '/run/daxrig')).toBe(true);
  expect(own.every(({ now }) => Math.abs(now - Date.now()) < 120_000)).toBe(true);
  // Made in another guest: no instance's own console has the mount, not even that of the one it was made for.
  const mounts = document.results.filter(({ console: file }) => /EXT4-fs \(pmem0\): mounted/.test(fs.readFileSync(path.join(folder, 'fresh', file!), 'utf8')));
  expect(mounts.length).toBe(0);
  expect(fs.readdirSync(path.join(folder, 'fresh')).filter((name) => name.startsWith('.'))).toEqual([]);
});

it('a complaint of the kernel while the place is made fails every instance', async () => {
  const setup = path.join(folder, 'setup');
  fs.writeFileSync(setup, `mv /usr/sbin/mke2fs /usr/sbin/mke2fs.real
printf '#!/bin/sh\\necho "<4>WARNING: CPU: 0 PID: 99 at fs/dax.c:380 dax_insert_entry+0x2a/0x2f0" >/dev/kmsg\\nexec /usr/sbin/mke2fs.real "$@"\\n' >/usr/sbin/mke2fs
chmod 755 /usr/sbin/mke2fs
`);
  const { code, document } = await runJson(['fresh/*', ...load('fresh.mjs'), '--guest-setup', setup, '--out', path.join(folder, 'complaint')]);
  expect(document.results.map(({ reason }) => reason)).toEqual(Array(4).fill('WARNING in dax_insert_entry'));
  expect(code).toBe(1);
});

it('modules that the work does not need come when something asks for them', async () => {
  const { document } = await runJson(['modules/on-demand', ...load('modprobe.mjs'), '--out', path.join(folder, 'modules')]);
  expect(document.results.map(({ outcome, reason, evidence }) => [reason ?? outcome, evidence.before])).toEqual([['pass', false]]);
});
