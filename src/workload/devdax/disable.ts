// Guards that a devdax device that went away is gone for those who have it mapped (drivers/dax/device.c: kill_dev_dax,
// unmap_mapping_range; drivers/dax/super.c: dax_alive): a fault afterwards is SIGBUS, never the bytes of whatever the
// memory has become.
import fs from 'node:fs';
import { Mapping } from '../../native.js';
import { disableNamespace, enableNamespace, namespaces } from '../../device/ndctl.js';
import { waitForFile } from '../../device/provision.js';
import { mapDevdax, needRoom, openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/disable',
  about: 'a device disabled while mapped: SIGBUS for faulted and unfaulted pages, no new mapping, data there when it returns',
  guards: ['ndctl device-dax, revoke of mappings', 'kernel kill_dev_dax'],
  needs: { dax: 'devdax', size: 8 * PMD, tools: ['ndctl'] },
  params: { align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  async run(ctx: Context) {
    const { path, namespace, align } = ctx.devdax;
    if (namespace === undefined) return ctx.skip('needs a namespace that may be disabled: run it in a guest');
    const step = Math.max(PMD, align);
    needRoom(ctx, 2 * step);
    const device = await ctx.blockDevice(PMD);
    const pattern = { kind: 'words', seed: 103 } as const;
    const fd = openDevdax(ctx);
    const mapping = mapDevdax(ctx, fd, 0, 2 * step);
    mapping.fill(0, PMD, pattern);
    const before = mapping.verify(0, PMD, pattern);
    ctx.expect(before.ok, 'the data should be there before', before);

    // However this ends, the device is there again: it may be a user's.
    ctx.cleanup(async () => {
      const enabled = (await namespaces()).some(({ dev }) => dev === namespace);
      if (!enabled) await enableNamespace(namespace);
    });
    ctx.step('disabling the namespace while it is mapped');
    await disableNamespace(namespace);
    for (const [what, offset, access] of [['a page that was faulted', 0, 'read'], ['a page that was faulted', PAGE, 'rmw'], ['a page that was not', step, 'read'], ['a page that was not', step, 'rmw']] as const) {
      const { signal, done } = mapping.touch({ offset, count: 1, access });
      ctx.prove(`${what}, ${access}`, signal ?? 'data');
      ctx.expect(signal?.signal === 'SIGBUS', `${what}: ${access} should be SIGBUS once the device is gone`, { signal, done });
    }
    const disk = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_DIRECT);
    try {
      ctx.prove('O_DIRECT from it', await ctx.expectError('O_DIRECT from a mapping of a device that is gone', ['EFAULT'], () => mapping.writeTo(disk, 0, 0, PAGE)));
    } finally {
      fs.closeSync(disk);
    }
    ctx.prove('a new mapping by the old descriptor', await ctx.expectError('a new mapping by the old descriptor', ['ENXIO', 'ENODEV'], () => Mapping.map({ fd, length: step, align: step }).close()));
    ctx.prove('opening it', await ctx.expectError('opening a device that is gone', ['ENOENT', 'ENXIO', 'ENODEV'], () => fs.closeSync(fs.openSync(path, 'r+'))));

    ctx.step('enabling it again');
    await enableNamespace(namespace);
    await waitForFile(path);
    const again = fs.openSync(path, 'r+');
    try {
      using fresh = Mapping.map({ fd: again, length: step, align: step });
      const check = fresh.verify(0, PMD, pattern);
      ctx.expect(check.ok, 'the data should be there when the device is back', check);
      // The old mapping is of the old device: dead still, or, where the kernel keeps one inode, the same bytes.
      const old = mapping.verify(0, PMD, pattern);
      ctx.prove('the old mapping, after', old.signal ?? 'the data');
      ctx.expect(old.signal !== undefined || old.ok, 'an old mapping should never show other bytes', old);
    } finally {
      fs.closeSync(again);
    }
  },
});
