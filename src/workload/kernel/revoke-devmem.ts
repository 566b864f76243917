// Guards that a driver's claim on memory ends all mappings of it by /dev/mem (commit 3234ac664a87, "/dev/mem: Revoke
// mappings when a driver claims the region"): otherwise who mapped pmem before could write under the driver's feet.
import fs from 'node:fs';
import { ndNumber } from '../../device/nd.js';
import { Mapping } from '../../native.js';
import { MiB } from '../../units.js';
import { PAGE } from '../shared/huge.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'kernel/revoke-devmem',
  about: 'a /dev/mem mapping of pmem is revoked when its namespace is enabled, and a new one refused',
  guards: ['ndctl revoke-devmem', 'kernel 3234ac664a87: revoke_devmem'],
  needs: { guest: true, tools: ['ndctl'], files: ['/dev/mem', '/sys/bus/nd/devices'], kconfig: ['STRICT_DEVMEM', 'IO_STRICT_DEVMEM'] },
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    await spare.remake({ mode: 'raw' });
    const start = ndNumber(spare.dev, 'resource');
    const length = 4 * MiB;
    const fd = fs.openSync('/dev/mem', 'r+');
    ctx.cleanup(() => fs.closeSync(fd));
    const map = (): Mapping => Mapping.map({ fd, offset: start, length, share: 'shared' });

    ctx.step('while the namespace is enabled');
    ctx.prove('enabled', await ctx.expectError('mmap of /dev/mem over claimed pmem', ['EPERM'], () => map().close()));

    ctx.step('while it is disabled');
    await spare.disable();
    using mapping = map();
    const pattern = { kind: 'words', seed: 82, base: 0 } as const;
    const filled = mapping.fill(0, length, pattern);
    ctx.expect(filled.signal === undefined && mapping.verify(0, length, pattern).ok, 'unclaimed pmem should be reachable by /dev/mem', filled);

    ctx.step('enabled again');
    await spare.enable();
    const faults: unknown[] = [];
    for (const [offset, access] of [[0, 'read'], [length - PAGE, 'rmw']] as const) {
      const touched = mapping.touch({ offset, count: 1, access });
      faults.push(touched.signal ?? 'no signal');
      ctx.expect(touched.signal?.signal === 'SIGBUS', `${access} through the old mapping should be SIGBUS once the namespace is enabled`, touched);
    }
    ctx.prove('revoked', faults);
    ctx.prove('enabled again', await ctx.expectError('a new mmap of /dev/mem over claimed pmem', ['EPERM'], () => map().close()));

    // What was stored is on the device: the mapping was the real thing.
    const spot = (await spare.look())?.blockdev;
    const block = fs.openSync(`/dev/${spot}`, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
    try {
      using buffer = Mapping.anonymous({ length });
      buffer.readFrom(block, 0, 0, length);
      const check = buffer.verify(0, length, pattern);
      ctx.expect(check.ok, 'the block device should show what was stored through /dev/mem', check);
    } finally {
      fs.closeSync(block);
    }
  },
});
