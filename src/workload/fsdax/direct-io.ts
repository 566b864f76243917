// Guards get_user_pages on huge DAX mappings of files: ndctl's dax-pmd and the get_user_pages fixes it came with
// (commits 3565fce3a659, 8eb8284b4129). Every transfer is compared, by the byte.
import { directIo } from '../shared/direct-io.js';
import { PMD, hugeFile, mapFile } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/direct-io',
  about: 'O_DIRECT to and from mapped files at 2 MiB: unfaulted, read- and write-faulted, after fork, turned writable',
  guards: ['ndctl dax-pmd (dax.sh)', 'R2: DMA to DAX pages'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'] },
  params: { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] },
  quick: { map: ['mem'] },
  async run(ctx: Context) {
    const file = hugeFile(ctx, PMD);
    await directIo(ctx, { place: ctx.fsdax, level: 'pmd', length: file.length, map: (prot) => mapFile(ctx, file, { prot }) });
  },
});
