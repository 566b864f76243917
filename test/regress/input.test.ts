import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { checkCompareInput, checkHistoryInput } from '../../src/regress/index.js';

const good = { id: 'x', a: [[1, 2], [3]], b: [[1], [2, 4]] };
const stored = { id: 'x', sessions: [[1, 2], [3]], candidate: [2] };

describe('input of compare', () => {
  it('is taken as it is', () => {
    expect(checkCompareInput({ ...good, clock: 'icount', delta: 0.01, confidence: 0.95, direction: 'higher' })).toMatchObject(good);
    expect(checkCompareInput({ ...good, id: 7 }).id).toBe(7);
  });

  it.each([
    [null, 'null where an object with id, a and b was expected'],
    [[1], '[1] where an object with id, a and b was expected'],
    [{ a: [[1]], b: [[1]] }, 'id is missing'],
    [{ id: 'x', b: [[1]] }, 'a is missing'],
    [{ id: 'x', a: [[1]] }, 'b is missing'],
    [{ ...good, id: null }, 'id is null, not a string'],
    [{ ...good, a: [1, 2] }, 'a[0] is 1, not a list of samples'],
    [{ ...good, a: 'many' }, 'a is "many", not a list of lists of samples'],
    [{ ...good, b: [[1], [2, null]] }, 'b[1][1] is null, not a finite number'],
    [{ ...good, b: [[1], [2, '3']] }, 'b[1][1] is "3", not a finite number'],
    [{ ...good, b: [[1], [NaN]] }, 'b[1][0] is NaN, not a finite number'],
    [{ ...good, b: [[1], [Infinity]] }, 'b[1][0] is Infinity, not a finite number'],
    [{ ...good, a: [[1], [-5]] }, 'a[1][0] is -5: a measurement cannot be negative'],
    [{ ...good, a: [[1]] }, 'a has 1 blocks and b has 2: block i of both must have run beside each other'],
    [{ id: 'x', a: [], b: [] }, 'a has no samples'],
    [{ id: 'x', a: [[], [1]], b: [[], []] }, 'b has no samples'],
    [{ ...good, clock: 'sun' }, 'clock is "sun", not wall or icount'],
    [{ ...good, direction: 'up' }, 'direction is "up", not lower or higher'],
    [{ ...good, delta: -0.1 }, 'delta is -0.1, not a fraction such as 0.03'],
    [{ ...good, delta: '3%' }, 'delta is "3%", not a fraction such as 0.03'],
    [{ ...good, confidence: 99 }, 'confidence is 99, not a fraction from 0.5 to below 1, such as 0.99'],
    [{ ...good, confidence: 1 }, 'confidence is 1, not a fraction from 0.5 to below 1, such as 0.99'],
  ])('%j is refused, naming the field', (value, message) => {
    expect(() => checkCompareInput(value)).toThrow(new UsageError(message));
  });
});

describe('input of history', () => {
  it('is taken as it is', () => {
    expect(checkHistoryInput({ ...stored, accepted: [1] })).toMatchObject(stored);
    expect(checkHistoryInput({ ...stored, sessions: [] }).sessions).toEqual([]);
  });

  it.each([
    [{ id: 'x', sessions: [[1]] }, 'candidate is missing'],
    [{ ...stored, candidate: [] }, 'candidate has no samples'],
    [{ ...stored, candidate: [1, true] }, 'candidate[1] is true, not a finite number'],
    [{ ...stored, sessions: [[1], [null]] }, 'sessions[1][0] is null, not a finite number'],
    [{ ...stored, sessions: { a: 1 } }, 'sessions is {"a":1}, not a list of lists of samples'],
    [{ ...stored, accepted: 1 }, 'accepted is 1, not a list of session indexes'],
    [{ ...stored, accepted: [2] }, 'accepted holds 2, not an index into the 2 sessions'],
  ])('%j is refused, naming the field', (value, message) => {
    expect(() => checkHistoryInput(value)).toThrow(new UsageError(message));
  });
});
