// Guards devdax memory given to the system and taken back (drivers/dax/kmem.c: dev_dax_kmem_probe and remove; memory
// hotplug and hot-remove): it must count as memory, be used, hold data, and come back as a device that works.
import fs from 'node:fs';
import { tool } from '../../device/tool.js';
import { inRanges } from '../../device/place.js';
import { waitForFile } from '../../device/provision.js';
import { BrokenError, SystemError, messageOf } from '../../errors.js';
import { Mapping } from '../../native.js';
import { MiB } from '../../units.js';
import { PAGE, PMD, mapped } from '../shared/huge.js';
import { keepMemoryOffline, memoryBlocks, onlineMemory } from '../shared/hotplug.js';
import { loadModule } from '../shared/modules.js';
import { timed } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const USED = 64 * MiB;
/** To take the memory back, a second apart. */
const ATTEMPTS = 5;

export default defineWorkload({
  name: 'devdax/kmem',
  about: 'a devdax device as system-ram by daxctl, its pages used and filled with data, and back: memory counted, given back, device usable again',
  guards: ['ndctl daxctl-devices.sh', 'kernel dev_dax_kmem_probe, memory hot-remove'],
  needs: { dax: 'devdax', size: 512 * MiB, guest: true, tools: ['daxctl'], kconfig: ['DEV_DAX_KMEM', 'MEMORY_HOTREMOVE'] },
  params: { map: ['mem'], align: ['2M'] },
  timeout: 120,
  metrics: [{ name: 'to system-ram', unit: 'ns', better: 'lower' }, { name: 'back to devdax', unit: 'ns', better: 'lower' }],
  async run(ctx: Context) {
    const name = ctx.devdax.path.slice('/dev/'.length);
    if (!fs.existsSync('/sys/bus/dax/devices')) ctx.skip('needs the dax bus; this kernel has devdax devices of the old class (dax_pmem_compat)');
    if (!fs.existsSync(`/sys/bus/dax/devices/${name}`)) ctx.skip(`needs ${name} on the dax bus; it is of the old class (dax_pmem_compat): see daxctl-migrate-device-model(1)`);
    if (!(await loadModule('kmem'))) ctx.skip('needs the module kmem; install it, or build it with CONFIG_DEV_DAX_KMEM');
    keepMemoryOffline(ctx);
    const before = onlineMemory();

    ctx.step('to system-ram');
    ctx.metric('to system-ram', [await timed(() => tool('daxctl', ['reconfigure-device', '--mode=system-ram', name]))]);
    const grown = onlineMemory() - before;
    ctx.prove('memory, MiB', { before: before / MiB, grown: grown / MiB });
    ctx.expect(grown >= ctx.devdax.size / 2, 'the system should have gained most of the device as memory', { grown, size: ctx.devdax.size });
    ctx.expect(grown <= ctx.devdax.size, 'the system should not gain more than the device has', { grown, size: ctx.devdax.size });

    ctx.step('using it');
    const blocks = memoryBlocks(ctx.devdax.ranges).filter(({ online }) => online);
    const nodes = [...new Set(blocks.flatMap(({ node }) => node ?? []))];
    const zones = [...new Set(blocks.map(({ zone }) => zone))];
    ctx.prove('memory blocks', { count: blocks.length, nodes, zones });
    // What is not movable, the kernel may use for itself, and never give back (Documentation/admin-guide/mm/memory-hotplug.rst).
    ctx.expect(blocks.length > 0 && zones.join() === 'Movable', 'all of the new memory should be in ZONE_MOVABLE, as daxctl asked', { blocks: blocks.length, zones });
    use(ctx, nodes[0]);

    ctx.step('back to devdax');
    await takeBack(ctx, name);
    const left = memoryBlocks(ctx.devdax.ranges);
    ctx.expect(left.length === 0, 'no block of the memory should be left', left.slice(0, 4));
    ctx.expect(onlineMemory() <= before, 'the memory should be gone from the system', { before, now: onlineMemory() });
    await waitForFile(ctx.devdax.path);
    const fd = fs.openSync(ctx.devdax.path, 'r+');
    try {
      using mapping = Mapping.map({ fd, length: 2 * PMD, align: PMD });
      const pattern = { kind: 'words', seed: 105 } as const;
      const filled = mapping.fill(0, 2 * PMD, pattern);
      ctx.expect(filled.signal === undefined && mapping.verify(0, 2 * PMD, pattern).ok, 'the device should work again', filled);
    } finally {
      fs.closeSync(fd);
    }
  },
});

/** Memory of the new node, which for pages that can be moved is the new memory first: ZONE_MOVABLE leads the list of zones. */
function use(ctx: Context, node: number | undefined): void {
  const memory = mapped(ctx, Mapping.anonymous({ length: USED }));
  if (node !== undefined) bind(ctx, memory, node);
  const pattern = { kind: 'words', seed: 104 } as const;
  const filled = memory.fill(0, USED, pattern);
  ctx.expect(filled.signal === undefined, 'memory should take what is stored', filled);
  const inside = memory.pagemap(0, USED / PAGE).filter(({ pfn }) => inRanges(ctx.devdax, pfn)).length;
  ctx.prove('pages of the device in use', { inside, of: USED / PAGE });
  // What the lists of each CPU still hold of the node's other memory may come first.
  ctx.expect(inside >= USED / PAGE / 2, 'most pages of new movable memory should be the device\'s', { inside, of: USED / PAGE, node });
  const check = memory.verify(0, USED, pattern);
  ctx.expect(check.ok, 'memory should keep what is stored', check);
  memory.close();
}

function bind(ctx: Context, memory: Mapping, node: number): void {
  try {
    memory.bindToNode(0, USED, node);
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== 'ENOSYS') throw error;
    ctx.prove('bound', 'this kernel has no mbind(2)');
  }
}

/**
 * Pages of ZONE_MOVABLE that nobody pins can be moved away, and nobody here does: a kernel that fails again and again at that fails. What
 * only has a page in its hands for a moment is waited for.
 */
async function takeBack(ctx: Context, name: string): Promise<void> {
  const refusals: string[] = [];
  while (refusals.length < ATTEMPTS) {
    try {
      return ctx.metric('back to devdax', [await timed(() => tool('daxctl', ['reconfigure-device', '--force', '--mode=devdax', name]))]);
    } catch (error) {
      if (!(error instanceof BrokenError) || !/busy/i.test(messageOf(error))) throw error;
      refusals.push(messageOf(error).slice(0, 200));
      ctx.prove('refused to give it back', refusals);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  ctx.expect(false, `the kernel should give the memory back, in ${ATTEMPTS} attempts`, { last: refusals.at(-1), online: memoryBlocks(ctx.devdax.ranges).filter(({ online }) => online) });
}
