// Guards every kind of mapping of a DAX file (ndctl's mmap.sh: read and write, shared and private, populated, locked):
// its data, who sees a store, and that populating or locking leaves no fault for the reader (mm/gup.c:
// populate_vma_page_range on DAX areas). Each combination's time per page is kept.
import fs from 'node:fs';
import { verifyBytes, type Mapping, type Pattern, Mapping as Mapped } from '../../native.js';
import { putBack, strayFaults, tookFaults } from '../shared/faults.js';
import { writtenFile } from '../shared/file-faults.js';
import { PAGE, PMD, type HugeFile } from '../shared/huge.js';
import { defineWorkload, type Context, type MetricDeclaration } from '../types.js';

const SHARES = ['shared', 'private', 'sync'] as const;
const BEFORE = ['plain', 'populate', 'mlock'] as const;
const ACCESSES = ['read', 'write'] as const;
const ORDERS = ['sequential', 'random'] as const;
const LENGTH = PMD;
const PAGES = LENGTH / PAGE;
const STRAY = strayFaults(PAGES);

const name = (share: string, before: string, access: string, order: string): string => `${access} ${share} ${before} ${order}`;
const metrics: MetricDeclaration[] = SHARES.flatMap((share) => BEFORE.flatMap((before) => ACCESSES.flatMap((access) => ORDERS.map((order) => ({ name: name(share, before, access, order), unit: 'ns', better: 'lower' as const })))));

export default defineWorkload({
  name: 'fsdax/mmap-matrix',
  about: 'read and write through shared, private and MAP_SYNC mappings, populated and locked, in order and at random: data, faults, time per page',
  guards: ['ndctl mmap.sh', 'kernel populate_vma_page_range and mlock on DAX'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // fsdax/pte-fault and pmd-fault have what differs between file systems
  metrics,
  run(ctx: Context) {
    const file = writtenFile(ctx, LENGTH, 'matrix');
    for (const share of SHARES)
      for (const before of BEFORE)
        for (const order of ORDERS) {
          ctx.step(`${share}, ${before}, ${order}`);
          for (const access of ACCESSES) one(ctx, file, { share, before, access, order });
        }
  },
});

interface Combination {
  share: (typeof SHARES)[number];
  before: (typeof BEFORE)[number];
  access: (typeof ACCESSES)[number];
  order: (typeof ORDERS)[number];
}

const old: Pattern = { kind: 'words', seed: 61, base: 0 };

function one(ctx: Context, file: HugeFile, { share, before, access, order }: Combination): void {
  const label = name(share, before, access, order);
  using mapping = Mapped.map({ fd: file.fd, offset: file.offset, length: LENGTH, share, align: PMD, populate: before === 'populate' });
  if (before === 'mlock') mapping.mlock(0, LENGTH);
  const touched = mapping.touch({ offset: 0, count: PAGES, stride: PAGE, access, order, seed: ctx.seed });
  if (access === 'write') putBack(mapping, old, { step: PAGE, count: PAGES });
  const faults = touched.minorFaults + touched.majorFaults;
  ctx.expect(touched.done === PAGES && touched.signal === undefined, `${label}: all pages should be reached`, touched.signal);
  ctx.prove(label, { faults });
  const most = LENGTH / PMD;
  if (before !== 'plain' && access === 'read') ctx.expect(tookFaults(faults, 0, PAGES), `${label}: what was made present should not fault`, { faults });
  // A shared write goes by huge entries, one fault each; a private one copies page by page, unless that was done before.
  else if (share !== 'private') ctx.expect(faults <= most + STRAY, `${label}: huge entries should serve all pages with ${most} faults`, { faults });
  else if (access === 'write') ctx.expect(before === 'plain' ? faults >= PAGES && faults <= PAGES + most + STRAY : tookFaults(faults, 0, PAGES), `${label}: each page should be copied once, or have been`, { faults });
  else ctx.expect(faults <= most + STRAY, `${label}: huge entries should serve a private read`, { faults });
  ctx.metric(label, [touched.totalNs / PAGES]);
  stores(ctx, file, mapping, share, label, access);
}

/** A store through a shared mapping is the file's; through a private one it is nobody else's. */
function stores(ctx: Context, file: HugeFile, mapping: Mapping, share: string, label: string, access: string): void {
  const check = mapping.verify(0, LENGTH, old);
  ctx.expect(check.ok, `${label}: the data should be the file's`, check);
  if (access === 'read') return;
  const at = PMD / 2 + 3 * PAGE;
  const fresh: Pattern = { kind: 'words', seed: 63, base: at };
  mapping.fill(at, PAGE, fresh);
  ctx.expect(mapping.verify(at, PAGE, fresh).ok, `${label}: a store should be seen by who made it`);
  const bytes = Buffer.alloc(PAGE);
  fs.readSync(file.fd, bytes, 0, PAGE, file.offset + at);
  const inFile = verifyBytes(bytes, share === 'private' ? { ...old, base: at } as Pattern : fresh);
  ctx.expect(inFile.ok, `${label}: a store should ${share === 'private' ? 'not ' : ''}reach the file`, inFile);
  mapping.fill(at, PAGE, { ...old, base: at } as Pattern);
}
