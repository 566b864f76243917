// Guards the ends of a devdax device (drivers/dax/device.c: check_vma, dax_pgoff_to_phys): what lies behind the last byte
// may belong to another device or to the page map itself, and must never be reached.
import { SystemError } from '../../errors.js';
import { Mapping, type FaultSignal } from '../../native.js';
import { openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/beyond-end',
  about: 'mappings that reach or begin behind the end of a devdax device: refused, or SIGBUS behind the last byte, never data',
  guards: ['ndctl device-dax: size and offset checks', 'kernel dax_pgoff_to_phys'],
  needs: { dax: 'devdax', size: 8 * PMD },
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { map: ['dev'], align: ['4K', '1G'] },
  run(ctx: Context) {
    const { size, align } = ctx.devdax;
    const fd = openDevdax(ctx);
    const step = Math.max(align, PAGE);
    const end = Math.floor(size / step) * step;

    ctx.step('the last bytes');
    {
      using mapping = Mapping.map({ fd, offset: end - step, length: step, align: step });
      const pattern = { kind: 'words', seed: 101, base: end - PAGE } as const;
      const filled = mapping.fill(step - PAGE, PAGE, pattern);
      ctx.expect(filled.signal === undefined && mapping.verify(step - PAGE, PAGE, pattern).ok, 'the last page of the device should take and give data', filled);
    }
    const tell = (what: string, offset: number, length: number, good: number): void => {
      ctx.step(what);
      const faults: (FaultSignal | string)[] = [];
      try {
        using mapping = Mapping.map({ fd, offset, length, align: step });
        if (good > 0) {
          const inside = mapping.touch({ offset: good - step, count: 1, access: 'rmw' });
          ctx.expect(inside.signal === undefined, `${what}: the part inside the device should be usable, if the mapping is granted`, inside.signal);
        }
        for (const [at, access] of [[good, 'read'], [good, 'rmw'], [length - PAGE, 'read'], [length - PAGE, 'rmw']] as const) {
          const { signal } = mapping.touch({ offset: at, count: 1, access });
          faults.push(signal ?? 'data');
          ctx.expect(signal?.signal === 'SIGBUS', `${what}: ${access} behind the end should be SIGBUS`, { at, signal });
        }
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        faults.push(error.code);
        ctx.expect(['EINVAL', 'ENXIO', 'EOVERFLOW', 'ENOMEM'].includes(error.code), `${what}: should be refused with EINVAL, ENXIO or EOVERFLOW, if at all`, error.code);
      }
      ctx.prove(what, faults);
    };
    tell('twice the end', end - step, 2 * step, step);
    tell('right behind the end', end, step, 0);
    tell('far behind the end', end + 1024 * step, step, 0);
    tell('where offsets end', Math.floor((2 ** 52) / step) * step, step, 0);
  },
});
