// Guards the drivers' way in and out (module exit and init of nd_pmem, nd_btt, device_dax, dax_pmem and the bus driver below
// them): everything they registered must be gone with them, and the same namespaces with the same bytes be there again.
import { deleteModuleAsync } from '../../native.js';
import { SystemError } from '../../errors.js';
import { tool } from '../../device/tool.js';
import { waitForFile } from '../../device/provision.js';
import { PIECE, expectBlocks, spots, withBlockDevice, writeBlocks } from '../shared/block.js';
import { isLoaded, loadModule } from '../shared/modules.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

/** From the top down; those that a kernel has built in, or has not at all, are no concern. */
const MODULES = ['kmem', 'dax_pmem', 'dax_pmem_compat', 'dax_pmem_core', 'device_dax', 'nd_pmem', 'nd_btt', 'nfit', 'nd_e820', 'libnvdimm'];

export default defineWorkload({
  name: 'driver/reload',
  about: 'the pmem and dax modules unloaded with a namespace configured, and loaded again: the namespace returns with its data',
  guards: ['ndctl rescan-partitions.sh, dax-dev: drivers come and go', 'kernel module exit of nd_pmem, device_dax, libnvdimm'],
  needs: { guest: true, tools: ['ndctl'], files: ['/sys/bus/nd/devices', '/proc/modules'] },
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    const made = await spare.remake({ mode: 'fsdax', map: 'dev', align: '2M' });
    const pattern = { kind: 'words', seed: 132 } as const;
    const offsets = withBlockDevice(made.path, (_, size) => spots(size, PIECE));
    writeBlocks(ctx, made.path, offsets, PIECE, pattern);
    const before = await spare.look();

    const loaded = MODULES.filter(isLoaded);
    ctx.cleanup(async () => {
      for (const name of [...loaded].reverse()) await loadModule(name);
    });
    ctx.step('unloading');
    await tool('ndctl', ['disable-region', 'all']);
    const gone = await unload(loaded);
    ctx.prove('unloaded', gone);
    if (gone.length === 0) ctx.skip('needs pmem drivers that are modules; in this kernel all are built in');
    ctx.expect(gone.includes('nd_pmem') || !loaded.includes('nd_pmem'), 'with its region disabled, nd_pmem should be unloadable', { loaded, gone });

    ctx.step('loading');
    for (const name of [...gone].reverse()) ctx.expect(await loadModule(name), `the module ${name} should load again`);
    await tool('ndctl', ['enable-region', 'all']);
    await waitForFile(made.path);
    const after = await spare.look();
    ctx.expect(JSON.stringify(after) === JSON.stringify(before), 'the namespace should be as before', { before, after });
    expectBlocks(ctx, made.path, offsets, PIECE, pattern, 'after reloading');
  },
});

/** Unloads what is not in use, again and again while that frees more; gives the names in order. */
async function unload(names: readonly string[]): Promise<string[]> {
  const gone: string[] = [];
  for (let before = -1; before !== gone.length; ) {
    before = gone.length;
    for (const name of names.filter((candidate) => !gone.includes(candidate) && isLoaded(candidate))) {
      try {
        await deleteModuleAsync(name);
        gone.push(name);
      } catch (error) {
        if (!(error instanceof SystemError) || !['EAGAIN', 'EBUSY', 'EWOULDBLOCK', 'ENOENT'].includes(error.code)) throw error;
      }
    }
  }
  return gone;
}
