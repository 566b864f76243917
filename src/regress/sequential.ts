// A comparison that adds blocks until it is settled, without the error that comes from looking again and again: the
// looks share one level, by the exact boundaries of stages.ts.
import { UsageError } from '../errors.js';
import { type Blocks, blocksOf, compare, type Comparison, isExact, report } from './compare.js';
import { studentQuantile } from './distributions.js';
import { checkCompareInput, type Clock, DEFAULT_CONFIDENCE, type Direction } from './input.js';
import { stageInterval, stagePlan, type StagePlan } from './stages.js';

export interface SequentialOptions {
  id?: string | number;
  clock?: Clock;
  delta?: number;
  /** Over all looks together: with this probability no interval shown at any look misses the true shift. */
  confidence?: number;
  direction?: Direction;
  /** Blocks before the first look; default 12. */
  firstLook?: number;
  /** Blocks from one look to the next; default 8. */
  lookEvery?: number;
  /** Blocks after which it ends inconclusive, rounded up to the next look; default 60. */
  maxBlocks?: number;
}

export interface SequentialState {
  /** collecting: push more blocks; settled: the verdict stands; exhausted: all blocks used, still inconclusive. */
  state: 'collecting' | 'settled' | 'exhausted';
  blocks: number;
  /** Blocks until the next look; 0 once settled or exhausted. */
  blocksToLook: number;
  /** What the latest look found; absent before the first. */
  comparison?: Comparison;
}

/** icount: boots after which the medians, if they nearly repeat, are looked at; and the share of the error for that look. */
const EARLY_LOOK = 3;
const EARLY_SHARE = 0.5;

export class SequentialComparison {
  readonly #options: Omit<SequentialOptions, 'firstLook' | 'lookEvery' | 'maxBlocks'> & { id: string | number };
  readonly #error: number;
  readonly #early: readonly number[];
  readonly #plan: StagePlan;
  readonly #a: number[][] = [];
  readonly #b: number[][] = [];
  #state: SequentialState;

  constructor(options: SequentialOptions = {}) {
    const { firstLook = 12, lookEvery = 8, maxBlocks = 60, ...rest } = options;
    for (const [name, value] of Object.entries({ firstLook, lookEvery, maxBlocks }))
      if (!Number.isInteger(value) || value < 1) throw new UsageError(`${name} is ${value}, not a number of blocks`);
    this.#options = { id: '', ...rest };
    this.#error = 1 - (rest.confidence ?? DEFAULT_CONFIDENCE);
    this.#early = rest.clock === 'icount' ? [2, EARLY_LOOK] : [];
    const sizes = [firstLook];
    for (let blocks = firstLook; blocks < maxBlocks; blocks += lookEvery) sizes.push(lookEvery);
    this.#plan = stagePlan(sizes, this.#error * (rest.clock === 'icount' ? 1 - EARLY_SHARE : 1));
    this.#state = { state: 'collecting', blocks: 0, blocksToLook: this.#toLook(0) };
  }

  get state(): SequentialState {
    return this.#state;
  }

  /** Adds a pair of blocks that ran beside each other. Once settled or exhausted, nothing more is taken. */
  push(a: readonly number[], b: readonly number[]): SequentialState {
    if (this.#state.state !== 'collecting') return this.#state;
    const pair = checkCompareInput({ ...this.#options, a: [a], b: [b] });
    this.#a.push([...pair.a[0]!]);
    this.#b.push([...pair.b[0]!]);
    const blocks = this.#a.length;
    const found = this.#look(blocks);
    const comparison = found ?? this.#state.comparison;
    const settled = found !== undefined && found.verdict !== 'inconclusive';
    const state = settled ? 'settled' : blocks >= this.#plan.looks.at(-1)! ? 'exhausted' : 'collecting';
    this.#state = {
      state,
      blocks,
      blocksToLook: state === 'collecting' ? this.#toLook(blocks) : 0,
      ...(comparison && { comparison }),
    };
    return this.#state;
  }

  #toLook(blocks: number): number {
    return [...this.#early, ...this.#plan.looks].find((look) => look > blocks)! - blocks;
  }

  #look(blocks: number): Comparison | undefined {
    const look = this.#plan.looks.indexOf(blocks);
    if (look < 0 && !this.#early.includes(blocks)) return undefined;
    const input = { ...this.#options, a: this.#a, b: this.#b };
    const ready = blocksOf(input);
    // That boots repeat exactly is no matter of chance: looking for it costs nothing.
    if (ready.clock === 'icount' && isExact(ready)) return compare(input);
    if (look >= 0) return this.#compareAt(look, ready);
    if (blocks !== EARLY_LOOK) return undefined;
    return { ...compare({ ...input, confidence: 1 - this.#error * EARLY_SHARE }), confidence: ready.confidence };
  }

  #compareAt(look: number, blocks: Blocks): Comparison {
    const interval = stageInterval(this.#plan, look, blocks.shifts);
    const half = (interval.upper - interval.lower) / 2;
    const freedom = Math.max(1, blocks.shifts.length - 1);
    return report(blocks, {
      ...interval,
      method: 'signed-rank',
      p: null,
      error: half === Infinity ? NaN : half / studentQuantile(1 - this.#plan.levels[look]!, freedom),
      freedom,
    });
  }
}
