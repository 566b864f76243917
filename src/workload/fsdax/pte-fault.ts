// Guards faults of 4 KiB on files (fs/dax.c: dax_iomap_pte_fault, dax_insert_entry, dax_insert_pfn_mkwrite): one fault per
// page and no more, the DAX entry kept for the next mapping, dirty pages write-protected again by msync.
import { PAGE, PMD, mapFile } from '../shared/huge.js';
import { FILE_FAULT_METRICS, fileFaults } from '../shared/file-faults.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'fsdax/pte-fault',
  about: 'faults of 4 KiB on a file, read and write, first and again: exact counts, levels, data, time per fault',
  guards: ['ndctl dax-pmd, dax.sh: PTE faults by fs_dax tracepoints', 'kernel dax_iomap_pte_fault'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  metrics: FILE_FAULT_METRICS,
  run(ctx: Context) {
    // At an address that no huge page can serve.
    fileFaults(ctx, { level: 'pte', step: PAGE, count: 1024, map: (file) => mapFile(ctx, file, { align: PMD, alignSkew: PAGE }), event: 'fs_dax/dax_pte_fault_done' });
  },
});
