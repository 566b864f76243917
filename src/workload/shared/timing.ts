// What timing workloads share: metrics declared by name, and rounds of a native program that must come to their end.
import { measure, type Measured, type MeasureStep } from '../../native.js';
import type { Context, MetricDeclaration } from '../types.js';

export const duration = (name: string): MetricDeclaration => ({ name, unit: 'ns', better: 'lower' });

/** Runs a program of steps to its end; `metrics` names the timed ones in their order, undefined for one that is not kept. */
export function rounds(ctx: Context, what: string, count: number, steps: readonly MeasureStep[], metrics: readonly (string | undefined)[] = []): Measured {
  ctx.step(what);
  const result = measure(count, steps);
  ctx.expect(result.rounds === count, `${what}: all ${count} rounds should come to their end`, result.signal ?? result.rounds);
  const timed = result.steps.filter(({ samples }) => samples !== undefined);
  timed.forEach(({ samples }, i) => {
    const name = metrics[i];
    if (name !== undefined) ctx.metric(name, [...samples!]);
  });
  return result;
}

/** Samples per unit of work: of each sample a share. */
export const per = (samples: Float64Array, units: number): number[] => Array.from(samples, (ns) => ns / units);

/** How long it took, ns. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - started);
}
