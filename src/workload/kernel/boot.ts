// Guards the boot itself: report R1 (a 35 second pause after the nvdimm core came up, seen by nobody but a person with
// a watch) and R5 (memory maps that lose the end of a node). The kernel's own log is judged, and its maps are kept.
import fs from 'node:fs';
import { pmemRanges, parseIomem } from '../../kernel/iomem.js';
import { ndRegions } from '../../device/nd.js';
import { isComplaint, parseKernelLog } from '../../kernel/klog.js';
import { KmsgCursor } from '../../run/kmsg.js';
import { hex } from '../../units.js';
import { defineWorkload, type Context } from '../types.js';

const MILESTONES = ['memory', 'cpus', 'nvdimm', 'pmem', 'init'] as const;

export default defineWorkload({
  name: 'kernel/boot',
  about: 'the boot: no pause, no complaint, both memory maps, node ranges, every pmem range it was told of, and a region for each',
  guards: ['R1: 35 second boot pause', 'R5: e820 maps and node ranges'],
  needs: { files: ['/dev/kmsg', '/proc/iomem'] },
  quick: {},
  metrics: MILESTONES.map((name) => ({ name: `boot until ${name}`, unit: 's', better: 'lower' as const })),
  run(ctx: Context) {
    const lines = KmsgCursor.everything();
    const report = parseKernelLog(lines.join('\n'));
    const { milestones, stalls, e820, nodes, zones, pmem, release, cmdline } = report;
    if (!milestones.some(({ name }) => name === 'start')) ctx.skip('the kernel\'s log no longer holds its boot; raise log_buf_len= on its command line');
    ctx.prove('maps', { e820, nodes, zones, pmem });
    ctx.prove('boot', { release, cmdline, milestones: milestones.map(({ name, time }) => ({ name, time })) });

    const end = milestones.find(({ name }) => name === 'init')?.line ?? Infinity;
    for (const { seconds, before, after, beforeLine, explained } of stalls) {
      if (beforeLine > end || explained !== undefined) continue;
      if (seconds <= ctx.hostWait) ctx.skip(`the boot paused for ${seconds.toFixed(1)} s, and the host had no CPU for it for ${ctx.hostWait.toFixed(1)} s; run again when the host is less busy`);
      ctx.expect(false, `the boot should not pause: ${seconds.toFixed(1)} s passed between "${before}" and "${after}"`);
    }
    const complaint = report.findings.find((finding) => finding.line <= end && finding.kind !== 'boot-stall' && isComplaint(finding));
    ctx.expect(complaint === undefined, `the boot should be clean: ${complaint?.title ?? ''}`, complaint?.excerpt.slice(0, 300));

    ctx.expect(e820.bios.length > 0, 'the log should show the BIOS-provided e820 map');
    const carved = [...fs.readFileSync('/proc/cmdline', 'utf8').matchAll(/memmap=\S*!/g)].length > 0;
    ctx.expect(!carved || e820.user.length > 0, 'the log should show the user-defined e820 map that memmap= makes');
    const ranges = pmemRanges(parseIomem(fs.readFileSync('/proc/iomem', 'utf8')));
    ctx.prove('persistent memory in /proc/iomem', ranges.map(({ start, end: last }) => ({ start: hex(start), end: hex(last) })));
    const inMap = e820.user.concat(e820.user.length > 0 ? [] : e820.bios).filter(({ type }) => /persistent|type 12|type 7/.test(type));
    for (const { start, end: last } of inMap)
      ctx.expect(ranges.some((range) => hex(range.start) === start && hex(range.end) === last), `persistent memory ${start}-${last} of the e820 map should be in /proc/iomem`, ranges);

    regionsOf(ctx, ranges);

    for (const name of MILESTONES) {
      const time = milestones.find((milestone) => milestone.name === name)?.time;
      if (time !== undefined) ctx.metric(`boot until ${name}`, [time]);
    }
  },
});

/** Each range of persistent memory is one region of libnvdimm, of the same place and size. */
function regionsOf(ctx: Context, ranges: readonly { start: number; end: number }[]): void {
  if (!fs.existsSync('/sys/bus/nd/devices')) return ctx.prove('regions', 'no libnvdimm in this kernel, or its module is not loaded');
  const regions = ndRegions();
  ctx.prove('regions', regions.map(({ dev, resource, size }) => ({ dev, size, ...(resource === undefined ? {} : { resource: hex(resource) }) })));
  for (const { start, end } of ranges)
    ctx.expect(regions.some(({ resource, size }) => resource === start && size === end - start + 1), `persistent memory ${hex(start)}-${hex(end)} should be a region of its own`, regions);
}
