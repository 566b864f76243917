// What the race workloads share: how a race is scheduled on this machine, how far it goes, and what is kept of it.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { codeOf } from '../../errors.js';
import { fnv1a } from '../../hash.js';
import { race, raceAsync, type RaceActor, type RaceResult } from '../../native.js';
import type { Context, Workload } from '../types.js';

/** Claimed collisions that a race by wall clock goes on for. */
export const COLLISIONS = 10_000;

/**
 * Nanoseconds between two decisions of the conductor by wall clock, instead of what race() takes by itself. On an emulated CPU each costs
 * it some 150 microseconds: with less to do in between, most of the time would go to deciding, and an operation would be stopped fifty times.
 */
const WALL_SLEEP = [500, 200_000] as const;

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
  /** A kernel is known to hang here: who waits where is told soon, and not by the watchdog. */
  hangs?: boolean;
}

/**
 * Runs the race: steered by the seed where instructions are counted (or where there is only one CPU), otherwise in parallel
 * until it has had its collisions. Keeps digest, counts and collisions with the result, and expects that no word was wrong.
 */
export async function runRace(ctx: Context, { actors, rounds, wallRounds, hangs = false, limit = 20 }: RacePlan): Promise<RaceResult> {
  const counted = ctx.clock === 'icount';
  const bound = counted ? rounds : wallRounds;
  const result = await start(ctx, actors, { seed: ctx.seed, limit: Math.min(limit, ctx.limit / 2), hangs, ...(bound === undefined ? { collisions: COLLISIONS } : { rounds: bound }) });
  keep(ctx, result);
  ctx.metric('collisions', [result.claimed]);
  return result;
}

export interface SlicedRacePlan extends Pick<RacePlan, 'actors' | 'hangs'> {
  /** Seconds by wall clock where one emulated CPU does it all and the run does not take its time (ctx.thorough). */
  brief: number;
  /** What even a brief race goes on for; a first collision, if nothing is said. */
  enough?: (sum: RaceResult) => boolean;
  /** Rounds of the first actor in each slice. */
  rounds: number;
  /** Slices where instructions are counted; by wall clock as many as it takes for enough collisions, in the time that there is. */
  slices: number;
  /** Looks at what the slice left behind, and makes it ready for the next. */
  between: (result: RaceResult) => Promise<void> | void;
}

/**
 * The same in slices, each with a seed of its own that follows from the run's: for what has to be looked at now and then,
 * such as a log that would run over. Gives the sum of all slices (without the stamps' last words).
 */
export async function runSlices(ctx: Context, { actors, rounds, slices, between, brief, enough = ({ claimed }) => claimed > 0, hangs = false }: SlicedRacePlan): Promise<RaceResult> {
  const counted = ctx.clock === 'icount';
  const longest = ctx.limit * (ctx.thorough ? 0.85 : 0.5);
  const seconds = ctx.thorough || scheduleOf(ctx) === 'parallel' ? longest : brief;
  const began = performance.now();
  const elapsed = (): number => (performance.now() - began) / 1000;
  let sum: RaceResult | undefined;
  const goesOn = (soFar: RaceResult): boolean => soFar.claimed < COLLISIONS && elapsed() < (enough(soFar) ? seconds : longest);
  for (let slice = 0; !sum || (counted ? slice < slices : goesOn(sum)); slice++) {
    // No wrap-around within 2^16 slices, and no two of them alike: a run's seed has at most 53 bits.
    const result = await start(ctx, actors, { seed: (BigInt(ctx.seed) << 11n) ^ BigInt(slice), limit: hangs ? HANGING_SLICE : SLICE, rounds, hangs });
    sum = sum ? addRaces(sum, result) : result;
    keep(ctx, sum);
    await between(result);
  }
  ctx.metric('collisions', [sum.claimed]);
  return sum;
}

/** The `timeout` of workloads with a race in slices: what surrounds it has the rest. */
export const SLICED_TIMEOUT = 120;

interface Bounds {
  seed: number | bigint;
  limit: number;
  rounds?: number;
  collisions?: number;
  hangs?: boolean;
}

/** Seconds that a slice may take; and one that may hang, which is told so many seconds later. */
const SLICE = 8;
const HANGING_SLICE = 1;
const HANG = 3;

async function start(ctx: Context, actors: RacePlan['actors'], { seed, limit, rounds, collisions, hangs = false }: Bounds): Promise<RaceResult> {
  const counted = ctx.clock === 'icount';
  const schedule = scheduleOf(ctx);
  const options = {
    schedule,
    seed,
    limitMs: limit * 1000,
    ...(counted ? {} : { sleepNs: WALL_SLEEP }),
    actors: actors.map((actor, i) => (i === 0 && rounds !== undefined ? { ...actor, rounds } : actor)),
    ...(collisions === undefined ? {} : { collisions }),
  } as const;
  ctx.step(`racing, ${schedule}`);
  // A counted race runs on the main thread: nothing else of the process may run beside it.
  const result = await (async () => {
    using _ = unlimitedRealtime(schedule === 'steered');
    if (hangs) return withinTime(ctx, raceAsync(options), limit + HANG);
    return counted ? race(options) : raceAsync(options);
  })();
  for (const { name, steps } of result.actors)
    for (const { op, wrong, first } of steps) {
      if (wrong > 0) keep(ctx, result);
      ctx.expect(wrong === 0, `${name}.${op}: every word should be its own, or what was stored last`, { wrong, ...first });
    }
  return result;
}

/** A hang is told with where each thread of this process waits, while it can still be seen. */
async function withinTime<Result>(ctx: Context, work: Promise<Result>, seconds: number): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), seconds * 1000);
  });
  const result = await Promise.race([work, late]).finally(() => clearTimeout(timer));
  if (result !== undefined) return result;
  // Those that wait for a page first: who waits for a lock waits for one of them.
  const forPage = (stack: string): number => (stack.includes('wait_dax_page') ? 0 : 1);
  const stacks = fs.readdirSync('/proc/self/task').map((task) => `${task}: ${waitsIn(`/proc/self/task/${task}`)}`).sort((a, b) => forPage(a) - forPage(b));
  ctx.prove('waiting in', stacks);
  ctx.expect(false, 'every operation of the race should end', stacks.filter((stack) => !/futex|epoll|ep_poll|proc_pid_stack/.test(stack)));
}

/** The kernel functions that a thread waits in: its stack, or the first one alone where the kernel keeps none (CONFIG_STACKTRACE). */
function waitsIn(task: string): string {
  for (const file of ['stack', 'wchan'])
    try {
      const text = fs.readFileSync(path.join(task, file), 'utf8');
      return text.split('\n').map((line) => line.replace(/^\[<0>\] /, '')).slice(0, 6).join(' < ');
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ESRCH') throw error; // not in this kernel, or the thread has ended
    }
  return '(not told by this kernel)';
}

const scheduleOf = (ctx: Context): 'steered' | 'parallel' => (ctx.clock === 'icount' || os.availableParallelism() < 2 ? 'steered' : 'parallel');

/** Two runs of one race as one: counts added, digests chained. */
export function addRaces(a: RaceResult, b: RaceResult): RaceResult {
  const counts = (one: Record<string, number>, other: Record<string, number>): Record<string, number> =>
    Object.fromEntries([...new Set([...Object.keys(one), ...Object.keys(other)])].map((key) => [key, (one[key] ?? 0) + (other[key] ?? 0)]));
  const pairs = new Map(a.pairs.map((pair) => [`${pair.began} ${pair.during}`, pair]));
  for (const pair of b.pairs) {
    const key = `${pair.began} ${pair.during}`;
    pairs.set(key, { ...pair, count: pair.count + (pairs.get(key)?.count ?? 0) });
  }
  const { schedulerError = b.schedulerError } = a;
  return {
    digest: fnv1a(a.digest + b.digest),
    actors: a.actors.map((actor, i) => {
      const other = b.actors[i]!;
      return {
        name: actor.name,
        rounds: actor.rounds + other.rounds,
        digest: fnv1a(actor.digest + other.digest),
        steps: actor.steps.map((step, at) => {
          const more = other.steps[at]!;
          const first = step.first ?? more.first;
          return {
            op: step.op,
            runs: step.runs + more.runs,
            done: step.done + more.done,
            bytes: step.bytes + more.bytes,
            zeros: step.zeros + more.zeros,
            wrong: step.wrong + more.wrong,
            ...(first ? { first } : {}),
            errors: counts(step.errors, more.errors),
            signals: counts(step.signals, more.signals),
          };
        }),
      };
    }),
    collisions: a.collisions + b.collisions,
    claimed: a.claimed + b.claimed,
    pairs: [...pairs.values()].sort((one, other) => other.count - one.count),
    switches: a.switches + b.switches,
    elapsedNs: a.elapsedNs + b.elapsedNs,
    limited: a.limited || b.limited,
    cpus: a.cpus,
    ...(schedulerError === undefined ? {} : { schedulerError }),
  };
}

/** Real-time threads may use the CPU without pause: the throttle would take it from them by its own clock. */
function unlimitedRealtime(wanted: boolean): Disposable {
  const file = '/proc/sys/kernel/sched_rt_runtime_us';
  const before = wanted ? fs.readFileSync(file, 'utf8').trim() : '-1';
  if (before === '-1') return { [Symbol.dispose]: () => {} };
  fs.writeFileSync(file, '-1');
  return { [Symbol.dispose]: () => fs.writeFileSync(file, before) };
}

function keep(ctx: Context, result: RaceResult): void {
  const { digest, collisions, claimed, pairs, switches, elapsedNs, limited, cpus, schedulerError } = result;
  ctx.prove('race', { schedule: scheduleOf(ctx), digest, collisions, claimed, switches, elapsedNs, limited, cpus, ...(schedulerError === undefined ? {} : { schedulerError }) });
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

/**
 * Keeps all but emergencies off the console, for thousands of memory failures would take a serial line minutes; they stay in
 * the log. A crash turns the console on again by itself (console_verbose).
 */
export function quietConsole(): Disposable {
  const file = '/proc/sys/kernel/printk';
  const before = fs.readFileSync(file, 'utf8').trim();
  fs.writeFileSync(file, before.replace(/^\d+/, '1'));
  return { [Symbol.dispose]: () => fs.writeFileSync(file, before) };
}

/** Expects that steps met only what is right for them: errnos and codes of signals by name. */
export function allowOnly(ctx: Context, result: RaceResult, errors: readonly string[], signals: readonly string[]): void {
  for (const actor of result.actors)
    for (const step of actor.steps) {
      const strange = [...Object.keys(step.errors).filter((name) => !errors.includes(name)), ...Object.keys(step.signals).filter((name) => !signals.includes(name))];
      ctx.expect(strange.length === 0, `${actor.name}.${step.op} should meet nothing but ${[...errors, ...signals].join(', ') || 'success'}`, { errors: step.errors, signals: step.signals });
    }
}
