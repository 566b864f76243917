// Guards O_DIRECT with ordinary huge pages by the same orders of fault and transfer that DAX is put through (ndctl's
// hugetlb): what fails on both is not DAX's fault, what fails here alone is get_user_pages on hugetlb.
import fs from 'node:fs';
import path from 'node:path';
import { umountAsync, mountAsync, Mapping } from '../../native.js';
import { GiB, MiB } from '../../units.js';
import { directIo } from '../shared/direct-io.js';
import { mapped } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

/** How many pages of a size are reserved, and how many bytes of the one that is mapped are transferred. */
const SIZES = {
  '2M': { bytes: 2 * MiB, pages: 4, level: 'pmd', length: 2 * MiB },
  '1G': { bytes: GiB, pages: 1, level: 'pud', length: 4 * MiB },
} as const;

export default defineWorkload({
  name: 'kernel/hugetlb',
  about: 'O_DIRECT to and from hugetlb pages of 2 MiB or 1 GiB: unfaulted, read- and write-faulted, after fork, turned writable',
  guards: ['ndctl hugetlb'],
  needs: { filesystems: ['hugetlbfs'], tools: ['losetup'] },
  params: { page: ['2M', '1G'] },
  thorough: { page: ['1G'] },
  async run(ctx: Context) {
    const page = String(ctx.params.page) as keyof typeof SIZES;
    const { bytes, pages, level, length } = SIZES[page];
    const reserved = `/sys/kernel/mm/hugepages/hugepages-${bytes / 1024}kB/nr_hugepages`;
    if (!fs.existsSync(reserved)) ctx.skip(`needs huge pages of ${page}, which this CPU or kernel has not`);
    const before = Number(fs.readFileSync(reserved, 'utf8'));
    ctx.cleanup(() => fs.writeFileSync(reserved, String(before)));
    fs.writeFileSync(reserved, String(before + pages));
    const got = Number(fs.readFileSync(reserved, 'utf8')) - before;
    if (got < pages) ctx.skip(`needs ${pages} free huge page${pages === 1 ? '' : 's'} of ${page}; the kernel gave ${got}: free some memory`);

    const folder = path.join(ctx.folder, 'huge');
    fs.mkdirSync(folder);
    await mountAsync({ source: 'none', target: folder, type: 'hugetlbfs', data: `pagesize=${page}` });
    ctx.cleanup(() => umountAsync(folder));
    const fd = fs.openSync(path.join(folder, 'file'), 'wx+');
    ctx.cleanup(() => fs.closeSync(fd));
    fs.ftruncateSync(fd, bytes);
    await directIo(ctx, { place: undefined, level, length, map: (prot) => mapped(ctx, Mapping.map({ fd, length: bytes, prot, share: 'shared', hugetlb: bytes })) });
  },
});
