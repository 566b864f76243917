// Kernel image files: what a file is, its release, and the uncompressed vmlinux inside a bzImage, which QEMU starts
// through its PVH entry in less than half the time. Source: Documentation/arch/x86/boot.rst (the setup header),
// scripts/extract-vmlinux for the idea that the payload is one of seven compression formats.
import { execFileSync } from 'node:child_process';
import zlib from 'node:zlib';
import { messageOf } from '../errors.js';

export type KernelImage =
  | { kind: 'bzImage'; release: string; payload: Uint8Array }
  | { kind: 'vmlinux'; release: string; pvh: boolean }
  | { kind: 'none'; why: string };

const MAGIC_BOOT = 0x53726448; // "HdrS"

/** Says what a kernel image file holds. Never throws for bad bytes: `none` carries the reason. */
export function identifyImage(bytes: Buffer): KernelImage {
  if (bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46) return identifyElf(bytes);
  if (bytes.length < 0x260 || bytes.readUInt32LE(0x202) !== MAGIC_BOOT)
    return { kind: 'none', why: describeForeign(bytes) };
  const version = bytes.readUInt16LE(0x206);
  if (version < 0x0208) return { kind: 'none', why: `boot protocol ${(version >> 8)}.${version & 255} is older than 2.8` };
  const setup = ((bytes[0x1f1] || 4) + 1) * 512;
  const start = setup + bytes.readUInt32LE(0x248);
  const length = bytes.readUInt32LE(0x24c);
  if (start + length > bytes.length || length < 1024)
    return { kind: 'none', why: `truncated: the header announces ${start + length} bytes, the file has ${bytes.length}` };
  if (version >= 0x020c && (bytes.readUInt16LE(0x236) & 1) === 0) return { kind: 'none', why: 'a 32-bit kernel; daxrig needs x86-64' };
  const text = bytes.readUInt16LE(0x20e) + 0x200;
  const release = bytes.toString('latin1', text, Math.min(text + 256, bytes.length)).split('\0')[0]!.split(' ')[0]!;
  return { kind: 'bzImage', release, payload: bytes.subarray(start, start + length) };
}

function identifyElf(bytes: Buffer): KernelImage {
  if (bytes[4] !== 2 || bytes.readUInt16LE(18) !== 62)
    return { kind: 'none', why: 'an ELF file of another architecture; daxrig needs an x86-64 kernel' };
  const banner = bytes.indexOf('Linux version ');
  const release = banner < 0 ? '' : /^Linux version ([\w.+~-]+)/.exec(bytes.toString('latin1', banner, banner + 200))?.[1] ?? '';
  if (release === '') return { kind: 'none', why: 'an ELF file without a "Linux version" banner' };
  return { kind: 'vmlinux', release, pvh: hasPvhNote(bytes) };
}

/** True when the ELF notes hold XEN_ELFNOTE_PHYS32_ENTRY (18), the entry that QEMU's direct boot uses. */
function hasPvhNote(bytes: Buffer): boolean {
  const tableOffset = Number(bytes.readBigUInt64LE(32));
  const entrySize = bytes.readUInt16LE(54);
  const count = bytes.readUInt16LE(56);
  for (let i = 0; i < count; i++) {
    const at = tableOffset + i * entrySize;
    if (at + entrySize > bytes.length) return false;
    if (bytes.readUInt32LE(at) !== 4) continue; // PT_NOTE
    const start = Number(bytes.readBigUInt64LE(at + 8));
    const end = Math.min(bytes.length, start + Number(bytes.readBigUInt64LE(at + 32)));
    for (let note = start; note + 12 <= end; ) {
      const nameSize = bytes.readUInt32LE(note);
      const valueSize = bytes.readUInt32LE(note + 4);
      if (bytes.readUInt32LE(note + 8) === 18 && bytes.toString('latin1', note + 12, note + 15) === 'Xen') return true;
      note += 12 + ((nameSize + 3) & ~3) + ((valueSize + 3) & ~3);
    }
  }
  return false;
}

function describeForeign(bytes: Buffer): string {
  if (bytes.length === 0) return 'an empty file';
  if (bytes.length < 0x260) return `too short for a kernel image (${bytes.length} bytes)`;
  if (bytes.toString('latin1', 0, 8) === '!<arch>\n') return 'an archive that is no kernel package';
  if (bytes.readUInt16LE(0) === 0x5a4d && bytes.toString('latin1', 0x38, 0x3c) === 'ARMd') return 'an arm64 kernel; daxrig needs x86-64';
  return 'neither a bzImage nor an ELF vmlinux';
}

interface Packing {
  name: string;
  magic: number[];
  unpack: (payload: Uint8Array) => Buffer;
}

const by = (tool: string, ...args: string[]) => (payload: Uint8Array): Buffer =>
  execFileSync(tool, args, { input: payload, maxBuffer: 1 << 30, stdio: ['pipe', 'pipe', 'pipe'] });
// All but gzip carry the uncompressed size in four bytes after the stream (size_append in scripts/Makefile.lib).
const bare = (payload: Uint8Array): Uint8Array => payload.subarray(0, payload.length - 4);

const PACKINGS: Packing[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], unpack: (payload) => zlib.gunzipSync(payload) },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], unpack: (payload) => by('xz', '-dc', '--single-stream')(bare(payload)) },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: (payload) => by('zstd', '-dcq')(bare(payload)) },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], unpack: (payload) => by('lz4', '-dcq')(bare(payload)) },
  { name: 'lzop', magic: [0x89, 0x4c, 0x5a], unpack: (payload) => by('lzop', '-dcq')(bare(payload)) },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68], unpack: (payload) => by('bzip2', '-dcq')(bare(payload)) },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00], unpack: (payload) => by('xz', '-dc', '--format=lzma')(bare(payload)) },
];

export type Extraction = { vmlinux: Buffer; packing: string } | { why: string };

/**
 * The vmlinux inside a bzImage's payload, or why there is none that QEMU could start directly (tool missing, unknown
 * packing, no PVH entry): the caller then boots the bzImage itself, which always works and is only slower.
 */
export function extractVmlinux(payload: Uint8Array): Extraction {
  const packing = PACKINGS.find(({ magic }) => magic.every((byte, i) => payload[i] === byte));
  if (!packing) return { why: 'unknown compression' };
  try {
    const vmlinux = packing.unpack(payload);
    const image = identifyImage(vmlinux);
    if (image.kind !== 'vmlinux') return { why: image.kind === 'none' ? image.why : 'not an ELF image inside' };
    return image.pvh ? { vmlinux, packing: packing.name } : { why: 'the kernel has no PVH entry (CONFIG_PVH)' };
  } catch (error) {
    return { why: `${packing.name}: ${messageOf(error).split('\n')[0]}` };
  }
}
