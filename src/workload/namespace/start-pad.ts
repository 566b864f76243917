// Guards regions that share a memory section of 128 MiB with RAM or with each other (drivers/nvdimm/pfn_devs.c: nd_pfn_init,
// start_pad and end_trunc; report R3): where the block device begins elsewhere than its struct pages, DAX goes off, or a mapping
// shows other bytes than the block device.
import os from 'node:os';
import { legacyRegions } from '../shared/namespaces.js';
import { expectAgreement, predictPads } from '../shared/regions.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'namespace/start-pad',
  about: 'fsdax in all legacy regions at once, in shared sections: DAX on, mapping and block device agree at ends and section borders, info blocks as predicted',
  guards: ['R3: start_pad, two regions in one section', 'kernel nd_pfn_init, nd_pfn_validate; 5.3: memory added in sub-sections'],
  needs: { guest: true, tools: ['ndctl', 'mke2fs'], files: ['/sys/bus/nd/devices'] },
  params: { map: ['dev', 'mem'] },
  thorough: { map: ['mem'] }, // ndctl gives a legacy region no info block then
  async run(ctx: Context) {
    const regions = legacyRegions();
    if (regions.length === 0) return ctx.skip('needs a region without labels, as memmap=nn!ss gives; try --layout colliding');
    await expectAgreement(ctx, regions, { map: String(ctx.params.map), old: false, predicted: predictPads(regions, os.release()) });
  },
});
