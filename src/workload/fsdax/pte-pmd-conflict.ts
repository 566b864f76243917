// Guards look-ups that find an entry of the wrong size: report R4 (a PTE entry at index 1023 while a huge fault comes in at
// 512; the broken look-up gave NULL and a locked entry was erased). Faults of both sizes meet in one 2 MiB extent while its
// entries are dropped by MADV_DONTNEED, unmapping and zeroing, and while write(2) goes to the same pages. Each writer has words of
// its own in every page and knows what it stored last: each word is that, or zero since the extent was zeroed. Where a small page has been
// no huge one is made, until all entries of the extent are gone: zeroing it makes room for the next.
import fs from 'node:fs';
import { Mapping, patternBytes, verifyBytes, type RaceResult } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, mapped, proveLevel, type HugeFile } from '../shared/huge.js';
import { allowOnly, raceMetrics, runRace } from '../shared/race.js';
import { countBothSizes } from '../shared/trace.js';
import { defineWorkload, type Context } from '../types.js';

/** The page that is written whole; the only one without words of the writers. */
const WRITTEN = 256;
/** Where in each page the words of each writer are. */
const SLOT = { small: 0, huge: 64, file: 128 } as const;
const SEED = 71;

export default defineWorkload({
  name: 'fsdax/pte-pmd-conflict',
  about: 'faults of 4 KiB and 2 MiB in one extent against each other, unmapping, zeroing and write(2): nothing is lost',
  guards: ['R4: a PTE entry where a PMD entry was looked for'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // the look-ups are fs/dax.c's own; poison-races lets both sizes meet on xfs
  metrics: raceMetrics,
  async run(ctx: Context) {
    const file = hugeFile(ctx, 4 * PMD);
    fs.writeSync(file.fd, untouched(file.length), 0, file.length, file.offset);
    // One mapping can have huge pages, the other is off by a page and cannot.
    const huge = mapFile(ctx, file);
    const small = mapFile(ctx, file, { align: PMD, alignSkew: PAGE });
    huge.touch({ offset: PMD, count: 1, access: 'rmw' });
    proveLevel(ctx, ctx.fsdax, huge, PMD, 'pmd', 'before the race');
    huge.madvise(0, huge.length, 'dontneed');
    const third = mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD }));

    /** The second 2 MiB of the file: indexes 512 to 1023, last first, in the half behind the page that is written whole. */
    const pages = (slot: number, a: number) => ({ base: PMD + slot + (WRITTEN + 1) * PAGE, unit: PAGE, count: 511 - WRITTEN, a, b: 510 - WRITTEN });
    const inFile = (slot: number, a: number) => ({ ...pages(slot, a), base: pages(slot, a).base + file.offset });
    const written = file.offset + PMD + WRITTEN * PAGE;
    const expectBothSizes = countBothSizes(ctx);
    const result = await runRace(ctx, {
      rounds: 1200,
      hangs: true,
      actors: [
        {
          name: 'huge',
          steps: [
            // All entries of the extent go; who comes first decides of which size the next are.
            { op: 'fallocate', mode: 'zero-range', fd: file.fd, fileAt: file.offset + PMD, length: PMD, every: 16, group: 1 },
            // A page table, once made for small entries, stays: only a new mapping asks for a huge one.
            { op: 'map', mapping: huge, at: PMD, length: PMD, fd: file.fd, fileAt: file.offset + PMD, every: 4, group: 1 },
            { op: 'stamp', mapping: huge, at: pages(SLOT.huge, 7), zeroAllowed: true, group: 1 },
            { op: 'madvise', advice: 'dontneed', mapping: huge, at: PMD, length: PMD, every: 3, group: 1 },
          ],
        },
        {
          name: 'small',
          steps: [
            { op: 'stamp', mapping: small, at: { ...pages(SLOT.small, 0), count: 1, base: 2 * PMD - PAGE + SLOT.small }, every: 2, zeroAllowed: true, group: 2 },
            { op: 'stamp', mapping: small, at: { ...pages(SLOT.small, 5), count: 510 - WRITTEN }, every: 2, phase: 1, zeroAllowed: true, group: 2 },
            { op: 'madvise', advice: 'dontneed', mapping: small, at: PMD, length: PMD, every: 2, group: 2 },
          ],
        },
        {
          name: 'file',
          steps: [
            { op: 'file-stamp', fd: file.fd, fileAt: inFile(SLOT.file, 3), zeroAllowed: true, group: 3 },
            // The entry of the page goes, whatever its size; the write makes the blocks alike again.
            { op: 'fallocate', mode: 'zero-range', fd: file.fd, fileAt: written, length: PAGE, every: 4, group: 3 },
            { op: 'file-fill', fd: file.fd, fileAt: written, length: PAGE, pattern: { seed: SEED, base: 0 }, every: 4, phase: 1, group: 3 },
          ],
        },
        {
          name: 'mapper',
          steps: [
            { op: 'map', mapping: third, length: PMD, fd: file.fd, fileAt: file.offset + PMD, group: 4 },
            ...Array.from({ length: 6 }, () => ({ op: 'load', mapping: third, at: { unit: PAGE, count: 512, random: true }, group: 4 }) as const),
            { op: 'madvise', advice: 'dontneed', mapping: third, length: PMD, group: 4 },
            { op: 'load', mapping: third, at: { unit: PAGE, count: 512, random: true }, group: 4 },
            { op: 'unmap', mapping: third, length: PMD, group: 4 },
          ],
        },
      ],
    });
    allowOnly(ctx, result, [], []);
    ctx.expect(result.claimed > 0, 'operations should have met', result.pairs.slice(0, 5));
    expectBothSizes();
    ctx.step('comparing every byte');
    const read = Buffer.alloc(file.length);
    fs.readSync(file.fd, read, 0, file.length, file.offset);
    compare(ctx, file, result, read, 'read(2)');
    for (const [name, mapping] of [['2 MiB mapping', huge], ['4 KiB mapping', small]] as const) {
      const { bytes, signal } = mapping.read(0, file.length);
      ctx.expect(signal === undefined, `the ${name} should be readable`, signal);
      compare(ctx, file, result, bytes, name);
    }
  },
});

/** The file before the race: known words in its first extent and behind the second, which is written with zeros. */
function untouched(length: number): Buffer {
  return patternBytes(length, { kind: 'words', seed: SEED, base: 0 }).fill(0, PMD, 2 * PMD);
}

/** The writers' words are what they stored last, or zero; everything else is as it was. */
function compare(ctx: Context, file: HugeFile, { actors: [huge, small, writer] }: RaceResult, bytes: Buffer, by: string): void {
  const expected = untouched(file.length);
  let kept = 0;
  const stored = (offset: number, words: BigUint64Array | undefined): void =>
    words?.forEach((word, i) => {
      const at = offset + i * PAGE;
      if (bytes.readBigUInt64LE(at) === 0n) return; // zeroed since
      kept++;
      expected.writeBigUInt64LE(word, at);
    });
  const first = PMD + (WRITTEN + 1) * PAGE;
  stored(first + SLOT.huge, huge!.steps[2]!.last);
  stored(2 * PMD - PAGE + SLOT.small, small!.steps[0]!.last);
  stored(first + SLOT.small, small!.steps[1]!.last);
  stored(first + SLOT.file, writer!.steps[0]!.last);
  ctx.prove(`${by}: words that were not zeroed since`, kept);
  // Zeroed and not written yet, or written: the race may end between the two.
  const at = PMD + WRITTEN * PAGE;
  const page = bytes.subarray(at, at + PAGE);
  const filled = verifyBytes(page, { kind: 'words', seed: SEED, base: file.offset + at });
  ctx.expect(page.every((byte) => byte === 0) || filled.ok, `${by}: the page that is written whole should hold zeros or what was written to it`, filled);
  page.copy(expected, at);
  if (bytes.equals(expected)) return;
  const wrong = expected.findIndex((byte, i) => byte !== bytes[i]);
  const word = wrong - (wrong % 8);
  ctx.expect(false, `${by}: every byte should be what was stored there last`, { offset: word, expected: expected.readBigUInt64LE(word), actual: bytes.readBigUInt64LE(word) });
}
