// Guards faults on devdax devices of each alignment (drivers/dax/device.c: __dev_dax_pte_fault, __dev_dax_pmd_fault,
// __dev_dax_pud_fault): one fault per entry of the device's own size, a read fault serves writes as well.
import { Mapping, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { faultMetric, faultsOf, proveLevels, putBack, tookFaults, type FaultSubject } from '../shared/faults.js';
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/fault',
  about: 'faults on a devdax device at 4 KiB, 2 MiB and 1 GiB: exact counts, levels, data, time per fault',
  guards: ['ndctl device-dax: faults at 4K, 2M, 1G', 'kernel dev_dax_huge_fault'],
  needs: { dax: 'devdax', size: 8 * PMD },
  params: { map: ['mem', 'dev'], align: ['4K', '2M', '1G'] },
  thorough: { map: ['dev'] },
  metrics: [faultMetric('first write fault'), faultMetric('read fault'), faultMetric('write fault')],
  run(ctx: Context) {
    const { align, size } = ctx.devdax;
    const level = levelOf(align);
    const count = Math.min(level === 'pte' ? 512 : level === 'pmd' ? 16 : 2, Math.floor(size / align));
    const subject: FaultSubject = { place: ctx.devdax, level, step: align, count };
    const fd = openDevdax(ctx);
    const pattern: Pattern = { kind: 'words', seed: 62, base: 0 };
    const shown = Math.min(count * align, 4 * MiB);
    const round = (access: 'read' | 'write', metric: string, work?: (mapping: Mapping) => void): void => {
      using mapping = mapDevdax(ctx, fd, 0, count * align);
      faultsOf(ctx, subject, mapping, access, { what: metric, faults: count, metric });
      faultsOf(ctx, subject, mapping, access, { what: `${metric}, again`, faults: 0 });
      // Nothing keeps track of dirty pages here: an entry made by a read is writable at once, or it costs a fault each.
      const touched = mapping.touch({ offset: 0, count, stride: align, access: 'write' });
      ctx.prove(`${metric}, then write`, { faults: touched.minorFaults });
      ctx.expect(tookFaults(touched.minorFaults, 0, count) || (access === 'read' && tookFaults(touched.minorFaults, count, count)), `${metric}, then write: no fault, or one per entry`, touched.minorFaults);
      putBack(mapping, pattern, { step: align, count: Math.min(count, Math.ceil(shown / align)) });
      work?.(mapping);
      proveLevels(ctx, subject, mapping, metric);
    };
    round('write', 'first write fault', (mapping) => {
      mapping.fill(0, shown, pattern);
    });
    round('read', 'read fault', (mapping) => {
      const check = mapping.verify(0, shown, pattern);
      ctx.expect(check.ok, 'a second mapping should show what the first wrote', check);
    });
    round('write', 'write fault', (mapping) => {
      const check = mapping.verify(0, shown, pattern);
      ctx.expect(check.ok, 'a third mapping should show what the first wrote', check);
    });
    if (level === 'pte') return;
    ctx.step('every page of one huge entry');
    using mapping = mapDevdax(ctx, fd, 0, align);
    const faults = mapping.countFaults({ offset: 0, length: align, step: level === 'pmd' ? PAGE : MiB });
    ctx.prove('faults of one huge entry', faults);
    ctx.expect(tookFaults(faults.minorFaults, 1, align / (level === 'pmd' ? PAGE : MiB)), 'one fault should map the whole of a huge entry', faults);
  },
});
