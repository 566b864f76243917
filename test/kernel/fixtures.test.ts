// Every log of test/fixtures/klog says what is expected of it. DAXRIG_UPDATE_FIXTURES=1 writes what is found instead:
// read the difference before committing it.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FIXTURES, headerOf, loadFixtures, observe, parseFixture } from './fixture.js';

const update = process.env['DAXRIG_UPDATE_FIXTURES'] === '1';

describe('kernel log fixtures', () => {
  const fixtures = loadFixtures();

  it('are there', () => {
    expect(fixtures.length).toBeGreaterThanOrEqual(60);
  });

  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (name, fixture) => {
    if (update) writeFileSync(`${FIXTURES}${name}`, Buffer.concat([Buffer.from(`${headerOf(fixture)}\n\n`), fixture.raw]));
    else expect(observe(fixture)).toEqual(fixture.expected);
  });
});

describe('parseFixture', () => {
  it('refuses headers that would say nothing', () => {
    expect(() => parseFixture('x', Buffer.from('about: a\nkind oops\n\nlog'))).toThrow(/no header line/);
    expect(() => parseFixture('x', Buffer.from('about: a\ntitle: b\n\nlog'))).toThrow(/before any/);
    expect(() => parseFixture('x', Buffer.from('kind: oops\n\nlog'))).toThrow(/about/);
    expect(() => parseFixture('x', Buffer.from('about: a\nlog'))).toThrow(/blank line/);
  });
});
