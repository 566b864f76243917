// Guards a devdax device whose driver is taken away while processes have it mapped (drivers/dax/device.c: kill_dev_dax as the
// driver's undoing, dev_dax_probe to come back; drivers/dax/bus.c): SIGBUS in all of them, never a crash or another's bytes, no new
// mapping, and with the driver back the data are there. What was open before may be closed after that, too (fs/char_dev.c: cdev_init).
import fs from 'node:fs';
import path from 'node:path';
import { waitForFile } from '../../device/provision.js';
import { Mapping } from '../../native.js';
import { expectGone, levelOf, mapDevdax } from '../shared/devdax-map.js';
import { PMD, proveLevel } from '../shared/huge.js';
import { panicOnOops } from '../shared/oops.js';
import { startPeer } from '../shared/peer.js';
import { defineWorkload, type Context } from '../types.js';

const pattern = { kind: 'words', seed: 151, base: 0 } as const;

/** What is no longer there without a driver. */
const GONE = ['ENXIO', 'ENODEV', 'ENOENT'];

export default defineWorkload({
  name: 'driver/unbind-devdax',
  about: 'the driver of a devdax device unbound while two processes map it: SIGBUS in both, no new mapping, the data there after binding again',
  guards: ['ndctl device-dax, revoke of mappings', 'kernel kill_dev_dax, dev_dax_probe, unmap_mapping_range'],
  needs: { dax: 'devdax', size: 8 * PMD, guest: true },
  // What was open when the driver went is closed before it is back; is opened and mapped once more meanwhile; is still open.
  params: { align: ['2M', '4K'], old: ['closed', 'reopened', 'kept'] },
  thorough: { align: ['4K'], old: ['reopened', 'kept'] }, // small pages: devdax/fault; the others: no kernel is known that stands them
  async run(ctx: Context) {
    const { path: node, align } = ctx.devdax;
    const { old } = ctx.params;
    panicOnOops(ctx);
    const { device, driver } = driverOf(path.basename(node));
    ctx.prove('driver', driver);
    let bound = true;
    // Registered before anything is open, so that it runs when all is closed.
    ctx.cleanup(async () => {
      if (!bound) await fs.promises.writeFile(path.join(driver, 'bind'), device);
    });
    const step = Math.max(PMD, align);
    const fd = fs.openSync(node, 'r+');
    let open = true;
    const close = (): void => {
      if (open) fs.closeSync(fd);
      open = false;
    };
    ctx.cleanup(close);
    const mapping = mapDevdax(ctx, fd, 0, 2 * step);
    mapping.fill(0, PMD, pattern);
    const before = mapping.verify(0, PMD, pattern);
    ctx.expect(before.ok, 'the data should be there before', before);
    proveLevel(ctx, ctx.devdax, mapping, 0, levelOf(align), 'before');
    const peer = startPeer(ctx);
    await peer.ask({ do: 'map', path: node, length: 2 * step, align: step });
    const seen = await peer.ask({ do: 'verify', offset: 0, length: PMD, pattern });
    ctx.expect(seen.ok === true, 'another process should see the data before', seen);

    ctx.step(`unbinding ${device} from ${path.basename(driver)}`);
    await fs.promises.writeFile(path.join(driver, 'unbind'), device);
    bound = false;
    await expectGone(ctx, mapping, step, 'without its driver', peer);
    ctx.prove('a new mapping by the old descriptor', await ctx.expectError('a new mapping by the old descriptor', GONE, () => Mapping.map({ fd, length: step, align: step }).close()));
    if (old === 'reopened') await expectNoEntry(ctx, node, step);
    if (old !== 'kept') {
      ctx.step('closing all');
      mapping.close();
      close();
      await peer.end();
      ctx.prove('opening it', await ctx.expectError('opening a device without its driver', GONE, () => fs.closeSync(fs.openSync(node, 'r+'))));
    }
    ctx.step('binding again');
    await fs.promises.writeFile(path.join(driver, 'bind'), device);
    bound = true;
    await waitForFile(node);
    await expectData(ctx, node, step, 'bound again');
    if (old !== 'kept') return;

    // The device is the same one, so that the kernel may let the old mapping fault again: it shows the data then, or nothing.
    const shown = mapping.verify(0, PMD, pattern);
    ctx.prove('the old mapping, after', shown.signal ?? 'the data');
    ctx.expect(shown.ok || shown.signal?.signal === 'SIGBUS', 'an old mapping should never show other bytes', shown);
    ctx.step('closing what was open before');
    mapping.close();
    close();
    await peer.end();
    await expectData(ctx, node, step, 'with all closed that was open before');
  },
});

/** Expects that nobody new maps it while others have it open, when its node can be opened still (fs/char_dev.c: chrdev_open, i_cdev). */
async function expectNoEntry(ctx: Context, node: string, step: number): Promise<void> {
  ctx.step('opening and mapping it anew');
  let call = 'open';
  const code = await ctx.expectError('opening and mapping a device without its driver', GONE, () => {
    const fd = fs.openSync(node, 'r+');
    call = 'mmap';
    try {
      Mapping.map({ fd, length: step, align: step }).close();
    } finally {
      fs.closeSync(fd);
    }
  });
  ctx.prove('opening and mapping it anew', `${call}: ${code}`);
}

/** Expects the data in new mappings of this process and of another. */
async function expectData(ctx: Context, node: string, step: number, when: string): Promise<void> {
  const fd = fs.openSync(node, 'r+');
  try {
    using fresh = Mapping.map({ fd, length: 2 * step, align: step });
    const check = fresh.verify(0, PMD, pattern);
    ctx.expect(check.ok, `${when}: a new mapping should show the data`, check);
    proveLevel(ctx, ctx.devdax, fresh, 0, levelOf(ctx.devdax.align), when);
  } finally {
    fs.closeSync(fd);
  }
  const peer = startPeer(ctx);
  await peer.ask({ do: 'map', path: node, length: 2 * step, align: step });
  const there = await peer.ask({ do: 'verify', offset: 0, length: PMD, pattern });
  ctx.expect(there.ok === true, `${when}: another process should see the data in a new mapping`, there);
  await peer.end();
}

/** The device and its driver's folder: on the dax bus, or, where the device is of a class and has none, the nvdimm device above it (dax_pmem_compat). */
function driverOf(name: string): { device: string; driver: string } {
  const onBus = `/sys/bus/dax/devices/${name}/driver`;
  if (fs.existsSync(onBus)) return { device: name, driver: fs.realpathSync(onBus) };
  const above = fs.realpathSync(`/sys/class/dax/${name}/device`);
  return { device: path.basename(above), driver: fs.realpathSync(path.join(above, 'driver')) };
}
