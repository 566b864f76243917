// What of an ELF file a program is run from. Source: elf(5), gABI chapter 4.

const MAGIC = 0x7f454c46;
const CLASS64 = 2;
const LITTLE_ENDIAN = 1;
const SECTION_HEADER_BYTES = 64;

/**
 * A 64-bit program or library without what only linkers and debuggers read: the symbols and sections behind its last segment. A guest
 * would carry them in memory for nothing (12% of Node). Changes the header in `file` itself, which may be large. Given back as it is: whatever
 * is no such file, or has something else at its end.
 */
export function loadedPart(file: Buffer): Buffer {
  if (file.length < 64 || file.readUInt32BE(0) !== MAGIC || file[4] !== CLASS64 || file[5] !== LITTLE_ENDIAN) return file;
  const programHeaders = Number(file.readBigUInt64LE(0x20));
  const sectionHeaders = Number(file.readBigUInt64LE(0x28));
  const [size, count] = [file.readUInt16LE(0x36), file.readUInt16LE(0x38)];
  const sections = file.readUInt16LE(0x3c);
  // Bytes behind the section headers are somebody's payload.
  if (count === 0 || sections === 0 || sectionHeaders + sections * SECTION_HEADER_BYTES !== file.length || programHeaders + count * size > file.length) return file;
  let end = programHeaders + count * size;
  for (let i = 0; i < count; i++) {
    const at = programHeaders + i * size;
    end = Math.max(end, Number(file.readBigUInt64LE(at + 0x08)) + Number(file.readBigUInt64LE(at + 0x20)));
  }
  if (end >= sectionHeaders) return file;
  const part = file.subarray(0, end);
  part.writeBigUInt64LE(0n, 0x28); // e_shoff
  part.fill(0, 0x3a, 0x40); // e_shentsize, e_shnum, e_shstrndx
  return part;
}
