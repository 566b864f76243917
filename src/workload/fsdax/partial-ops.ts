// Guards what is done to parts of a huge DAX mapping: the huge entry must be split or dropped, never kept too large
// (mm/huge_memory.c: __split_huge_pmd and zap_huge_pmd for DAX, change_huge_pmd), and other processes must be able to
// look at it (mm/gup.c on devmap entries, which had their own rules until 6.15).
import fs from 'node:fs';
import { forkExec, processVmRead, verifyBytes, type Mapping, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, proveLevel, type HugeFile } from '../shared/huge.js';
import { startPeer } from '../shared/peer.js';
import { defineWorkload, type Context } from '../types.js';

const LENGTH = 2 * PMD;
const HALF = PMD / 2;
const words = (base: number) => ({ kind: 'words', seed: 64, base }) as const;

export default defineWorkload({
  name: 'fsdax/partial-ops',
  about: 'munmap, mprotect, MADV_DONTNEED and mremap of parts of huge mappings; fork, exec, process_vm_readv and /proc/PID/mem',
  guards: ['R4: huge and small entries of one file', 'ndctl dax-pmd: remap', 'kernel __split_huge_pmd, change_huge_pmd, get_user_pages_remote on DAX'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // splitting a huge entry is no file system's doing
  async run(ctx: Context) {
    const file = hugeFile(ctx, LENGTH);
    {
      using mapping = mapFile(ctx, file);
      mapping.fill(0, LENGTH, words(0));
    }
    unmapHalf(ctx, file);
    protectHalf(ctx, file);
    dropMiddle(ctx, file);
    privateCopies(ctx, file);
    moveAcross(ctx, file);
    forks(ctx, file);
    await others(ctx, file);
  },
});

/** A new mapping, all of it in huge entries. */
function huge(ctx: Context, file: HugeFile, label: string): Mapping {
  const mapping = mapFile(ctx, file);
  mapping.touch({ offset: 0, count: 2, stride: PMD, access: 'rmw' });
  for (const at of [0, PMD]) proveLevel(ctx, ctx.fsdax, mapping, at, 'pmd', `${label}, before, ${at}`);
  return mapping;
}

function holds(ctx: Context, mapping: Mapping, from: number, to: number, what: string): void {
  const check = mapping.verify(from, to - from, words(from));
  ctx.expect(check.ok, `${what}: bytes ${from}..${to} should be the file's`, check);
}

function unmapHalf(ctx: Context, file: HugeFile): void {
  ctx.step('munmap of half a huge page');
  using mapping = huge(ctx, file, 'munmap');
  mapping.unmap(HALF, HALF);
  const gone = mapping.touch({ offset: HALF, count: 1 });
  ctx.expect(gone.signal?.signal === 'SIGSEGV', 'munmap: the unmapped half should be gone', gone);
  holds(ctx, mapping, 0, HALF, 'munmap');
  holds(ctx, mapping, PMD, LENGTH, 'munmap');
  proveLevel(ctx, ctx.fsdax, mapping, 0, 'pte', 'munmap, what is left of the huge page');
  proveLevel(ctx, ctx.fsdax, mapping, PMD, 'pmd', 'munmap, the huge page beside');
}

function protectHalf(ctx: Context, file: HugeFile): void {
  ctx.step('mprotect of half a huge page');
  using mapping = huge(ctx, file, 'mprotect');
  mapping.mprotect(0, HALF, 'r');
  const refused = mapping.touch({ offset: HALF - PAGE, count: 1, access: 'rmw' });
  ctx.expect(refused.signal?.code === 'SEGV_ACCERR', 'mprotect: a store into the read-only half should be refused', refused);
  const allowed = mapping.fill(HALF, HALF, words(HALF));
  ctx.expect(allowed.signal === undefined, 'mprotect: the other half should take stores', allowed);
  holds(ctx, mapping, 0, LENGTH, 'mprotect');
  mapping.mprotect(PMD, PMD, 'none');
  const none = mapping.touch({ offset: PMD, count: 1 });
  ctx.expect(none.signal?.code === 'SEGV_ACCERR', 'mprotect: a load from an inaccessible huge page should be refused', none);
  mapping.mprotect(0, LENGTH, 'rw');
  const again = mapping.fill(0, LENGTH, words(0));
  ctx.expect(again.signal === undefined, 'mprotect: with access given back, all should take stores', again);
  holds(ctx, mapping, 0, LENGTH, 'mprotect, back');
}

function dropMiddle(ctx: Context, file: HugeFile): void {
  ctx.step('MADV_DONTNEED in the middle');
  using mapping = huge(ctx, file, 'dontneed');
  mapping.madvise(HALF, PMD, 'dontneed'); // the end of one huge page, the start of the next
  const [before] = mapping.pagemap(HALF, 1);
  ctx.expect(before!.present === false, 'MADV_DONTNEED: the pages should no longer be mapped', before);
  holds(ctx, mapping, 0, LENGTH, 'MADV_DONTNEED');
}

function privateCopies(ctx: Context, file: HugeFile): void {
  ctx.step('private copies over a huge entry');
  using mapping = mapFile(ctx, file, { share: 'private' });
  mapping.touch({ offset: 0, count: 2, stride: PMD, access: 'read' });
  const own: Pattern = { kind: 'words', seed: 65, base: HALF };
  mapping.fill(HALF, PAGE, own);
  ctx.expect(mapping.verify(HALF, PAGE, own).ok, 'a private copy should show its store');
  holds(ctx, mapping, 0, HALF, 'beside a private copy');
  holds(ctx, mapping, HALF + PAGE, LENGTH, 'beside a private copy');
  mapping.madvise(0, PMD, 'dontneed');
  holds(ctx, mapping, 0, LENGTH, 'a private mapping whose copy was dropped');
}

function moveAcross(ctx: Context, file: HugeFile): void {
  ctx.step('mremap across two huge pages');
  const target = mapFile(ctx, file); // a DAX mapping, too: what lay in the place is replaced
  using mapping = huge(ctx, file, 'mremap');
  const from = PMD - 16 * PAGE;
  const length = 32 * PAGE;
  mapping.remapOnto(from, length, target, PMD + 3 * PAGE);
  const moved = target.verify(PMD + 3 * PAGE, length, words(from));
  ctx.expect(moved.ok, 'mremap: the moved pages should show the file\'s data', moved);
  const gone = mapping.touch({ offset: from, count: 1 });
  ctx.expect(gone.signal !== undefined, 'mremap: the place moved from should be unmapped', gone);
  holds(ctx, mapping, 0, from, 'mremap');
  holds(ctx, mapping, from + length, LENGTH, 'mremap');
  // Whole huge pages move as such.
  using second = huge(ctx, file, 'mremap, whole');
  second.remapOnto(0, PMD, target, 0);
  const whole = target.verify(0, PMD, words(0));
  ctx.expect(whole.ok, 'mremap: a moved huge page should show the file\'s data', whole);
  proveLevel(ctx, ctx.fsdax, target, 0, 'pmd', 'mremap, a whole huge page');
  const dirty: Pattern = { kind: 'words', seed: 66, base: 0 };
  target.fill(0, PAGE, dirty);
  const bytes = Buffer.alloc(PAGE);
  fs.readSync(file.fd, bytes, 0, PAGE, file.offset);
  ctx.expect(verifyBytes(bytes, dirty).ok, 'mremap: a store at the new address should reach the file');
  target.fill(0, PAGE, words(0));
}

function forks(ctx: Context, file: HugeFile): void {
  ctx.step('fork');
  using mapping = huge(ctx, file, 'fork');
  const child = mapping.forkVerify(0, LENGTH, words(0));
  ctx.expect(child.outcome === 'equal', 'fork: the child should see the file\'s data', child);
  const stored: Pattern = { kind: 'words', seed: 67, base: 0 };
  const wrote = mapping.forkWrite(PMD, PAGE, stored);
  ctx.expect(wrote.outcome === 'written', 'fork: the child should be able to store', wrote);
  const seen = mapping.verify(PMD, PAGE, stored);
  ctx.expect(seen.ok, 'fork: a child\'s store should be seen through a shared mapping', seen);
  mapping.fill(PMD, PAGE, words(PMD));
  {
    using own = mapFile(ctx, file, { share: 'private' });
    own.touch({ offset: 0, count: 2, stride: PMD, access: 'read' });
    const alone = own.forkWrite(HALF, PAGE, stored);
    ctx.expect(alone.outcome === 'written', 'fork: the child should be able to store into a private mapping', alone);
    holds(ctx, own, 0, LENGTH, 'fork, a private mapping after the child\'s store');
  }
  ctx.step('exec');
  const program = forkExec('/bin/true');
  ctx.expect(program.status === 0, 'exec: a forked child should become another program', program);
  holds(ctx, mapping, 0, LENGTH, 'after a child\'s exec');
  proveLevel(ctx, ctx.fsdax, mapping, 0, 'pmd', 'after fork and exec');
}

/** Access to the mapping from outside: this process through the kernel, and another process. */
async function others(ctx: Context, file: HugeFile): Promise<void> {
  ctx.step('process_vm_readv and /proc/PID/mem');
  using faulted = huge(ctx, file, 'remote');
  using unfaulted = mapFile(ctx, file);
  const memory = fs.openSync('/proc/self/mem', 'r+');
  try {
    for (const [label, mapping] of [['faulted', faulted], ['unfaulted', unfaulted]] as const) {
      const bytes = Buffer.alloc(LENGTH);
      const got = fs.readSync(memory, bytes, 0, LENGTH, Number(mapping.address));
      ctx.expect(got === LENGTH && verifyBytes(bytes, words(0)).ok, `/proc/PID/mem of a ${label} mapping should give the file's data`, { got });
    }
  } finally {
    fs.closeSync(memory);
  }
  const self = processVmRead(process.pid, faulted.address, LENGTH);
  ctx.expect(verifyBytes(self, words(0)).ok, 'process_vm_readv should give the file\'s data', { length: self.length });
  const peer = startPeer(ctx);
  {
    using fresh = mapFile(ctx, file);
    const read = await peer.ask({ do: 'vm-verify', pid: process.pid, address: fresh.address, length: LENGTH, pattern: words(0) });
    ctx.prove('process_vm_readv by another process', { read: read.read });
    ctx.expect(read.ok === true && read.read === LENGTH, 'process_vm_readv by another process should give the file\'s data', read);
    proveLevel(ctx, ctx.fsdax, fresh, PMD, 'pmd', 'faulted by another process');
  }
  await peer.end();
}
