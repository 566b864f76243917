// Guards devdax memory given to the system and taken back (drivers/dax/kmem.c: dev_dax_kmem_probe and remove; memory
// hotplug and hot-remove): it must count as memory, hold data, and come back as a device that works.
import fs from 'node:fs';
import { tool } from '../../device/tool.js';
import { waitForFile } from '../../device/provision.js';
import { BrokenError, messageOf } from '../../errors.js';
import { Mapping } from '../../native.js';
import { MiB } from '../../units.js';
import { PMD } from '../shared/huge.js';
import { keepMemoryOffline, onlineMemory } from '../shared/hotplug.js';
import { loadModule } from '../shared/modules.js';
import { timed } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

export default defineWorkload({
  name: 'devdax/kmem',
  about: 'a devdax device as system-ram by daxctl, filled with data, and back: memory counted, device usable again',
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
    {
      const { node } = JSON.parse(await tool('daxctl', ['list', '-d', name]).then(first)) as { node?: number };
      ctx.prove('node', node ?? 'unknown');
      using memory = Mapping.anonymous({ length: 64 * MiB });
      const pattern = { kind: 'words', seed: 104 } as const;
      memory.fill(0, 64 * MiB, pattern);
      const inside = memory.pagemap(0, (64 * MiB) / 4096).filter(({ pfn }) => ctx.devdax.ranges.some(({ start, end }) => pfn * 4096 >= start && pfn * 4096 < end)).length;
      ctx.prove('pages of the device in use', inside);
      const check = memory.verify(0, 64 * MiB, pattern);
      ctx.expect(check.ok, 'memory should keep what is stored', check);
    }

    ctx.step('back to devdax');
    try {
      ctx.metric('back to devdax', [await timed(() => tool('daxctl', ['reconfigure-device', '--force', '--mode=devdax', name]))]);
    } catch (error) {
      if (error instanceof BrokenError && /busy/i.test(messageOf(error))) ctx.skip(`the kernel could not take the memory back (${messageOf(error).slice(0, 200)}): it is in use`);
      throw error;
    }
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

/** daxctl list gives one object, or a list of them. */
const first = (text: string): string => {
  const value: unknown = JSON.parse(text);
  return JSON.stringify(Array.isArray(value) ? value[0] : value);
};
