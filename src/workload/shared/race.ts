// What the race workloads share: how a race is scheduled on this machine, how far it goes, and what is kept of it.
import fs from 'node:fs';
import os from 'node:os';
import { race, raceAsync, type RaceActor, type RaceResult } from '../../native.js';
import type { Context, Workload } from '../types.js';

/** Claimed collisions that a race by wall clock goes on for. */
export const COLLISIONS = 10_000;

/** Declared by every race workload. */
export const raceMetrics: NonNullable<Workload['metrics']> = [{ name: 'collisions', unit: 'count', better: 'neither' }];

export interface RacePlan {
  /** All without rounds: how far they go is decided here. */
  actors: readonly Omit<RaceActor, 'rounds'>[];
  /** Rounds of the first actor where instructions are counted: there the seed makes the difference, not the length. */
  rounds: number;
  /** Rounds of the first actor by wall clock; not given: until there were enough collisions. */
  wallRounds?: number;
  /** Seconds by wall clock. */
  limit?: number;
}

/**
 * Runs the race: steered by the seed where instructions are counted (or where there is only one CPU), otherwise in parallel
 * until it has had its collisions. Keeps digest, counts and collisions with the result, and expects that no word was wrong.
 */
export async function runRace(ctx: Context, { actors, rounds, wallRounds, limit = 20 }: RacePlan): Promise<RaceResult> {
  const counted = ctx.clock === 'icount';
  const schedule = counted || os.availableParallelism() < 2 ? 'steered' : 'parallel';
  const bound = counted ? rounds : wallRounds;
  const options = {
    schedule,
    seed: ctx.seed,
    limitMs: limit * 1000,
    actors: actors.map((actor, i) => (i === 0 && bound !== undefined ? { ...actor, rounds: bound } : actor)),
    ...(counted || wallRounds !== undefined ? {} : { collisions: COLLISIONS }),
  } as const;
  ctx.step(`racing, ${schedule}`);
  // A counted race runs on the main thread: nothing else of the process may run beside it.
  const result = await (async () => {
    using _ = unlimitedRealtime(schedule === 'steered');
    return counted ? race(options) : raceAsync(options);
  })();
  keep(ctx, schedule, result);
  for (const { name, steps } of result.actors)
    for (const { op, wrong, first } of steps) ctx.expect(wrong === 0, `${name}.${op}: every word should be its own, or what was stored last`, { wrong, ...first });
  return result;
}

/** Real-time threads may use the CPU without pause: the throttle would take it from them by its own clock. */
function unlimitedRealtime(wanted: boolean): Disposable {
  const file = '/proc/sys/kernel/sched_rt_runtime_us';
  const before = wanted ? fs.readFileSync(file, 'utf8').trim() : '-1';
  if (before === '-1') return { [Symbol.dispose]: () => {} };
  fs.writeFileSync(file, '-1');
  return { [Symbol.dispose]: () => fs.writeFileSync(file, before) };
}

function keep(ctx: Context, schedule: string, result: RaceResult): void {
  const { digest, collisions, claimed, pairs, switches, elapsedNs, limited, cpus, schedulerError } = result;
  ctx.metric('collisions', [claimed]);
  ctx.prove('race', { schedule, digest, collisions, claimed, switches, elapsedNs, limited, cpus, ...(schedulerError === undefined ? {} : { schedulerError }) });
  ctx.prove('pairs', Object.fromEntries(pairs.slice(0, 20).map(({ began, during, count }) => [`${began} during ${during}`, count])));
  for (const { name, rounds, steps } of result.actors)
    ctx.prove(`actor ${name}`, {
      rounds,
      ...Object.fromEntries(
        steps.map(({ op, runs, done, zeros, errors, signals }, i) => [
          `${i} ${op}`,
          { runs, done, ...(zeros > 0 ? { zeros } : {}), ...(Object.keys(errors).length > 0 ? { errors } : {}), ...(Object.keys(signals).length > 0 ? { signals } : {}) },
        ]),
      ),
    });
}

/** Expects that steps met only what is right for them: errnos and codes of signals by name. */
export function allowOnly(ctx: Context, result: RaceResult, errors: readonly string[], signals: readonly string[]): void {
  for (const actor of result.actors)
    for (const step of actor.steps) {
      const strange = [...Object.keys(step.errors).filter((name) => !errors.includes(name)), ...Object.keys(step.signals).filter((name) => !signals.includes(name))];
      ctx.expect(strange.length === 0, `${actor.name}.${step.op} should meet nothing but ${[...errors, ...signals].join(', ') || 'success'}`, { errors: step.errors, signals: step.signals });
    }
}
