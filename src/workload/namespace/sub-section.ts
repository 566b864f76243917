// Guards namespaces smaller than a memory section of 128 MiB, side by side in one (kernel 5.3 and later: sub-section hotplug,
// mm/sparse.c: section_activate, section_deactivate, fill_subsection_map): each gets struct pages of its own and gives back no
// more than those. Earlier kernels refused the second one, or took its neighbour's pages away with it.
import fs from 'node:fs';
import { ndNumber } from '../../device/nd.js';
import { chardevOf, createNamespace, destroyNamespace, disableNamespace, enableNamespace, type Namespace } from '../../device/ndctl.js';
import { waitForFile } from '../../device/provision.js';
import { Mapping, type Pattern } from '../../native.js';
import { MiB, hex } from '../../units.js';
import { PAGE, PMD } from '../shared/huge.js';
import { labelledRegion } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

/** In turn; what is not a multiple of a section makes the next one begin inside it. */
const SIZES = [16, 48, 32, 144, 16].map((size) => size * MiB);

export default defineWorkload({
  name: 'namespace/sub-section',
  about: 'devdax namespaces of 16 MiB and more, side by side in shared memory sections, on and off in any order: neighbours keep data and struct pages',
  guards: ['ndctl sub-section.sh, align.sh', 'kernel 5.3: section_activate, section_deactivate'],
  needs: { guest: true, memory: 'nvdimm', tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  params: { map: ['mem', 'dev'] },
  thorough: { map: ['dev'] },
  async run(ctx: Context) {
    const region = await labelledRegion(ctx);
    const all: One[] = [];
    for (const [i, size] of SIZES.entries()) {
      ctx.step(`making one of ${size / MiB} MiB`);
      all.push(await make(ctx, region.dev, size, 500 + i, String(ctx.params.map)));
    }
    ctx.prove('namespaces', all.map(({ made, start, bytes }) => `${made.dev} ${hex(start)} ${bytes / MiB} MiB`));
    const inOneSection = all.some(({ start }, i) => i > 0 && Math.floor(start / SECTION) === Math.floor((all[i - 1]!.start + all[i - 1]!.bytes - 1) / SECTION));
    ctx.expect(inOneSection, 'two of them should share a memory section', all.map(({ start, bytes }) => [hex(start), bytes]));
    for (const one of all) look(ctx, one, 'all made');

    // Each in turn off and on, and in the end one destroyed and made again: the others are in use meanwhile.
    for (const one of all) {
      ctx.step(`${one.made.dev} off and on`);
      const others = all.filter((other) => other !== one);
      const held = others.map((other) => open(other));
      try {
        await disableNamespace(one.made.dev);
        others.forEach((other, i) => verify(ctx, held[i]!, other, `${one.made.dev} off`));
        await enableNamespace(one.made.dev);
        await waitForFile(one.path);
        others.forEach((other, i) => verify(ctx, held[i]!, other, `${one.made.dev} on again`));
      } finally {
        held.forEach((mapping) => mapping.close());
      }
      look(ctx, one, 'on again');
    }
    ctx.step('one destroyed and made again');
    await destroyNamespace(all[1]!.made.dev);
    for (const one of all.filter((_, i) => i !== 1)) look(ctx, one, 'one destroyed');
    all[1] = await make(ctx, region.dev, SIZES[1]!, 510, String(ctx.params.map));
    for (const one of all) look(ctx, one, 'made again');
    for (const { made } of all) await destroyNamespace(made.dev);
    ctx.expect(ndNumber(region.dev, 'available_size') === region.size, 'with all destroyed all of the region should be free', ndNumber(region.dev, 'available_size'));
  },
});

const SECTION = 128 * MiB;

interface One {
  made: Namespace;
  path: string;
  /** First physical byte of the namespace. */
  start: number;
  /** Of the device. */
  bytes: number;
  pattern: Pattern;
}

async function make(ctx: Context, region: string, size: number, seed: number, map: string): Promise<One> {
  const made = await createNamespace({ region }, { mode: 'devdax', map, align: '2M', size });
  const path = `/dev/${chardevOf(made)}`;
  await waitForFile(path);
  const raw = ndNumber(made.dev, 'size');
  ctx.expect(raw === size, 'a namespace should have the size that was asked for', { raw, size });
  const one: One = { made, path, start: ndNumber(made.dev, 'resource'), bytes: made.daxregion?.devices?.[0]?.size ?? made.size, pattern: { kind: 'words', seed } };
  using mapping = open(one);
  const filled = mapping.fill(0, one.bytes, one.pattern);
  ctx.expect(filled.signal === undefined, `${one.path} should take data`, filled);
  return one;
}

function open({ path, bytes }: One): Mapping {
  const fd = fs.openSync(path, 'r+');
  try {
    return Mapping.map({ fd, length: bytes, align: PMD });
  } finally {
    fs.closeSync(fd);
  }
}

function verify(ctx: Context, mapping: Mapping, { path, bytes, pattern, start, made }: One, when: string): void {
  const check = mapping.verify(0, bytes, pattern);
  ctx.expect(check.ok, `${when}: ${path} should hold its own data`, check);
  const size = ndNumber(made.dev, 'size');
  for (const offset of [0, bytes - PAGE]) {
    const { pfn } = mapping.pagemap(offset, 1)[0]!;
    ctx.expect(pfn * PAGE >= start && pfn * PAGE < start + size, `${when}: ${path} should be mapped to its own memory`, { pfn: hex(pfn * PAGE), start: hex(start), size });
  }
}

function look(ctx: Context, one: One, when: string): void {
  using mapping = open(one);
  verify(ctx, mapping, one, when);
}
