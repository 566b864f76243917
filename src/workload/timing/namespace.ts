// Measures setting up: a namespace made, disabled, enabled, destroyed, per GiB of it; a file system made, mounted, unmounted.
import fs from 'node:fs';
import path from 'node:path';
import { destroyNamespace, createNamespace } from '../../device/ndctl.js';
import { makeFileSystem, mountDax } from '../../device/provision.js';
import { statx, umount } from '../../native.js';
import { GiB } from '../../units.js';
import { spareNamespace } from '../shared/namespaces.js';
import { duration } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const ROUNDS = 5;
const STEPS = ['create', 'disable', 'enable', 'destroy'] as const;
const SYSTEMS = ['ext4', 'xfs'] as const;

export default defineWorkload({
  name: 'timing/namespace',
  about: 'time per GiB to create, disable, enable and destroy a namespace; of mkfs, mount -o dax and umount',
  guards: ['cost of devm_memremap_pages (struct pages of the device) and of the tools'],
  needs: { guest: true, tools: ['ndctl', 'mke2fs', 'mkfs.xfs'], files: ['/sys/bus/nd/devices'], filesystems: SYSTEMS },
  params: { map: ['mem', 'dev'] },
  metrics: [...STEPS.map((step) => duration(`${step}, per GiB`)), ...SYSTEMS.flatMap((kind) => ['mkfs', 'mount', 'umount'].map((step) => duration(`${step} ${kind}`)))],
  timeout: 180,
  onRequest: true,
  async run(ctx: Context) {
    const map = String(ctx.params.map);
    const spare = await spareNamespace(ctx);
    const { size, path: device } = await spare.remake({ mode: 'fsdax', map });
    const samples = new Map<string, number[]>();
    const time = async (name: string, work: () => Promise<unknown> | void, units = 1): Promise<void> => {
      const started = process.hrtime.bigint();
      await work();
      const list = samples.get(name) ?? [];
      samples.set(name, list);
      list.push(Number(process.hrtime.bigint() - started) / units);
    };
    const gib = size / GiB;
    for (let round = 0; round < ROUNDS; round++) {
      ctx.step(`namespace, round ${round + 1}`);
      await time('disable, per GiB', () => spare.disable(), gib);
      await time('enable, per GiB', () => spare.enable(device), gib);
      await time('destroy, per GiB', () => destroyNamespace(spare.dev), gib);
      await time('create, per GiB', () => createNamespace({ region: spare.region }, { mode: 'fsdax', map }), gib);
    }
    const folder = path.join(ctx.folder, 'mount');
    fs.mkdirSync(folder);
    for (const kind of SYSTEMS)
      for (let round = 0; round < ROUNDS; round++) {
        ctx.step(`${kind}, round ${round + 1}`);
        await time(`mkfs ${kind}`, () => makeFileSystem(kind, device, { huge: true }));
        await time(`mount ${kind}`, () => mountDax(device, folder, kind));
        const file = path.join(folder, 'file');
        fs.writeFileSync(file, '');
        const { dax } = statx(file);
        await time(`umount ${kind}`, () => umount(folder));
        ctx.expect(dax === true, `a mount that is timed should be one with DAX (${kind})`);
      }
    for (const [name, list] of samples) ctx.metric(name, list);
  },
});
