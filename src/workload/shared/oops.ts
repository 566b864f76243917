// For workloads that ask of a kernel what some kernels die of.
import fs from 'node:fs';
import type { Context } from '../types.js';

/** A kernel that oopses with a lock of this process held would leave it hanging: its panic tells at once. */
export function panicOnOops(ctx: Context): void {
  for (const [name, value] of [['panic', '-1'], ['panic_on_oops', '1']] as const) {
    const file = `/proc/sys/kernel/${name}`;
    const was = fs.readFileSync(file, 'utf8');
    ctx.cleanup(() => fs.writeFileSync(file, was));
    fs.writeFileSync(file, value);
  }
}
