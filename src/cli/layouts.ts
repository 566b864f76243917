// daxrig layouts: the guest memory layouts by name.
import type { CommandModule } from 'yargs';
import { layouts, memmapParams } from '../guest/layout.js';
import { formatSize, hex } from '../units.js';

export const command: CommandModule<object, { json: boolean }> = {
  command: 'layouts',
  describe: 'guest memory layouts by name',
  builder: (yargs) => yargs.option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' }).example('$0 run --layout numa-hole', 'use one'),
  handler: ({ json }) => {
    if (json) {
      const document = layouts().map((layout) => ({ ...layout, pmem: layout.pmem.map(({ start, end }) => ({ start: hex(start), end: hex(end - 1) })), append: memmapParams(layout) }));
      process.stdout.write(`${JSON.stringify({ layouts: document }, null, 1)}\n`);
      return;
    }
    for (const layout of layouts()) {
      const parts = [`${formatSize(layout.memory)} RAM`, ...(layout.numaNodes > 1 ? [`${layout.numaNodes} NUMA nodes`] : []), ...memmapParams(layout), ...layout.nvdimms.map(({ size, labelSize }) => `NVDIMM ${formatSize(size)} (labels ${formatSize(labelSize)})`)];
      process.stdout.write(`${layout.name.padEnd(12)} ${layout.about}\n${' '.repeat(13)}${parts.join(', ')}\n`);
    }
  },
};
