// Reads a kernel's symbols from the files that carry them: vmlinux (ELF), System.map, a copy of /proc/kallsyms.
// Sources: the System V ABI's chapter on object files; kernel/kallsyms.c for what counts as a symbol.
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { codeOf, messageOf, UsageError } from '../errors.js';
import { SymbolTableBuilder, isMapLine, type SymbolTable } from '../kernel/symbols.js';

export interface KernelSymbols {
  /** The file that they come from. */
  file: string;
  table: SymbolTable;
  /** uname -r of that kernel, where the file says it. */
  release?: string;
  /** The file is a vmlinux. */
  elf: boolean;
  /** The file has debug information: addresses have lines. */
  lines: boolean;
}

const SHT_SYMTAB = 2;
const SHT_NOBITS = 8;
const SHF_EXECINSTR = 4n;
const STT_NOTYPE = 0;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const ET_REL = 1;
/** Lines of a symbol list that may be something else before it is no symbol list. */
const STRAY_LINES = 20;

function unreadable(option: string, file: string, error: unknown): UsageError {
  const code = codeOf(error);
  if (code === 'ENOENT') return new UsageError(`${option} ${file}: no such file`, { cause: error });
  if (code === 'EISDIR') return new UsageError(`${option} ${file}: is a folder; name the file`, { cause: error });
  return new UsageError(`${option} ${file}: cannot be read (${code ?? messageOf(error)})`, { cause: error });
}

/** Symbols of System.map or of a saved /proc/kallsyms, read as a stream. Throws UsageError for anything else. */
export async function loadSystemMap(file: string): Promise<KernelSymbols> {
  const option = '--system-map';
  const builder = new SymbolTableBuilder();
  let lines = 0;
  let stray = 0;
  try {
    for await (const line of createInterface({ input: fs.createReadStream(file, { highWaterMark: 1 << 20 }), crlfDelay: Infinity })) {
      const stub = /real System\.map is in the (\S+)/.exec(line);
      if (stub !== null) throw new UsageError(`${option} ${file}: only says where the real one is: install the package ${stub[1]} and name the file in it`);
      if (builder.line(line)) lines++;
      else if (line.startsWith('\u007fELF')) throw new UsageError(`${option} ${file}: is an ELF file; give it as --vmlinux`);
      else if (line.trim() !== '' && ++stray > STRAY_LINES && stray > lines) break;
    }
  } catch (error) {
    throw error instanceof UsageError ? error : unreadable(option, file, error);
  }
  if (lines === 0 || stray > lines) throw new UsageError(`${option} ${file}: holds no symbols (lines like "ffffffff81000000 T _text")`);
  const table = builder.build();
  if (table.hidden) throw new UsageError(`${option} ${file}: all addresses are ${lines > 1 ? 'the same' : 'one'}: /proc/kallsyms hides them; read it as root with kernel.kptr_restrict=0`);
  if (table.functions === 0) throw new UsageError(`${option} ${file}: lists no functions`);
  return { file, table, elf: false, lines: false };
}

interface Section {
  type: number;
  flags: bigint;
  address: bigint;
  offset: number;
  size: number;
  link: number;
  entrySize: number;
  nameAt: number;
  name: string;
}

/** Reads parts of an ELF file without taking it into memory: a vmlinux with debug information has hundreds of megabytes. */
class ElfFile {
  readonly sections: Section[] = [];
  readonly type: number;
  readonly wide: boolean;
  readonly #fd: number;
  readonly #little: boolean;
  readonly #size: number;

  constructor(fd: number) {
    this.#fd = fd;
    this.#size = fs.fstatSync(fd).size;
    const head = this.read(0, 64);
    if (head.readUInt32BE(0) !== 0x7f454c46) throw new UsageError('not an ELF file');
    this.wide = head[4] === 2;
    this.#little = head[5] === 1;
    this.type = this.u16(head, 16);
    const [tableAt, entry, count, names] = this.wide
      ? [Number(this.u64(head, 40)), this.u16(head, 58), this.u16(head, 60), this.u16(head, 62)]
      : [this.u32(head, 32), this.u16(head, 46), this.u16(head, 48), this.u16(head, 50)];
    if (tableAt === 0 || count === 0) return;
    const table = this.read(tableAt, entry * count);
    for (let index = 0; index < count; index++) this.sections.push(this.#section(table, index * entry));
    const strings = this.sections[names] && this.bytes(this.sections[names]);
    if (strings !== undefined) for (const section of this.sections) section.name = textAt(strings, section.nameAt);
  }

  u16 = (bytes: Buffer, at: number): number => (this.#little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at));
  u32 = (bytes: Buffer, at: number): number => (this.#little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  u64 = (bytes: Buffer, at: number): bigint => (this.#little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at));

  read(at: number, length: number): Buffer {
    if (!(at >= 0 && length >= 0 && at + length <= this.#size)) throw new UsageError('a cut off ELF file');
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const got = fs.readSync(this.#fd, bytes, done, length - done, at + done);
      if (got === 0) throw new UsageError('a cut off ELF file');
      done += got;
    }
    return bytes;
  }

  bytes(section: Section): Buffer {
    return section.type === SHT_NOBITS ? Buffer.alloc(0) : this.read(section.offset, section.size);
  }

  #section(table: Buffer, at: number): Section {
    const { u32, u64 } = this;
    const common = { nameAt: u32(table, at), type: u32(table, at + 4), name: '' };
    return this.wide
      ? { ...common, flags: u64(table, at + 8), address: u64(table, at + 16), offset: Number(u64(table, at + 24)), size: Number(u64(table, at + 32)), link: u32(table, at + 40), entrySize: Number(u64(table, at + 56)) }
      : { ...common, flags: BigInt(u32(table, at + 8)), address: BigInt(u32(table, at + 12)), offset: u32(table, at + 16), size: u32(table, at + 20), link: u32(table, at + 24), entrySize: u32(table, at + 36) };
  }
}

function textAt(bytes: Buffer, at: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString('latin1', at, end < 0 ? bytes.length : end);
}

/** Symbols of a vmlinux. Throws UsageError for a file that is none, or has no symbols. */
export function loadVmlinux(file: string): KernelSymbols {
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, 'r');
    return { file, elf: true, ...readElf(new ElfFile(fd)) };
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`--vmlinux ${file}: ${error.message}${hint(file)}`);
    throw unreadable('--vmlinux', file, error);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** What somebody may have given instead of a vmlinux. */
function hint(file: string): string {
  const head = fs.readFileSync(file, { encoding: 'latin1' }).slice(0, 0x206);
  if (head.slice(0x202, 0x206) === 'HdrS') return '; a bzImage has no symbols, the vmlinux of its debug package or build tree has';
  return isMapLine(head.split('\n')[0] ?? '') ? '; give a System.map as --system-map' : '';
}

function readElf(elf: ElfFile): Omit<KernelSymbols, 'file' | 'elf'> {
  if (elf.type === ET_REL) throw new UsageError('an object file or module, not a linked kernel');
  const symtab = elf.sections.find(({ type }) => type === SHT_SYMTAB);
  const strtab = symtab && elf.sections[symtab.link];
  const size = elf.wide ? 24 : 16;
  if (symtab === undefined || strtab === undefined || symtab.size < 2 * size) throw new UsageError('has no symbols: it is stripped; the vmlinux of a debug package or build tree has them');
  const [symbols, strings] = [elf.bytes(symtab), elf.bytes(strtab)];
  const builder = new SymbolTableBuilder();
  let banner: { address: bigint; section: Section } | undefined;
  for (let at = 0; at + size <= symbols.length; at += size) {
    const info = symbols[at + (elf.wide ? 4 : 12)]! & 15;
    const section = elf.sections[elf.u16(symbols, at + (elf.wide ? 6 : 14))];
    if (info > STT_FUNC || section === undefined || section.type === 0) continue;
    const name = textAt(strings, elf.u32(symbols, at));
    if (name === '') continue;
    const address = elf.wide ? elf.u64(symbols, at + 8) : BigInt(elf.u32(symbols, at + 4));
    builder.add(address, name, info === STT_FUNC || (info === STT_NOTYPE && (section.flags & SHF_EXECINSTR) !== 0n));
    if (name === 'linux_banner' && info <= STT_OBJECT) banner = { address, section };
  }
  const table = builder.build();
  if (table.functions === 0) throw new UsageError('has no function symbols: it is stripped; the vmlinux of a debug package or build tree has them');
  const release = banner && releaseAt(elf, banner.address, banner.section);
  return { table, lines: elf.sections.some(({ name }) => name === '.debug_info' || name === '.zdebug_info'), ...(release === undefined ? {} : { release }) };
}

/** The release in "Linux version RELEASE ...", which every kernel carries. */
function releaseAt(elf: ElfFile, address: bigint, section: Section): string | undefined {
  const at = Number(address - section.address);
  if (section.type === SHT_NOBITS || !(at >= 0 && at < section.size)) return undefined;
  const text = elf.read(section.offset + at, Math.min(128, section.size - at)).toString('latin1');
  return /^Linux version (\S+)/.exec(text)?.[1];
}
