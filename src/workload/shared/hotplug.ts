// Memory that comes and goes: what the workloads share that make devdax memory into system memory.
import fs from 'node:fs';
import path from 'node:path';
import type { Context } from '../types.js';

/** Has new memory stay offline until it is asked for: daxctl refuses while the kernel would online it by itself, since it could not be taken back. */
export function keepMemoryOffline(ctx: Context): void {
  const policy = '/sys/devices/system/memory/auto_online_blocks';
  const was = fs.readFileSync(policy, 'utf8').trim();
  if (was === 'offline') return;
  fs.writeFileSync(policy, 'offline');
  ctx.cleanup(() => fs.writeFileSync(policy, was));
}

/** Bytes of memory that the system has. */
export const onlineMemory = (): number => Number(/^MemTotal:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'))![1]) * 1024;

const BLOCKS = '/sys/devices/system/memory';

/** A block of memory that comes and goes as a whole (Documentation/ABI/testing/sysfs-devices-memory). */
export interface MemoryBlock {
  name: string;
  online: boolean;
  /** The zone that an online one is in: Movable, Normal... */
  zone: string;
  /** Absent where the kernel has no NUMA. */
  node?: number;
}

/** The blocks of memory that lie in physical ranges. */
export function memoryBlocks(ranges: readonly { start: number; end: number }[]): MemoryBlock[] {
  const size = parseInt(fs.readFileSync(`${BLOCKS}/block_size_bytes`, 'utf8'), 16);
  const read = (name: string, file: string): string => fs.readFileSync(path.join(BLOCKS, name, file), 'utf8').trim();
  return fs.readdirSync(BLOCKS)
    .filter((name) => /^memory\d+$/.test(name))
    .filter((name) => {
      const start = parseInt(read(name, 'phys_index'), 16) * size;
      return ranges.some((range) => start >= range.start && start + size <= range.end);
    })
    .map((name) => {
      const node = fs.readdirSync(path.join(BLOCKS, name)).flatMap((file) => /^node(\d+)$/.exec(file)?.[1] ?? [])[0];
      return { name, online: read(name, 'state') === 'online', zone: read(name, 'valid_zones'), ...(node === undefined ? {} : { node: Number(node) }) };
    });
}
