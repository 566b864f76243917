// Guards bad blocks from the memory error to the reader (drivers/acpi/nfit/mce.c: nfit_handle_mce; drivers/nvdimm/badrange.c:
// nvdimm_bus_add_badrange, nvdimm_badblocks_populate; pmem.c: nd_pmem_notify, pmem_do_read, pmem_recovery_write; fs/dax.c): nobody
// gets bytes from a place that is known to be lost, everything beside it stays readable and writable, the list survives the
// namespace, and a write either mends the place or is refused.
import fs from 'node:fs';
import path from 'node:path';
import { ndFolder, ndNumber } from '../../device/nd.js';
import { namespaces } from '../../device/ndctl.js';
import { makeFileSystem, mountDax } from '../../device/provision.js';
import { SystemError, codeOf } from '../../errors.js';
import * as native from '../../native.js';
import { Mapping, type Pattern } from '../../native.js';
import { badRanges, covers, makeBad, noBadBlocks } from '../shared/bad-blocks.js';
import { PAGE, PMD } from '../shared/huge.js';
import { spareNamespace } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 601 };
const other: Pattern = { kind: 'words', seed: 602 };
/** The page that is lost: inside of a huge page, not at its start. */
const BAD = 5 * PAGE;

export default defineWorkload({
  name: 'namespace/bad-blocks',
  about: 'a memory error becomes a bad block: read(2), mappings and O_DIRECT refuse it alone, writes mend it or are refused, it is known after re-enabling',
  guards: ['ndctl daxdev-errors.sh, inject-error.sh, clear.sh, dax-errors.sh, pmem-errors.sh', 'kernel nvdimm_badblocks_populate, pmem_do_read, pmem_recovery_write'],
  needs: { guest: true, memory: 'nvdimm', tools: ['ndctl', 'mke2fs', 'mkfs.xfs'], files: ['/sys/bus/nd/devices'], kconfig: ['X86_MCE_INJECT'] },
  params: { fs: ['ext4', 'xfs'] },
  expectsLog: ['mce', 'dax-off'],
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    const lacking = await noBadBlocks(spare.region);
    if (lacking !== undefined) return ctx.skip(lacking);
    const made = await spare.remake({ mode: 'fsdax', map: 'dev', align: '2M' });
    const disk = `/sys/block/${path.basename(made.path)}`;
    const list = path.join(disk, 'badblocks');
    const start = Number(fs.readFileSync(path.join(disk, 'device/resource'), 'utf8'));
    ctx.expect(badRanges(list).length === 0, 'a new namespace should have no bad blocks', badRanges(list));

    const kind = String(ctx.params.fs);
    const folder = path.join(ctx.folder, 'mnt');
    fs.mkdirSync(folder);
    await makeFileSystem(kind, made.path, { huge: true });
    await mountDax(made.path, folder, kind);
    let sector: number;
    try {
      const fd = fs.openSync(path.join(folder, 'file'), 'w+');
      try {
        sector = await loseAPage(ctx, fd, start, list);
        ctx.step('through the file');
        await throughFile(ctx, fd, list, sector);
      } finally {
        fs.closeSync(fd);
      }
    } finally {
      await native.umountAsync(folder);
    }
    const region = path.join(ndFolder(spare.region), 'badblocks');
    const inRegion = sector + (start - ndNumber(spare.region, 'resource')) / 512;
    const still = covers(badRanges(list), sector);
    ctx.expect(covers(badRanges(region), inRegion) === still, 'region and disk should agree on what is bad', { region: badRanges(region), disk: badRanges(list), start });

    ctx.step('through the disk');
    throughDisk(ctx, made.path, sector, still);

    ctx.step('after re-enabling');
    await spare.disable();
    await spare.enable(made.path);
    const after = covers(badRanges(list), sector);
    ctx.expect(after === still, 'what was bad should be bad when the namespace comes back, and nothing else', { before: still, after: badRanges(list) });
    const told = (await namespaces(true)).find(({ dev }) => dev === made.dev);
    ctx.prove('as ndctl lists it', told?.badblock_count ?? 0);
    throughDisk(ctx, made.path, sector, after);
  },
});

/** Fills a file of three huge pages, and has a page of it reported as lost; gives its sector on the disk. */
async function loseAPage(ctx: Context, fd: number, start: number, list: string): Promise<number> {
  native.fallocate(fd, 'allocate', 0, 3 * PMD);
  using mapping = Mapping.map({ fd, length: 3 * PMD, align: PMD });
  mapping.fill(0, 3 * PMD, pattern);
  mapping.msync(0, 3 * PMD);
  fs.fsyncSync(fd);
  const { pfn } = mapping.pagemap(BAD, 1)[0]!;
  const sector = (pfn * PAGE - start) / 512;
  ctx.step('reporting a memory error');
  await makeBad(ctx, pfn * PAGE, list, sector);
  ctx.prove('bad blocks', badRanges(list));
  ctx.expect(badRanges(list).every(({ sector: from, count }) => from >= sector && from + count <= sector + PAGE / 512), 'one lost line should make blocks of its own page bad, and no others', { sector, list: badRanges(list) });
  return sector;
}

async function throughFile(ctx: Context, fd: number, list: string, sector: number): Promise<void> {
  const buffer = Buffer.alloc(PAGE);
  ctx.prove('read(2)', await ctx.expectError('read(2) of a page with a bad block', ['EIO'], () => fs.readSync(fd, buffer, 0, PAGE, BAD)));
  using mapping = Mapping.map({ fd, length: 3 * PMD, align: PMD });
  const { signal, done } = mapping.touch({ offset: BAD, count: 1, access: 'read' });
  ctx.prove('a mapping', signal ?? 'data');
  ctx.expect(signal?.signal === 'SIGBUS' && done === 0, 'a new mapping of it should be SIGBUS', { signal, done });
  // The rest of the same huge page, and its neighbours.
  for (const [from, length] of [[0, BAD], [BAD + PAGE, PMD - BAD - PAGE], [PMD, 2 * PMD]] as const) {
    const check = mapping.verify(from, length, { ...pattern, base: from } as Pattern);
    ctx.expect(check.ok, `what lies beside the bad block should be there, from ${from}`, check);
  }
  using page = Mapping.anonymous({ length: PAGE });
  page.fill(0, PAGE, other);
  try {
    fs.writeSync(fd, page.read(0, PAGE).bytes, 0, PAGE, BAD);
    ctx.prove('write(2)', 'taken');
    ctx.expect(!covers(badRanges(list), sector), 'a write that was taken should have mended the block', badRanges(list));
    const check = mapping.verify(BAD, PAGE, other);
    ctx.expect(check.ok, 'a mended page should show what was written', check);
  } catch (error) {
    // EFAULT: nothing could be written, as fs/dax.c has it where the driver cannot clear the block.
    const code = codeOf(error);
    if (code !== 'EIO' && code !== 'EFAULT') throw error;
    ctx.prove('write(2)', code);
    ctx.expect(covers(badRanges(list), sector), 'a write that was refused should leave the block bad', badRanges(list));
  }
}

/** The sectors before and behind are read and written; the bad one is refused, or mended by the write that it took. */
function throughDisk(ctx: Context, device: string, sector: number, bad: boolean): void {
  const fd = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_DIRECT);
  try {
    using buffer = Mapping.anonymous({ length: PAGE });
    const at = sector * 512;
    const attempt = (what: string, work: () => number): string => {
      try {
        const count = work();
        ctx.expect(count === PAGE, `${what} should be whole`, { count });
        return 'done';
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        return error.code;
      }
    };
    const seen = {
      before: attempt('reading the page before', () => buffer.readFrom(fd, at - PAGE, 0, PAGE)),
      bad: attempt('reading the bad page', () => buffer.readFrom(fd, at, 0, PAGE)),
      behind: attempt('reading the page behind', () => buffer.readFrom(fd, at + PAGE, 0, PAGE)),
      rewritten: attempt('writing the page behind', () => buffer.writeTo(fd, at + PAGE, 0, PAGE)),
    };
    ctx.prove('disk', seen);
    ctx.expect(seen.before === 'done' && seen.behind === 'done' && seen.rewritten === 'done', 'pages beside a bad block should be read and written', seen);
    ctx.expect(seen.bad === (bad ? 'EIO' : 'done'), 'a page with a bad block should be refused with EIO, and any other read', seen);
  } finally {
    fs.closeSync(fd);
  }
}
