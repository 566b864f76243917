// O_DIRECT transfers between DAX mappings and a device without DAX: the kernel pins the mapped pages (get_user_pages
// on PMD and PTE entries of ZONE_DEVICE pages) instead of copying. Shared by fsdax, devdax and, to compare, hugetlb.
import fs from 'node:fs';
import type { Place } from '../../device/place.js';
import { Mapping, patternBytes, verifyBytes, type Pattern } from '../../native.js';
import { PMD, mapped, proveLevel } from './huge.js';
import type { Context } from '../types.js';

export interface DirectIoSubject {
  /** Where its pages lie; undefined for ordinary memory. */
  place: Place | undefined;
  level: 'pte' | 'pmd' | 'pud';
  /** Bytes that are transferred, from the start of the mapping on. */
  length: number;
  /** A new mapping of the same bytes, with no page faulted in. */
  map: (prot: 'r' | 'rw') => Mapping;
}

/** Every order of fault and transfer that has broken before, each with its data compared. */
export async function directIo(ctx: Context, subject: DirectIoSubject): Promise<void> {
  const { length, level, place } = subject;
  const device = await ctx.blockDevice(2 * PMD + length);
  const disk = fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_DIRECT);
  ctx.cleanup(() => fs.closeSync(disk));
  const buffer = mapped(ctx, Mapping.anonymous({ length, align: PMD }));
  let seed = ctx.seed * 1000;

  /** What is on the disk now, read by O_DIRECT into ordinary memory. */
  const onDisk = (pattern: Pattern, what: string): void => {
    buffer.fill(0, length, { kind: 'byte', value: 0 });
    ctx.expect(buffer.readFrom(disk, 0, 0, length) === length, `${what}: the disk should give all bytes back`);
    const check = verifyBytes(buffer.read(0, length).bytes, pattern);
    ctx.expect(check.ok, `${what}: the disk should hold what the mapping held`, check);
  };
  const inMapping = (mapping: Mapping, pattern: Pattern, what: string): void => {
    const check = mapping.verify(0, length, pattern);
    ctx.expect(check.ok, `${what}: the mapping should show the right data`, check);
  };
  const next = (): Pattern => ({ kind: 'words', seed: ++seed, base: 0 });
  const send = (mapping: Mapping, what: string): void => {
    const sent = mapping.writeTo(disk, 0, 0, length);
    ctx.expect(sent === length, `${what}: O_DIRECT write should take all ${length} bytes`, { sent });
  };

  ctx.step('a faulted mapping to disk');
  const first = next();
  {
    using mapping = subject.map('rw');
    mapping.fill(0, length, first);
    proveLevel(ctx, place, mapping, 0, level, 'write-faulted');
    send(mapping, 'write-faulted mapping');
    onDisk(first, 'write-faulted mapping');
  }
  ctx.step('an unfaulted mapping to disk');
  {
    using mapping = subject.map('rw');
    send(mapping, 'unfaulted mapping');
    onDisk(first, 'unfaulted mapping');
    proveLevel(ctx, place, mapping, 0, level, 'faulted by O_DIRECT');
  }
  ctx.step('disk to a read-faulted mapping');
  const second = next();
  {
    buffer.write(0, patternBytes(length, second));
    ctx.expect(buffer.writeTo(disk, 0, 0, length) === length, 'the disk should take the second pattern');
    using mapping = subject.map('rw');
    const touched = mapping.touch({ offset: 0, count: 1, stride: PMD, access: 'read' });
    ctx.expect(touched.signal === undefined, 'a read fault should succeed', touched.signal);
    proveLevel(ctx, place, mapping, 0, level, 'read-faulted');
    ctx.expect(mapping.readFrom(disk, 0, 0, length) === length, 'O_DIRECT read into a read-faulted mapping should give all bytes');
    inMapping(mapping, second, 'read-faulted mapping');
  }
  ctx.step('fork with a faulted page');
  {
    using mapping = subject.map('rw');
    inMapping(mapping, second, 'before fork');
    proveLevel(ctx, place, mapping, 0, level, 'before fork');
    const child = mapping.forkVerify(0, length, second);
    ctx.expect(child.outcome === 'equal', 'a child should see the parent\'s data after fork', child);
    inMapping(mapping, second, 'after fork');
  }
  ctx.step('a read-only fault turned writable');
  const third = next();
  {
    using mapping = subject.map('rw');
    mapping.touch({ offset: 0, count: 1, stride: PMD, access: 'read' });
    proveLevel(ctx, place, mapping, 0, level, 'read-only');
    mapping.fill(0, length, third);
    proveLevel(ctx, place, mapping, 0, level, 'turned writable');
    send(mapping, 'mapping turned writable');
    onDisk(third, 'mapping turned writable');
  }
  ctx.step('disk to an unfaulted mapping');
  const fourth = next();
  {
    buffer.write(0, patternBytes(length, fourth));
    ctx.expect(buffer.writeTo(disk, 0, 0, length) === length, 'the disk should take the fourth pattern');
    using mapping = subject.map('rw');
    ctx.expect(mapping.readFrom(disk, 0, 0, length) === length, 'O_DIRECT read into an unfaulted mapping should give all bytes');
    inMapping(mapping, fourth, 'unfaulted mapping');
    proveLevel(ctx, place, mapping, 0, level, 'faulted by O_DIRECT read');
  }
  ctx.prove('bytes', length);
}
