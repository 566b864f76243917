// What of an ELF file a program is run from. Source: elf(5), gABI chapter 4.

const MAGIC = 0x7f454c46;
const CLASS64 = 2;
const LITTLE_ENDIAN = 1;
const SECTION_HEADER_BYTES = 64;
const INTERPRETER = 3; // PT_INTERP

/** The file positions of a 64-bit little-endian file's program headers; undefined for any other file. */
function programHeaders(file: Buffer): number[] | undefined {
  if (file.length < 64 || file.readUInt32BE(0) !== MAGIC || file[4] !== CLASS64 || file[5] !== LITTLE_ENDIAN) return undefined;
  const [start, size, count] = [Number(file.readBigUInt64LE(0x20)), file.readUInt16LE(0x36), file.readUInt16LE(0x38)];
  return start + count * size > file.length ? undefined : Array.from({ length: count }, (_, i) => start + i * size);
}

const fileOffset = (file: Buffer, header: number): number => Number(file.readBigUInt64LE(header + 0x08));
const fileSize = (file: Buffer, header: number): number => Number(file.readBigUInt64LE(header + 0x20));

/** The dynamic loader that a program asks for, from its first bytes; undefined when it is static, a library, or no program. */
export function interpreterOf(start: Buffer): string | undefined {
  const header = programHeaders(start)?.find((at) => start.readUInt32LE(at) === INTERPRETER);
  if (header === undefined) return undefined;
  const from = fileOffset(start, header);
  return start.toString('utf8', from, from + fileSize(start, header)).replace(/\0.*$/s, '');
}

/**
 * A 64-bit program or library without what only linkers and debuggers read: the symbols and sections behind its last segment. A guest
 * would carry them in memory for nothing (12% of Node). `start` holds the file's program headers at least; its own header is changed
 * where something is left out. Whole goes in: whatever is no such file, or has something else at its end.
 */
export function loadedPart(start: Buffer, size: number): { head: Buffer; length: number } {
  const whole = { head: start, length: size };
  const headers = programHeaders(start);
  if (headers === undefined || headers.length === 0) return whole;
  const sectionHeaders = Number(start.readBigUInt64LE(0x28));
  const sections = start.readUInt16LE(0x3c);
  // Bytes behind the section headers are somebody's payload.
  if (sections === 0 || sectionHeaders + sections * SECTION_HEADER_BYTES !== size) return whole;
  const end = Math.max(...headers.map((at) => Math.max(at + 56, fileOffset(start, at) + fileSize(start, at))));
  if (end >= sectionHeaders) return whole;
  start.writeBigUInt64LE(0n, 0x28); // e_shoff
  start.fill(0, 0x3a, 0x40); // e_shentsize, e_shnum, e_shstrndx
  return { head: start, length: end };
}
