// Guards O_DIRECT by io_uring to and from DAX mappings: the pages are pinned by kernel workers and completions, not by the call
// that waits (lib/iov_iter.c, io_uring/rw.c), many requests at once on one huge entry; and the refusal to pin them for as long as a
// ring likes (FOLL_LONGTERM, mm/gup.c), for a file system could never have its blocks back.
import fs from 'node:fs';
import { SystemError } from '../../errors.js';
import { Mapping, patternBytes, type Pattern } from '../../native.js';
import { PMD, hugeFile, mapFile, mapped, proveLevel } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 2 * PMD;
const PARTS = 16;

export default defineWorkload({
  name: 'fsdax/io-uring',
  about: 'O_DIRECT by io_uring, 16 requests at once, to and from mapped files at 2 MiB: unfaulted, read- and write-faulted; registering them is refused',
  guards: ['R2: DMA to DAX pages', 'kernel commit 2bb6d2837083: no long-term pins of fsdax pages'],
  needs: { dax: 'fsdax', size: 64 * PMD, tools: ['losetup'], kconfig: ['IO_URING'] },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // the pages are pinned alike; fsdax/direct-io has both
  async run(ctx: Context) {
    const file = hugeFile(ctx, LENGTH);
    const disk = fs.openSync(await ctx.blockDevice(2 * LENGTH), fs.constants.O_RDWR | fs.constants.O_DIRECT);
    ctx.cleanup(() => fs.closeSync(disk));
    const buffer = mapped(ctx, Mapping.anonymous({ length: LENGTH, align: PMD }));
    needRing(ctx, buffer, disk);
    let seed = ctx.seed * 1000;
    const next = (): Pattern => ({ kind: 'words', seed: ++seed, base: 0 });

    const move = async (mapping: Mapping, direction: 'to-file' | 'from-file', what: string): Promise<void> => {
      ctx.step(what);
      const moved = await mapping.ringTransferAsync({ fd: disk, length: LENGTH, direction, parts: PARTS });
      ctx.expect(moved === LENGTH, `${what}: ${PARTS} requests should move all ${LENGTH} bytes`, { moved });
    };
    /** By read(2) and write(2): what the ring did, or is to meet. */
    const onDisk = (pattern: Pattern, what: string): void => {
      buffer.fill(0, LENGTH, { kind: 'byte', value: 0 });
      ctx.expect(buffer.readFrom(disk, 0, 0, LENGTH) === LENGTH, `${what}: the disk should give all bytes back`);
      const check = buffer.verify(0, LENGTH, pattern);
      ctx.expect(check.ok, `${what}: the disk should hold what the mapping held`, check);
    };
    const toDisk = (pattern: Pattern): void => {
      buffer.write(0, patternBytes(LENGTH, pattern));
      ctx.expect(buffer.writeTo(disk, 0, 0, LENGTH) === LENGTH, 'the disk should take a pattern by write(2)');
    };
    const inMapping = (mapping: Mapping, pattern: Pattern, what: string): void => {
      const check = mapping.verify(0, LENGTH, pattern);
      ctx.expect(check.ok, `${what}: the mapping should show the right data`, check);
    };

    const first = next();
    {
      using mapping = mapFile(ctx, file);
      mapping.fill(0, LENGTH, first);
      proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', 'write-faulted');
      await move(mapping, 'to-file', 'a write-faulted mapping to disk');
      onDisk(first, 'a write-faulted mapping');
    }
    {
      using mapping = mapFile(ctx, file);
      buffer.fill(0, LENGTH, { kind: 'byte', value: 0 });
      ctx.expect(buffer.writeTo(disk, 0, 0, LENGTH) === LENGTH, 'the disk should take zeros');
      await move(mapping, 'to-file', 'an unfaulted mapping to disk');
      onDisk(first, 'an unfaulted mapping');
      proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', 'faulted by io_uring');
    }
    for (const faulted of [true, false]) {
      const what = faulted ? 'disk to a read-faulted mapping' : 'disk to an unfaulted mapping';
      const pattern = next();
      toDisk(pattern);
      using mapping = mapFile(ctx, file);
      if (faulted) mapping.touch({ count: LENGTH / PMD, stride: PMD, access: 'read' });
      await move(mapping, 'from-file', what);
      inMapping(mapping, pattern, what);
      proveLevel(ctx, ctx.fsdax, mapping, LENGTH - PMD, 'pmd', what);
      using again = mapFile(ctx, file);
      inMapping(again, pattern, `${what}, mapped again`);
    }
    await registered(ctx, buffer, mapFile(ctx, file), disk);
    ctx.prove('bytes', LENGTH);
  },
});

/** No io_uring is no failure of DAX. */
function needRing(ctx: Context, buffer: Mapping, disk: number): void {
  try {
    buffer.ringTransfer({ fd: disk, length: PMD, direction: 'from-file' });
  } catch (error) {
    if (!(error instanceof SystemError) || error.syscall !== 'io_uring_setup') throw error;
    ctx.skip(error.code === 'EPERM' ? 'needs io_uring, which is disabled here; allow it by: sysctl kernel.io_uring_disabled=0' : `needs io_uring, which this kernel does not have (${error.code})`);
  }
}

/** Registered memory is pinned until the ring is gone: ordinary memory may be, pages of a file system may not. */
async function registered(ctx: Context, buffer: Mapping, mapping: Mapping, disk: number): Promise<void> {
  ctx.step('registering ordinary memory');
  const moved = buffer.ringTransfer({ fd: disk, length: LENGTH, direction: 'to-file', parts: PARTS, registered: true });
  ctx.expect(moved === LENGTH, 'ordinary memory should transfer when registered', { moved });
  ctx.step('registering DAX pages');
  const code = await ctx.expectError('registering the pages of a file on DAX', ['EOPNOTSUPP', 'EFAULT'], () => mapping.ringTransfer({ fd: disk, length: LENGTH, direction: 'to-file', registered: true }));
  ctx.prove('registering', code);
}
