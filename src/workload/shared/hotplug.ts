// Memory that comes and goes: what the workloads share that make devdax memory into system memory.
import fs from 'node:fs';
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
