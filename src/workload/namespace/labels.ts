// Guards namespaces that labels describe (drivers/nvdimm/label.c: nd_label_reserve_dpa, nd_pmem_namespace_label_update;
// namespace_devs.c: scan_allocate, shrink_dpa_allocation, init_active_labels): what is made, renamed, grown and destroyed must be
// what the label area says, must be there again when the region comes back, and must leave the others' bytes alone. Labels that
// were saved, wiped and put back bring the namespaces back with their data.
import fs from 'node:fs';
import path from 'node:path';
import { ndAttribute, ndNumber, setNdAttribute } from '../../device/nd.js';
import { createNamespace, destroyNamespace, disableNamespace, disableRegion, enableNamespace, enableRegion, namespaces, type Namespace } from '../../device/ndctl.js';
import { waitForFile } from '../../device/provision.js';
import { tool } from '../../device/tool.js';
import { MiB } from '../../units.js';
import { PIECE, expectBlocks, spots, withBlockDevice, writeBlocks } from '../shared/block.js';
import { parseLabelArea, type Label } from '../shared/labels.js';
import { labelledRegion, type LabelledRegion } from '../shared/namespaces.js';
import { timed } from '../shared/timing.js';
import { defineWorkload, type Context } from '../types.js';

const SIZE = 64 * MiB;

export default defineWorkload({
  name: 'namespace/labels',
  about: 'labelled namespaces made, renamed, grown, destroyed and made anew, the label area wiped and put back: labels, sysfs and data agree each time',
  guards: ['ndctl multi-dax.sh, label-compat.sh, track-uuid.sh, create.sh: namespaces side by side', 'kernel nd_pmem_namespace_label_update, scan_allocate, init_active_labels'],
  needs: { guest: true, memory: 'nvdimm', tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  metrics: [{ name: 'create', unit: 'ns', better: 'lower' }, { name: 'region off and on', unit: 'ns', better: 'lower' }],
  async run(ctx: Context) {
    const region = await labelledRegion(ctx);
    const tenants = new Tenants(ctx, region);
    const created: number[] = [];
    const names = ['first', 'second with spaces', 'third'];
    for (const name of names) {
      ctx.step(`making ${name}`);
      created.push(await timed(() => tenants.create(name, SIZE)));
    }
    ctx.metric('create', created);
    await tenants.check('three namespaces');

    ctx.step('region off and on');
    ctx.metric('region off and on', [await timed(() => offAndOn(region))]);
    await tenants.check('after the region came back');

    await rename(ctx, region, tenants);
    await grow(ctx, tenants);

    ctx.step('destroyed and made anew');
    await tenants.destroy('third');
    await tenants.check('one destroyed');
    await tenants.create('fourth', 2 * SIZE);
    await tenants.check('another in its place');

    await wipeAndRestore(ctx, region, tenants);
    for (const name of tenants.names()) await tenants.destroy(name);
    const free = ndNumber(region.dev, 'available_size');
    ctx.expect(free === region.size, 'with all namespaces destroyed all of the region should be free', { free, size: region.size });
  },
});

/** What was made, by its name: what ndctl said, and the seed of its data. */
class Tenants {
  readonly #known = new Map<string, { made: Namespace; seed: number }>();
  #seed = 400;

  constructor(
    private readonly ctx: Context,
    private readonly region: LabelledRegion,
  ) {}

  names = (): string[] => [...this.#known.keys()];
  of = (name: string): Namespace => this.#known.get(name)!.made;

  async create(name: string, size: number): Promise<void> {
    const made = await createNamespace({ region: this.region.dev }, { mode: 'fsdax', map: 'dev', align: '2M', name, size });
    this.ctx.expect(made.name === name, 'a namespace should have the name that it was given', made);
    this.ctx.expect(ndNumber(made.dev, 'size') === size, 'a namespace should have the size that was asked for', { size: ndNumber(made.dev, 'size'), asked: size });
    await this.adopt(name, made);
  }

  /** Fills both ends and the middle of a namespace with data of its own. */
  async adopt(name: string, made: Namespace): Promise<void> {
    const seed = this.#seed++;
    this.#known.set(name, { made, seed });
    await waitForFile(`/dev/${made.blockdev}`);
    writeBlocks(this.ctx, `/dev/${made.blockdev}`, offsetsOf(made), PIECE, { kind: 'words', seed });
  }

  async destroy(name: string): Promise<void> {
    await destroyNamespace(this.of(name).dev);
    this.#known.delete(name);
  }

  /** The label area, sysfs, ndctl and the bytes say the same of every namespace, and of no other. */
  async check(when: string): Promise<void> {
    const ctx: Context = this.ctx;
    const index = this.region.dev.replace('region', '');
    const found = (await namespaces(true)).filter(({ dev, size }) => dev.startsWith(`namespace${index}.`) && size > 0);
    const labels = await readLabels(ctx, this.region);
    ctx.prove(when, { namespaces: found.map(({ dev, name, uuid, size }) => ({ dev, name, uuid, size })), labels });
    ctx.expect(found.length === this.#known.size, `${when}: ndctl should list just what was made`, found.map(({ name }) => name));
    const named = [...new Set(labels.map(({ name }) => name))];
    ctx.expect(JSON.stringify([...named].sort()) === JSON.stringify(this.names().sort()), `${when}: the label area should name just what was made`, labels);
    const pieces = [...labels].sort((a, b) => a.dpa - b.dpa);
    pieces.forEach((label, i) => ctx.expect(i === 0 || pieces[i - 1]!.dpa + pieces[i - 1]!.rawsize <= label.dpa, `${when}: no two labels should claim the same memory`, { one: pieces[i - 1], other: label }));
    for (const [name, { seed }] of this.#known) {
      const now = found.find((namespace) => namespace.name === name);
      if (now === undefined) return ctx.expect(false, `${when}: "${name}" should be there`, found);
      const mine = labels.filter((label) => label.name === name);
      const raw = ndNumber(now.dev, 'size');
      ctx.expect(mine.reduce((sum, { rawsize }) => sum + rawsize, 0) === raw, `${when}: the labels of "${name}" should add up to its size`, { mine, raw });
      ctx.expect(mine.every(({ uuid }) => uuid === ndAttribute(now.dev, 'uuid')), `${when}: the labels of "${name}" should have its uuid`, { mine, uuid: ndAttribute(now.dev, 'uuid') });
      ctx.expect(ndAttribute(now.dev, 'alt_name') === name, `${when}: sysfs should know the name of "${name}"`, ndAttribute(now.dev, 'alt_name'));
      // A namespace may come back under another number, and its block device with it.
      await waitForFile(`/dev/${now.blockdev}`);
      expectBlocks(ctx, `/dev/${now.blockdev}`, offsetsOf(now), PIECE, { kind: 'words', seed }, `${when}, "${name}"`);
      this.#known.set(name, { made: now, seed });
    }
  }

  /** The same namespace by another name from now on. */
  renamed(from: string, to: string): void {
    const known = this.#known.get(from)!;
    this.#known.delete(from);
    this.#known.set(to, known);
  }
}

const offsetsOf = ({ blockdev }: Namespace): number[] => withBlockDevice(`/dev/${blockdev}`, (_, size) => spots(size, PIECE));

/** The labels of the region's DIMMs, from the raw bytes of their label areas. */
async function readLabels(ctx: Context, { dimms }: LabelledRegion): Promise<Label[]> {
  const all: Label[] = [];
  for (const dimm of dimms) {
    const file = path.join(ctx.folder, `${dimm}.labels`);
    await tool('ndctl', ['read-labels', dimm, '-o', file]);
    const labels = parseLabelArea(fs.readFileSync(file));
    ctx.expect(labels !== undefined, `${dimm}: one index block of the label area should be whole`);
    all.push(...labels);
  }
  return all;
}

async function offAndOn({ dev }: LabelledRegion): Promise<void> {
  await disableRegion(dev);
  await enableRegion(dev);
}

/** A new name takes effect with the next writing of the label, and stays. */
async function rename(ctx: Context, region: LabelledRegion, tenants: Tenants): Promise<void> {
  ctx.step('renamed');
  const { dev } = tenants.of('second with spaces');
  const refused = await ctx.expectError('renaming a namespace that is in use', ['EBUSY'], () => setNdAttribute(dev, 'alt_name', 'in use'));
  ctx.prove('renaming a namespace that is in use', refused);
  await disableNamespace(dev);
  setNdAttribute(dev, 'alt_name', 'renamed');
  await enableNamespace(dev);
  tenants.renamed('second with spaces', 'renamed');
  await tenants.check('renamed');
  await offAndOn(region);
  await tenants.check('renamed, after the region came back');
}

/** Grown by its size attribute: the last one made has room behind it. What an info block says of the old size is made anew. */
async function grow(ctx: Context, tenants: Tenants): Promise<void> {
  ctx.step('grown');
  const { dev } = tenants.of('third');
  await disableNamespace(dev);
  setNdAttribute(dev, 'size', String(2 * SIZE));
  ctx.expect(ndNumber(dev, 'size') === 2 * SIZE, 'a namespace should have its new size', ndNumber(dev, 'size'));
  const available = await ctx.expectError('growing beyond the region', ['ENOSPC', 'ENOMEM', 'EINVAL'], () => setNdAttribute(dev, 'size', String(1 << 30) + '0000'));
  ctx.prove('growing beyond the region', available);
  const made = await createNamespace({ namespace: dev }, { mode: 'fsdax', map: 'dev', align: '2M', name: 'third' });
  await tenants.adopt('third', made);
  await tenants.check('grown');
}

/** Labels saved, wiped (nothing may be left), and put back. */
async function wipeAndRestore(ctx: Context, region: LabelledRegion, tenants: Tenants): Promise<void> {
  ctx.step('labels wiped');
  const saved = (dimm: string): string => path.join(ctx.folder, dimm);
  await disableRegion(region.dev);
  for (const dimm of region.dimms) await tool('ndctl', ['read-labels', dimm, '-o', saved(dimm)]);
  for (const dimm of region.dimms) await tool('ndctl', ['check-labels', dimm]);
  await tool('ndctl', ['zero-labels', ...region.dimms]);
  await tool('ndctl', ['init-labels', '-f', ...region.dimms]);
  await enableRegion(region.dev);
  const left = await readLabels(ctx, region);
  const free = ndNumber(region.dev, 'available_size');
  ctx.expect(left.length === 0 && free === region.size, 'wiped labels should leave no namespace', { left, free, size: region.size });

  ctx.step('labels put back');
  await disableRegion(region.dev);
  for (const dimm of region.dimms) await tool('ndctl', ['write-labels', dimm, '-i', saved(dimm)]);
  for (const dimm of region.dimms) {
    await tool('ndctl', ['disable-dimm', dimm]);
    await tool('ndctl', ['enable-dimm', dimm]);
  }
  await enableRegion(region.dev);
  await tenants.check('labels put back');
  ctx.prove('label files, bytes', region.dimms.map((dimm) => fs.statSync(saved(dimm)).size));
}
