// The word finder against the obvious way to find words.
import { describe, expect, it } from 'vitest';
import { buildMatcher, Scanner } from '../../src/kernel/matcher.js';

/** [index of the last byte, word] of every occurrence. */
function found(words: readonly string[], text: string, pieces = [text.length]): [number, number][] {
  const scanner = new Scanner(buildMatcher(words));
  const bytes = Buffer.from(text);
  const hits: [number, number][] = [];
  let from = 0;
  for (const size of pieces) {
    const end = Math.min(bytes.length, from + size);
    for (let at = scanner.find(bytes, from, end); at < end; at = scanner.find(bytes, at + 1, end)) for (const word of scanner.words) hits.push([at, word]);
    from = end;
  }
  return hits;
}

function obvious(words: readonly string[], text: string): [number, number][] {
  const hits: [number, number][] = [];
  for (let at = 0; at < text.length; at++) for (const [index, word] of words.entries()) if (text.startsWith(word, at - word.length + 1) && at >= word.length - 1) hits.push([at, index]);
  return hits;
}

const order = (hits: [number, number][]): [number, number][] => hits.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);

describe('Scanner', () => {
  it('finds words, words in words, and words that share beginnings and ends', () => {
    const words = ['he', 'she', 'his', 'hers', 'e', 'abab'];
    const text = 'ushers and his hehe abababab';
    expect(order(found(words, text))).toEqual(order(obvious(words, text)));
  });

  it('agrees with the obvious way on random texts, cut anywhere', () => {
    let seed = 7;
    const random = (below: number): number => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
    const letters = (count: number): string => Array.from({ length: count }, () => 'abc'[random(3)]).join('');
    for (let round = 0; round < 200; round++) {
      const words = [...new Set(Array.from({ length: 1 + random(6) }, () => letters(1 + random(4))))];
      const text = letters(60);
      const pieces = Array.from({ length: 60 }, () => 1 + random(9));
      expect(order(found(words, text, pieces))).toEqual(order(obvious(words, text)));
    }
  });

  it('forgets the past when a new line begins', () => {
    const scanner = new Scanner(buildMatcher(['ab']));
    expect(scanner.find(Buffer.from('a'), 0, 1)).toBe(1);
    scanner.reset();
    expect(scanner.find(Buffer.from('b'), 0, 1)).toBe(1);
  });
});
