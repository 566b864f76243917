import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import yargs from 'yargs';
import { command, type Detector, judgeLines, linesOf, type StatsOptions } from '../../src/cli/stats.js';
import { UsageError } from '../../src/errors.js';

const fixture = (name: string) => readFile(new URL(`../fixtures/series/${name}`, import.meta.url), 'utf8');

async function* chunked(text: string, size: number): AsyncGenerator<string> {
  for (let i = 0; i < text.length; i += size) yield text.slice(i, i + size);
}

async function collect(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

interface Line {
  id: string | number | null;
  verdict?: string;
  error?: string;
  line?: number;
  [field: string]: unknown;
}

async function run(detector: Detector, text: string, options: StatsOptions = {}) {
  const lines: Line[] = [];
  const outcome = await judgeLines(detector, linesOf(chunked(text, 1000)), async (line) => void lines.push(JSON.parse(line)), options).then(
    (code) => ({ code, error: undefined }),
    (error: unknown) => ({ code: undefined, error: error as Error }),
  );
  return { ...outcome, lines };
}

const line = (id: string, a: unknown, b: unknown) => JSON.stringify({ id, a, b });
const eight = (value: number) => Array<number[]>(8).fill([value]);
const same = line('same', eight(100), eight(100));
const slower = line('slower', eight(100), eight(110));
const faster = line('faster', eight(110), eight(100));

describe('lines of a stream', () => {
  it.each([1, 2, 3, 7, 100])('are put together from chunks of %i', async (size) => {
    const lines = await collect(linesOf(chunked('one\ntwo\r\n\nthree é', size)));
    expect(lines).toEqual(['one', 'two', '', 'three é']);
  });

  it('end at the last line end', async () => {
    expect(await collect(linesOf(chunked('one\n', 4)))).toEqual(['one']);
    expect(await collect(linesOf(chunked('', 4)))).toEqual([]);
  });
});

describe('stats compare', () => {
  it('answers every line in order with the fields of the contract', async () => {
    const { code, lines } = await run('compare', `${same}\n\n${slower}\r\n${faster}`);
    expect(code).toBe(1);
    expect(lines.map(({ id, verdict }) => [id, verdict])).toEqual([['same', 'unchanged'], ['slower', 'regressed'], ['faster', 'improved']]);
    for (const answer of lines) {
      expect(Object.keys(answer)).toEqual(expect.arrayContaining(['id', 'a', 'b', 'shift', 'ci', 'verdict', 'minimumDetectable']));
      for (const value of [answer.a, answer.b, answer.shift, ...(answer.ci as number[]), answer.minimumDetectable])
        expect(typeof value).toBe('number');
    }
  });

  it('exits 0 if nothing regressed', async () => {
    expect(await run('compare', `${same}\n${faster}\n`)).toMatchObject({ code: 0 });
  });

  it('keeps the verdicts before a bad line, names its number and stops', async () => {
    const { error, lines } = await run('compare', `${same}\n\n${line('bad', [[1, null]], [[1]])}\n${slower}\n`);
    expect(lines.map(({ id }) => id)).toEqual(['same']);
    expect(error).toBeInstanceOf(UsageError);
    expect(error!.message).toBe('line 3: a[0][1] is null, not a finite number');
  });

  it('goes on after a bad line if told to, and still exits 2', async () => {
    const text = [slower, '{"id": 5, "a": [[1]]}', 'nonsense', '{"id":"n","a":[[NaN]],"b":[[1]]}', '[]', same].join('\n');
    const { code, lines } = await run('compare', text, { keepGoing: true });
    expect(code).toBe(2);
    expect(lines.map(({ id, line: number }) => [id, number])).toEqual([['slower', undefined], [5, 2], [null, 3], [null, 4], [null, 5], ['same', undefined]]);
    expect(lines[1]!.error).toBe('b is missing');
    expect(lines[2]!.error).toMatch(/^not JSON: /);
    expect(lines[3]!.error).toMatch(/^not JSON: .*; JSON has no NaN and no Infinity, leave such samples out$/);
    expect(lines[4]!.error).toBe('[] where an object with id, a and b was expected');
  });

  it('refuses an input without series', async () => {
    for (const text of ['', '\n \n']) expect((await run('compare', text)).error!.message).toMatch(/^no series in the input/);
  });

  it('reads past a byte order mark', async () => {
    expect(await run('compare', `\ufeff${same}`)).toMatchObject({ code: 0 });
  });

  it('judges all lines as one set with --fdr, in order, bad lines among them', async () => {
    const text = [slower, ...Array<string>(30).fill(same)].join('\n');
    expect((await run('compare', text)).code).toBe(1);
    const { code, lines } = await run('compare', text, { fdr: 0.01 });
    expect(code).toBe(0);
    expect(lines).toHaveLength(31);
    expect(lines[0]).toMatchObject({ id: 'slower', verdict: 'inconclusive', p: 1 / 128 });
    expect(lines[0]!.q).toBeCloseTo(31 / 128, 12);
    const mixed = await run('compare', `${slower}\nbad\n${same}`, { fdr: 0.5, keepGoing: true });
    expect(mixed.lines.map(({ id }) => id)).toEqual(['slower', null, 'same']);
    expect(mixed.code).toBe(2);
    expect((await run('compare', same, { fdr: 2 })).error!.message).toBe('--fdr is 2, not a fraction such as 0.01');
  });

  it('judges thousands of lines', async () => {
    const text = Array.from({ length: 3000 }, (_, i) => line(`${i}`, eight(100 + (i % 7)), eight(100))).join('\n');
    const { lines } = await run('compare', text);
    expect(lines).toHaveLength(3000);
    expect(lines.map(({ id }) => Number(id))).toEqual(Array.from({ length: 3000 }, (_, i) => i));
  });

  it('gives the expected verdicts for the stored series', async () => {
    const { lines, code } = await run('compare', await fixture('compare.ndjson'));
    const expected = (await fixture('compare.verdicts')).trim().split('\n');
    expect(lines.map(({ id, verdict, exact }) => `${id}: ${verdict}${exact ? ', exact' : ''}`)).toEqual(expected);
    expect(code).toBe(1);
  });
});

describe('stats history', () => {
  it('gives the expected verdicts for the stored series', async () => {
    const { lines, code } = await run('history', await fixture('history.ndjson'));
    const expected = (await fixture('history.verdicts')).trim().split('\n');
    expect(lines.map(({ id, verdict, since }) => `${id}: ${verdict}, since ${since}`)).toEqual(expected);
    expect(code).toBe(1);
  });

  it('has no --fdr, and does not take series of compare', async () => {
    expect((await run('history', same, { fdr: 0.1 })).error!.message).toBe('--fdr is for stats compare only');
    expect((await run('history', same)).error!.message).toBe('line 1: sessions is missing');
  });
});

describe('the command', () => {
  const parse = async (words: string) =>
    yargs().command({ ...command, handler: () => {} }).strict().exitProcess(false).fail((message, error) => {
      throw error ?? new UsageError(message);
    }).parseAsync(words);

  it('takes a detector, a file and options', async () => {
    expect(await parse('stats compare series.ndjson --keep-going --fdr 0.05')).toMatchObject({
      detector: 'compare',
      file: 'series.ndjson',
      keepGoing: true,
      fdr: 0.05,
    });
    await expect(parse('stats')).rejects.toThrow(UsageError);
    await expect(parse('stats guess')).rejects.toThrow(/Choices: "compare", "history"/);
  });

  it('says which file cannot be read', async () => {
    const call = command.handler({ detector: 'compare', file: '/nonexistent/series', _: [], $0: '' });
    await expect(call).rejects.toThrow(/^\/nonexistent\/series: cannot be read: ENOENT/);
    await expect(call).rejects.toThrow(UsageError);
  });
});
