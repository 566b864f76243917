// Measures memory failure on a file's pages: from the injection until the process has its signal, and the repair by hole
// punch and rewrite; and an access past the end of a file until its SIGBUS is caught. (A lost page that is touched again is mapped again:
// only hardware would refuse it.)
import { ftruncateSync } from 'node:fs';
import { PAGE, PMD, hugeFile, mapFile } from '../shared/huge.js';
import { duration, rounds } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const PAGES = 6;
const SIZES = ['small', 'huge'] as const;

export default defineWorkload({
  name: 'timing/poison',
  about: 'time from a memory failure to its signal, of the repair, and of an access past the end until SIGBUS',
  guards: ['cost of memory_failure_dev_pagemap, dax_lock_page and of the way back'],
  needs: { dax: 'fsdax', size: 64 * PMD, kconfig: ['MEMORY_FAILURE'], guest: true },
  params: { fs: ['ext4', 'xfs'] },
  metrics: [...SIZES.flatMap((size) => ['poison to signal', 'repair: punch', 'repair: first write'].map((what) => duration(`${what}, ${size} entry`))), duration('past the end to signal')],
  expectsLog: ['memory-failure', 'mce'],
  onRequest: true,
  run(ctx: Context) {
    for (const size of SIZES) one(ctx, size);
    pastTheEnd(ctx);
  },
});

function one(ctx: Context, size: (typeof SIZES)[number]): void {
  const huge = size === 'huge';
  const file = hugeFile(ctx, PAGES * PMD, size);
  using mapping = mapFile(ctx, file, huge ? {} : { align: PMD, alignSkew: PAGE });
  mapping.fill(0, file.length, { kind: 'byte', value: 5 });
  const injected: number[] = [];
  ctx.step(`poisoning, ${size} entries`);
  for (let page = 0; page < PAGES; page++) {
    const { ns, signal } = ctx.inject.hwpoisonTimed(mapping, page * PMD + PAGE);
    ctx.expect(signal?.code === 'BUS_MCEERR_AR', `${size} entry: the injector should get SIGBUS, BUS_MCEERR_AR`, signal ?? 'no signal');
    injected.push(ns);
  }
  ctx.metric(`poison to signal, ${size} entry`, injected);
  const place = { mapping, at: PAGE, length: PAGE, advance: PMD };
  const punch = { op: 'fallocate', fd: file.fd, fileAt: file.offset + PAGE, length: PAGE, advance: PMD, mode: 'punch-hole', timed: true } as const;
  rounds(ctx, `repair, ${size} entries`, PAGES, [punch, { op: 'touch', ...place, access: 'write', timed: true }], [`repair: punch, ${size} entry`, `repair: first write, ${size} entry`]);
  const check = mapping.verify(PAGE + 8, PAGE - 8, { kind: 'byte', value: 0 });
  ctx.expect(check.ok, 'a repaired page should be zeros but for the word written', check);
}

function pastTheEnd(ctx: Context): void {
  const file = hugeFile(ctx, PMD, 'end');
  using mapping = mapFile(ctx, file);
  ftruncateSync(file.fd, file.offset + PAGE);
  const { steps } = rounds(ctx, 'past the end', 4 * PAGES, [{ op: 'touch', mapping, at: 2 * PAGE, length: 8, mayFault: true, timed: true }], ['past the end to signal']);
  ctx.expect(steps[0]!.signals === 4 * PAGES, 'every access past the end should end in a signal', steps[0]);
}
