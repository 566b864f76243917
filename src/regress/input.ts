// What the detectors accept, checked field by field, so that a bad number is named by its place and never becomes NaN.
import { UsageError } from '../errors.js';

export const CLOCKS = ['wall', 'icount'] as const;
export type Clock = (typeof CLOCKS)[number];

/** Which way of a metric is good: a duration or a count is better lower, a bandwidth is better higher. */
export const DIRECTIONS = ['lower', 'higher'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export type Verdict = 'regressed' | 'improved' | 'unchanged' | 'inconclusive';

/** The shift that is small enough to be called unchanged, as a fraction. */
export const DEFAULT_DELTA: Record<Clock, number> = { wall: 0.03, icount: 0.005 };
export const DEFAULT_CONFIDENCE = 0.99;

interface Options {
  id: string | number;
  /** Default: wall. */
  clock?: Clock;
  /** Fraction; default 0.03 for wall, 0.005 for icount. */
  delta?: number;
  /** Default: 0.99. */
  confidence?: number;
  /** Which way is better; default: lower. */
  direction?: Direction;
}

export interface CompareInput extends Options {
  /** Samples of A by block. Block i of a and of b ran beside each other. */
  a: number[][];
  b: number[][];
}

export interface HistoryInput extends Options {
  /** Samples of the stored sessions, oldest first. */
  sessions: number[][];
  /** Samples of the newest session, the one to judge. */
  candidate: number[];
  /** Indexes of stored sessions at which a change of level was accepted. */
  accepted?: number[];
}

type Fields = Record<string, unknown>;

/** The value as the input of compare(), or a UsageError that names the field. */
export function checkCompareInput(value: unknown): CompareInput {
  const fields = checkOptions(value, ['a', 'b']);
  const a = checkBlocks(fields.a, 'a');
  const b = checkBlocks(fields.b, 'b');
  if (a.length !== b.length)
    throw new UsageError(`a has ${a.length} blocks and b has ${b.length}: block i of both must have run beside each other`);
  for (const [name, blocks] of [['a', a], ['b', b]] as const)
    if (blocks.every((block) => block.length === 0)) throw new UsageError(`${name} has no samples`);
  return { ...(fields as unknown as Options), a, b };
}

/** The value as the input of history(), or a UsageError that names the field. */
export function checkHistoryInput(value: unknown): HistoryInput {
  const fields = checkOptions(value, ['sessions', 'candidate']);
  const sessions = checkBlocks(fields.sessions, 'sessions');
  const candidate = checkSamples(fields.candidate, 'candidate');
  if (candidate.length === 0) throw new UsageError('candidate has no samples');
  const { accepted = [] } = fields;
  if (!Array.isArray(accepted)) throw new UsageError(`accepted is ${show(accepted)}, not a list of session indexes`);
  for (const index of accepted)
    if (!Number.isInteger(index) || index < 0 || index >= sessions.length)
      throw new UsageError(`accepted holds ${show(index)}, not an index into the ${sessions.length} sessions`);
  return { ...(fields as unknown as Options), sessions, candidate };
}

function checkOptions(value: unknown, needed: string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError(`${show(value)} where an object with id, ${needed.join(' and ')} was expected`);
  const fields = value as Fields;
  for (const name of ['id', ...needed]) if (fields[name] === undefined) throw new UsageError(`${name} is missing`);
  const { id, clock, direction, delta, confidence } = fields;
  if (typeof id !== 'string' && typeof id !== 'number') throw new UsageError(`id is ${show(id)}, not a string`);
  checkWord(clock, 'clock', CLOCKS);
  checkWord(direction, 'direction', DIRECTIONS);
  if (delta !== undefined && !(typeof delta === 'number' && delta >= 0 && delta < 1))
    throw new UsageError(`delta is ${show(delta)}, not a fraction such as 0.03`);
  if (confidence !== undefined && !(typeof confidence === 'number' && confidence >= 0.5 && confidence <= 1 - 1e-9))
    throw new UsageError(`confidence is ${show(confidence)}, not a fraction from 0.5 to below 1, such as 0.99`);
  return fields;
}

function checkWord(value: unknown, name: string, words: readonly string[]): void {
  if (value !== undefined && !words.includes(value as string))
    throw new UsageError(`${name} is ${show(value)}, not ${words.join(' or ')}`);
}

function checkBlocks(value: unknown, name: string): number[][] {
  if (!Array.isArray(value)) throw new UsageError(`${name} is ${show(value)}, not a list of lists of samples`);
  return value.map((block: unknown, i) => checkSamples(block, `${name}[${i}]`));
}

function checkSamples(value: unknown, name: string): number[] {
  if (!Array.isArray(value)) throw new UsageError(`${name} is ${show(value)}, not a list of samples`);
  for (let i = 0; i < value.length; i++) {
    const sample: unknown = value[i];
    if (typeof sample !== 'number' || !Number.isFinite(sample))
      throw new UsageError(`${name}[${i}] is ${show(sample)}, not a finite number`);
    if (sample < 0) throw new UsageError(`${name}[${i}] is ${sample}: a measurement cannot be negative`);
  }
  return value as number[];
}

/** The value as JSON, cut short; numbers that JSON has no word for by their own name. */
function show(value: unknown): string {
  const text = typeof value === 'number' || value === undefined ? String(value) : JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}

/** Logarithms of the samples of several lists, in their order. */
export interface Logs {
  lists: Float64Array[];
  /** Samples that were zero. */
  zeros: number;
}

/**
 * A zero is a measurement below what the clock resolves: it stands as half the smallest positive value of all lists, which keeps
 * its rank. Where every sample is zero, all logarithms are zero too: nothing differs.
 */
export function logsOf(lists: readonly (readonly number[])[]): Logs {
  let smallest = Infinity;
  let zeros = 0;
  for (const list of lists)
    for (const value of list)
      if (value === 0) zeros++;
      else if (value < smallest) smallest = value;
  const floor = smallest === Infinity ? 1 : smallest / 2;
  const logs = lists.map((list) => Float64Array.from(list, (value) => Math.log(value || floor)));
  return { lists: logs, zeros };
}
