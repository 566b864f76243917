// A writer for the "newc" cpio format that the kernel unpacks as its initramfs.
// Source: Documentation/driver-api/early-userspace/buffer-format.rst.
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError } from '../errors.js';

export type CpioEntry =
  | { kind: 'file'; name: string; mode: number; content: Uint8Array | FileContent }
  | { kind: 'folder'; name: string; mode: number }
  | { kind: 'link'; name: string; target: string };

/** A file's bytes. */
export interface FileContent {
  file: string;
  /** What of them goes in: so many from the start, of which the first ones are those of `head`. */
  part?: (start: Buffer, size: number) => FilePart;
}

export interface FilePart {
  head: Uint8Array;
  length: number;
}

const TYPE = { file: 0o100000, folder: 0o040000, link: 0o120000 } as const;

/**
 * Collects entries and writes them in an order that depends on their names alone, so that equal content gives
 * an equal archive. Folders above an entry are added by themselves.
 */
export class CpioArchive {
  readonly #entries = new Map<string, CpioEntry>();

  /** Adds one entry; a later one of the same name takes the place of the earlier. Names have no leading slash. */
  add(entry: CpioEntry): this {
    const name = path.posix.normalize(entry.name).replace(/^\/+/, '');
    for (let parent = path.posix.dirname(name); parent !== '.'; parent = path.posix.dirname(parent))
      if (!this.#entries.has(parent)) this.#entries.set(parent, { kind: 'folder', name: parent, mode: 0o755 });
    this.#entries.set(name, { ...entry, name });
    return this;
  }

  has(name: string): boolean {
    return this.#entries.has(name.replace(/^\/+/, ''));
  }

  names(): string[] {
    return [...this.#entries.keys()].sort();
  }

  /** Appends the archive to an open file. The kernel takes several archives after one another as one. */
  writeTo(fd: number): void {
    let inode = 1;
    const begin = (entry: CpioEntry, length: number): Buffer => header(inode++, TYPE[entry.kind] | (entry.kind === 'link' ? 0o777 : entry.mode), length, entry.name);
    for (const name of this.names()) {
      const entry = this.#entries.get(name)!;
      if (entry.kind === 'file' && 'file' in entry.content) copyFile(fd, entry.content, (length) => begin(entry, length));
      else {
        const content = contentOf(entry);
        writeAll(fd, [begin(entry, content.length), content, padding(content.length)]);
      }
    }
    writeAll(fd, [header(0, 0, 0, 'TRAILER!!!')]);
  }
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'folder') return new Uint8Array();
  if (entry.kind === 'link') return Buffer.from(entry.target);
  return entry.content as Uint8Array;
}

/** In pieces that stay in the CPU's cache: a program of 100 MB is not to be held in memory for it. */
const chunk = Buffer.alloc(256 * 1024);

function copyFile(fd: number, { file, part }: FileContent, begin: (length: number) => Buffer): void {
  const from = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(from);
    const start = chunk.subarray(0, fs.readSync(from, chunk, 0, chunk.length, 0));
    const { head, length } = part?.(start, size) ?? { head: start, length: size };
    writeAll(fd, [begin(length), head.subarray(0, length)]);
    for (let at = head.length; at < length; ) {
      const count = fs.readSync(from, chunk, 0, Math.min(chunk.length, length - at), at);
      if (count === 0) throw new BrokenError(`${file} became shorter while it was read; run it again`);
      writeAll(fd, [chunk.subarray(0, count)]);
      at += count;
    }
    writeAll(fd, [padding(length)]);
  } finally {
    fs.closeSync(from);
  }
}

function header(inode: number, mode: number, size: number, name: string): Buffer {
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [inode, mode, 0, 0, mode >> 12 === 4 ? 2 : 1, 0, size, 0, 0, 0, 0, nameBytes.length, 0];
  const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  const length = head.length + nameBytes.length;
  return Buffer.concat([Buffer.from(head), nameBytes, Buffer.alloc((4 - (length % 4)) % 4)]);
}

/** All of them, in one system call where the kernel takes them so. */
function writeAll(fd: number, pieces: readonly Uint8Array[]): void {
  let done = fs.writevSync(fd, pieces);
  for (const piece of pieces) {
    for (let at = Math.min(done, piece.length); at < piece.length; ) at += fs.writeSync(fd, piece, at);
    done = Math.max(0, done - piece.length);
  }
}
