// Guards turning a namespace from each mode into the others (drivers/nvdimm: pfn_devs.c, dax_devs.c, btt_devs.c;
// devm_memremap_pages and its undoing): each mode must work at both ends of its device, and what it took (struct pages
// above all, 16 MiB per GiB) must come back.
import fs from 'node:fs';
import { ndNumber } from '../../device/nd.js';
import { Mapping, blockDevice, syncfs } from '../../native.js';
import type { NamespaceRequest } from '../../device/ndctl.js';
import { MiB } from '../../units.js';
import { PMD, mapped } from '../shared/huge.js';
import { PIECE, expectBlocks, spots, writeBlocks } from '../shared/block.js';
import { spareNamespace, type Spare } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const STEPS: readonly { name: string; request: NamespaceRequest }[] = [
  { name: 'fsdax 2M', request: { mode: 'fsdax', align: '2M' } },
  { name: 'devdax 2M', request: { mode: 'devdax', align: '2M' } },
  { name: 'sector', request: { mode: 'sector' } },
  { name: 'devdax 4K', request: { mode: 'devdax', align: '4K' } },
  { name: 'fsdax 4K', request: { mode: 'fsdax', align: '4K' } },
  { name: 'raw', request: { mode: 'raw' } },
];

export default defineWorkload({
  name: 'namespace/round-trip',
  about: 'one namespace as fsdax, devdax, sector and raw at 4 KiB and 2 MiB in turn: each works at both ends, nothing leaks, time per step',
  guards: ['ndctl create.sh, multi-dax.sh, track-uuid.sh, btt-pad-compat.sh', 'kernel devm_memremap_pages, nd_pfn_init, nd_btt'],
  needs: { guest: true, tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  params: { map: ['mem', 'dev'] },
  metrics: STEPS.map(({ name }) => ({ name: `to ${name}`, unit: 'ns', better: 'lower' })),
  async run(ctx: Context) {
    const map = String(ctx.params.map);
    const spare = await spareNamespace(ctx);
    await spare.remake({ mode: 'raw' });
    for (const { name, request } of STEPS) {
      ctx.step(name);
      const started = process.hrtime.bigint();
      const made = await spare.remake({ ...request, map });
      ctx.metric(`to ${name}`, [Number(process.hrtime.bigint() - started)]);
      ctx.expect(made.dev === spare.dev, `${name}: the namespace should keep its name`, made);
      if (request.mode === 'devdax') characters(ctx, made.path, request.align === '4K' ? 4096 : PMD);
      else blocks(ctx, made.path, request.mode);
    }
    for (const mode of ctx.thorough ? (['fsdax', 'devdax'] as const) : (['fsdax'] as const)) await leaks(ctx, spare, map, mode);
  },
});

function blocks(ctx: Context, device: string, mode: string): void {
  const size = fs.openSync(device, 'r');
  const { size: bytes } = blockDevice(size);
  fs.closeSync(size);
  const offsets = spots(bytes, PIECE);
  const pattern = { kind: 'words', seed: 91 } as const;
  writeBlocks(ctx, device, offsets, PIECE, pattern);
  expectBlocks(ctx, device, offsets, PIECE, pattern, mode);
  const dax = fs.readFileSync(`/sys/block/${device.slice('/dev/'.length)}/queue/dax`, 'utf8').trim();
  ctx.prove(`${mode}: ${device}`, { bytes, dax });
  ctx.expect(mode !== 'fsdax' || dax === '1', 'an fsdax namespace should offer DAX', { dax });
  ctx.expect(mode !== 'sector' || dax === '0', 'a sector namespace should not offer DAX: its blocks move', { dax });
}

function characters(ctx: Context, device: string, align: number): void {
  const fd = fs.openSync(device, 'r+');
  try {
    const size = Number(fs.readFileSync(`/sys/dev/char/${fs.statSync(device).rdev >> 8}:${fs.statSync(device).rdev & 255}/size`, 'utf8'));
    const last = Math.floor(size / align) * align - PMD;
    for (const offset of [0, last]) {
      using mapping = mapped(ctx, Mapping.map({ fd, offset, length: PMD, align: PMD }));
      const pattern = { kind: 'words', seed: 92, base: offset } as const;
      const filled = mapping.fill(0, PMD, pattern);
      const check = mapping.verify(0, PMD, pattern);
      ctx.expect(filled.signal === undefined && check.ok, `${device} should keep what is stored at ${offset}`, { filled, check });
    }
    ctx.prove(`devdax: ${device}`, { size, align });
  } finally {
    fs.closeSync(fd);
  }
}

/** Free memory after each of three rounds of going and coming, the first to warm up; and what the struct pages take while they are there. */
async function leaks(ctx: Context, spare: Spare, map: string, mode: 'fsdax' | 'devdax'): Promise<void> {
  ctx.step(`rounds for leaks, ${mode}`);
  const pages = (ndNumber(spare.dev, 'size') / 4096) * 64;
  // Of the 8 pages of struct pages that a huge page of device-dax has, kernels since 5.17 keep 2 (Documentation/mm/vmemmap_dedup.rst).
  const least = mode === 'devdax' ? pages / 8 : pages / 2;
  const rounds: { with: number; atOnce: number; without: number }[] = [];
  await spare.remake({ mode, map, align: '2M' });
  for (let round = 0; round < 3; round++) {
    const within = freeMemory();
    await spare.disable();
    const atOnce = freeMemory();
    // Kernels since 6.19 free page-table memory, struct pages among it, by a worker a little later.
    for (let wait = 0; map === 'mem' && wait < 20 && freeMemory() - within < least; wait++) await new Promise((resolve) => setTimeout(resolve, 50));
    rounds.push({ with: within, atOnce, without: freeMemory() });
    await spare.enable();
  }
  ctx.prove(`free memory, MiB, ${mode}`, rounds.map((round) => Object.fromEntries(Object.entries(round).map(([when, bytes]) => [when, bytes / MiB]))));
  const taken = rounds.map(({ with: within, without }) => without - within);
  if (map === 'mem') ctx.expect(Math.max(...taken) > least, 'with the page map in memory, disabling should give back the memory of its struct pages', { taken, least });
  else ctx.expect(Math.min(...taken) < least, 'with the page map on the device, disabling should give back little memory', { taken, least });
  const lost = rounds[1]!.without - rounds[2]!.without;
  ctx.expect(lost < least, 'a round should give back all the memory that it took', { lost, least });
}

/**
 * Free pages, those on the lists of each CPU too (MemFree does not count them, and struct pages that were freed may sit
 * there by the tens of MiB), and what this process has grown to; with nothing that could be dropped in the way.
 */
function freeMemory(): number {
  const root = fs.openSync('/', 'r');
  syncfs(root);
  fs.closeSync(root);
  fs.writeFileSync('/proc/sys/vm/drop_caches', '3');
  const pages = [...fs.readFileSync('/proc/zoneinfo', 'utf8').matchAll(/^\s+(?:nr_free_pages |count:)\s*(\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  return pages * 4096 + process.memoryUsage.rss();
}
