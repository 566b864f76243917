import { describe, expect, it } from 'vitest';
import { formatSize, humanSize, jsonText, parseSize } from '../src/units.js';
import { UsageError } from '../src/errors.js';

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['1G', 2 ** 30],
    ['448m', 448 * 2 ** 20],
    ['0x107000000', 0x107000000],
    [' 2T ', 2 ** 41],
  ])('reads %s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['', '1X', 'G', '-1', '1.5G', '1GG', '0x', '99999999P', 'NaN'])('refuses "%s" and names it', (text) => {
    expect(() => parseSize(text, '--guest-mem')).toThrow(UsageError);
    expect(() => parseSize(text, '--guest-mem')).toThrow(/--guest-mem: /);
  });
});

describe('formatSize', () => {
  it.each([0, 1, 4096, 448 * 2 ** 20, 2 ** 30, 3 * 2 ** 40, 12345])('round-trips %d', (bytes) =>
    expect(parseSize(formatSize(bytes))).toBe(bytes));
});

it('humanSize rounds for people', () => {
  expect(humanSize(1.5 * 2 ** 30)).toBe('1.5 GiB');
  expect(humanSize(31 * 2 ** 20)).toBe('31 MiB');
});

it('JSON has 64-bit words as addresses, wherever they stand', () => {
  expect(jsonText({ address: 0xffff888000000000n, list: [1, 2n], text: 'x' })).toBe('{"address":"0xffff888000000000","list":[1,"0x2"],"text":"x"}');
});
