// Guards O_DIRECT with ordinary huge pages by the same orders of fault and transfer that DAX is put through (ndctl's
// hugetlb): what fails on both is not DAX's fault, what fails here alone is get_user_pages on hugetlb.
import fs from 'node:fs';
import path from 'node:path';
import { umountAsync, mountAsync, Mapping } from '../../native.js';
import { directIo } from '../shared/direct-io.js';
import { PMD, mapped } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

const COUNT = '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
const PAGES = 4;

export default defineWorkload({
  name: 'kernel/hugetlb',
  about: 'O_DIRECT to and from hugetlb pages of 2 MiB: unfaulted, read- and write-faulted, after fork, turned writable',
  guards: ['ndctl hugetlb'],
  needs: { files: [COUNT], filesystems: ['hugetlbfs'], tools: ['losetup'] },
  async run(ctx: Context) {
    const before = Number(fs.readFileSync(COUNT, 'utf8'));
    ctx.cleanup(() => fs.writeFileSync(COUNT, String(before)));
    fs.writeFileSync(COUNT, String(before + PAGES));
    const got = Number(fs.readFileSync(COUNT, 'utf8')) - before;
    if (got < PAGES) ctx.skip(`needs ${PAGES} free huge pages of 2 MiB; the kernel gave ${got}: free some memory`);

    const folder = path.join(ctx.folder, 'huge');
    fs.mkdirSync(folder);
    await mountAsync({ source: 'none', target: folder, type: 'hugetlbfs', data: 'pagesize=2M' });
    ctx.cleanup(() => umountAsync(folder));
    const fd = fs.openSync(path.join(folder, 'file'), 'wx+');
    ctx.cleanup(() => fs.closeSync(fd));
    fs.ftruncateSync(fd, PMD);
    await directIo(ctx, { place: undefined, level: 'pmd', length: PMD, map: (prot) => mapped(ctx, Mapping.map({ fd, length: PMD, prot, share: 'shared', hugetlb: PMD })) });
  },
});
