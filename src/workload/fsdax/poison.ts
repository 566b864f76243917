// Guards memory failure on file mappings: report R4 (the handler knows an order-0 pfn and must find and lock the PMD
// entry that covers it), and repair by hole punch and rewrite. ndctl's dax-poison re-reads the first page, never the
// poisoned one; here that very page is read back.
import fs from 'node:fs';
import * as native from '../../native.js';
import { patternBytes, type Mapping, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, proveLevel, type HugeFile } from '../shared/huge.js';
import { expectSoftOfflineRefused, poisonOnce } from '../shared/poison.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/poison',
  about: 'memory failure in the middle of a 2 MiB page and on a 4 KiB page of a file, mapped shared or with MAP_SYNC: signal, neighbours, repair',
  guards: ['R4: dax_lock_mapping_entry', 'ndctl dax-poison (dax-pmd, dax.sh)'],
  needs: { dax: 'fsdax', size: 64 * PMD, kconfig: ['MEMORY_FAILURE'] },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'], share: ['shared', 'sync'] },
  quick: { map: ['mem'], share: ['shared'] },
  expectsLog: ['memory-failure', 'mce'],
  async run(ctx: Context) {
    const share = ctx.params.share === 'sync' ? 'sync' : 'shared';
    const file = hugeFile(ctx, 2 * PMD);
    ctx.step('2 MiB page');
    {
      using mapping = mapFile(ctx, file, { share });
      mapping.fill(0, file.length, old);
      proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', '2 MiB page');
      await expectSoftOfflineRefused(ctx, mapping, PMD / 2);
      await poisonOnce(ctx, mapping, PMD / 2, 21, 'the middle of a 2 MiB page');
      neighbours(ctx, mapping, PMD / 2);
      repair(ctx, file, mapping, PMD / 2);
    }
    ctx.step('4 KiB page');
    {
      // A file that no huge fault has met, at an address that none can serve: its DAX entries are of 4 KiB.
      const small = hugeFile(ctx, 2 * PMD, 'small');
      fs.writeSync(small.fd, patternBytes(small.length, old), 0, small.length, small.offset);
      using mapping = mapFile(ctx, small, { align: PMD, alignSkew: PAGE, share });
      const at = PMD + 5 * PAGE;
      mapping.touch({ offset: at, count: 1, stride: PAGE, access: 'rmw' });
      proveLevel(ctx, ctx.fsdax, mapping, at, 'pte', '4 KiB page');
      await poisonOnce(ctx, mapping, at, 12, 'a 4 KiB page');
      neighbours(ctx, mapping, at);
      repair(ctx, small, mapping, at);
    }
  },
});

const old: Pattern = { kind: 'words', seed: 11, base: 0 };

/** Pages on both sides of the poisoned one, and the far ends, still give their data. */
function neighbours(ctx: Context, mapping: Mapping, poisoned: number): void {
  for (const offset of [0, poisoned - PAGE, poisoned + PAGE, mapping.length - PAGE]) {
    const check = mapping.verify(offset, PAGE, { ...old, base: offset } as Pattern);
    ctx.expect(check.ok, `the page at ${offset}, beside the poisoned one, should stay readable`, check);
  }
}

/** Hole punch and rewrite, then the poisoned page itself is read: through the mapping and by read(2). */
function repair(ctx: Context, file: HugeFile, mapping: Mapping, poisoned: number): void {
  ctx.step('repairing by hole punch and rewrite');
  native.fallocate(file.fd, 'punch-hole', file.offset + poisoned, PAGE);
  const hole = mapping.verify(poisoned, PAGE, { kind: 'byte', value: 0 });
  ctx.expect(hole.ok, 'a punched hole should read as zeros', hole);
  const fresh: Pattern = { kind: 'words', seed: 99, base: poisoned };
  fs.writeSync(file.fd, patternBytes(PAGE, fresh), 0, PAGE, file.offset + poisoned);
  const through = mapping.verify(poisoned, PAGE, fresh);
  ctx.expect(through.ok, 'the poisoned page should read back the new data through the mapping', through);
  const bytes = Buffer.alloc(PAGE);
  fs.readSync(file.fd, bytes, 0, PAGE, file.offset + poisoned);
  ctx.expect(native.verifyBytes(bytes, fresh).ok, 'the poisoned page should read back the new data by read(2)');
  // The rest of the file, and the next workload's expectations, stay as they were.
  fs.writeSync(file.fd, patternBytes(PAGE, { ...old, base: poisoned } as Pattern), 0, PAGE, file.offset + poisoned);
  neighbours(ctx, mapping, poisoned);
}
