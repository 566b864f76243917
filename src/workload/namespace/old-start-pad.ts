// Guards namespaces that a kernel before 5.3 made, with a start_pad and an end_trunc in their info blocks, which later kernels add no
// more but heed (drivers/nvdimm/pfn_devs.c: __nvdimm_setup_pfn; pmem.c: pmem_attach_disk, whose phys_addr leaves the start_pad out;
// report R3): DAX must be on, and the page frames of a mapping be those that the block device has its bytes in.
import { legacyRegions } from '../shared/namespaces.js';
import { panicOnOops } from '../shared/oops.js';
import { expectAgreement, predictPads } from '../shared/regions.js';
import { defineWorkload, type Context } from '../types.js';

/** The last kernels that padded. */
const PADDING_KERNEL = '5.2';

export default defineWorkload({
  name: 'namespace/old-start-pad',
  about: 'info blocks with the start_pad and end_trunc that kernels before 5.3 gave regions in shared sections: DAX on, mapping and block device agree',
  guards: ['R3: start_pad of existing namespaces', 'kernel __nvdimm_setup_pfn, pmem_attach_disk'],
  needs: { guest: true, tools: ['ndctl', 'mke2fs'], files: ['/sys/bus/nd/devices'] },
  async run(ctx: Context) {
    const regions = legacyRegions();
    const predicted = predictPads(regions, PADDING_KERNEL);
    if (!predicted.some(({ startPad }) => startPad > 0)) return ctx.skip('needs a region without labels that begins in a memory section of RAM or of another region; try --layout colliding');
    panicOnOops(ctx);
    await expectAgreement(ctx, regions, { map: 'dev', old: true, predicted });
  },
});
