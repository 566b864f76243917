// Guards MAP_SYNC (commits b6fb293f2497, caa51d26f85c): a mapping whose metadata is on media before a write fault
// returns. On a file without DAX it must be refused, or programs would trust a promise nobody keeps.
import fs from 'node:fs';
import path from 'node:path';
import { Mapping, verifyBytes, type Pattern } from '../../native.js';
import { PMD, hugeFile, mapFile, proveLevel } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/map-sync',
  about: 'MAP_SYNC is accepted on DAX, with the data right, and refused with EOPNOTSUPP on a file that is not',
  guards: ['ndctl mmap.sh and dax-pmd with MAP_SYNC', 'kernel dax_finish_sync_fault'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  quick: { map: ['mem'] },
  async run(ctx: Context) {
    const file = hugeFile(ctx, PMD);
    const pattern: Pattern = { kind: 'words', seed: ctx.seed + 3, base: 0 };
    {
      using mapping = mapFile(ctx, file, { share: 'sync' });
      const filled = mapping.fill(0, file.length, pattern);
      ctx.expect(filled.signal === undefined, 'writing through a MAP_SYNC mapping should succeed', filled.signal);
      proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', 'MAP_SYNC write fault');
    }
    const bytes = Buffer.alloc(file.length);
    fs.readSync(file.fd, bytes, 0, bytes.length, file.offset);
    const check = verifyBytes(bytes, pattern);
    ctx.expect(check.ok, 'read(2) should give what was written through MAP_SYNC', check);

    const plain = path.join(ctx.folder, 'plain');
    fs.writeFileSync(plain, Buffer.alloc(PMD));
    const fd = fs.openSync(plain, 'r+');
    ctx.cleanup(() => fs.closeSync(fd));
    const code = await ctx.expectError('MAP_SYNC on a file without DAX', ['EOPNOTSUPP'], () => Mapping.map({ fd, length: PMD, prot: 'rw', share: 'sync' }).close());
    ctx.prove('MAP_SYNC without DAX', code);
  },
});
