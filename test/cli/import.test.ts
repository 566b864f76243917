import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { daxrig, result, scratch, start, writeRun, writeSessions } from '../store/support.js';

const failed = async (...words: string[]) => {
  const { code, stdout, stderr } = await daxrig(...words);
  return { code, stdout, stderr };
};

describe('daxrig import', () => {
  it('says what it recorded, and how much was known', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    writeSessions(path.join(folder, 'runs'), [1, 2]);
    const first = await daxrig('import', path.join(folder, 'runs'), '--db', db);
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toMatch(/^2 runs imported: 2 results, 10 samples in .*\n.*t\.db\n$/);
    const second = await daxrig('import', path.join(folder, 'runs'), '--db', db, '--json');
    expect(JSON.parse(second.stdout)).toMatchObject({ db, directories: 2, imported: 0, known: 2, damaged: 0, problems: [] });
  });

  it('exits 3 when something was left out, having recorded the rest', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    writeRun(folder);
    const broken = writeRun(folder);
    for (const name of ['run.json', 'events.ndjson']) fs.writeFileSync(path.join(broken, name), '{');
    expect(await failed('import', folder, '--db', db)).toEqual({
      code: 3,
      stdout: expect.stringMatching(/^1 run imported, 1 damaged and skipped: 1 result, 3 samples/) as string,
      stderr: `daxrig: ${broken}: run.json is not JSON (cut off?); events.ndjson holds no result; skipped\n`,
    });
    const odd = writeRun(scratch(), { results: [result({ samples: { bad: [-1], good: [1] } })] });
    expect(await failed('import', odd, '--db', db)).toMatchObject({ code: 3, stderr: expect.stringContaining('metric "bad": samples[0] is -1') as string });
  });

  it('takes the runs in the default place, and the default database, when none is named', async () => {
    const folder = scratch();
    const env = { ...process.env, XDG_STATE_HOME: path.join(folder, 'state'), XDG_DATA_HOME: path.join(folder, 'data') };
    writeSessions(path.join(folder, 'state/daxrig/runs'), [1]);
    expect(await start(['import'], { env }).ended).toMatchObject({ code: 0 });
    expect(fs.existsSync(path.join(folder, 'data/daxrig/timings.db'))).toBe(true);
    expect(await start(['history'], { env }).ended).toMatchObject({ code: 0, stdout: expect.stringContaining('fsdax/faults/first write') as string });
  });

  it('--rebuild reads known runs again and keeps those whose directory is gone', async () => {
    const folder = scratch();
    const env = { ...process.env, XDG_STATE_HOME: path.join(folder, 'none') };
    const db = path.join(folder, 't.db');
    writeSessions(path.join(folder, 'runs'), [1, 2, 3]);
    await daxrig('import', path.join(folder, 'runs'), '--db', db);
    const [gone] = fs.readdirSync(path.join(folder, 'runs'));
    fs.rmSync(path.join(folder, 'runs', gone!), { recursive: true });
    const { code, stdout, stderr } = await start(['import', '--rebuild', '--db', db, '--json'], { env }).ended;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ updated: 2, imported: 0 });
    expect(stderr).toBe(`daxrig: ${path.join(folder, 'runs', gone!)}: is gone; what is recorded of its run stays\n`);
    expect((await daxrig('history', '--csv', '--db', db)).stdout.trimEnd().split('\n')).toHaveLength(4);
  });

  it.each<[string[], RegExp]>([
    [['import', '/nonexistent/runs', '--db', '/tmp/x.db'], /^daxrig: \/nonexistent\/runs: no such folder\n$/],
    [['import', '--wait', 'soon'], /^daxrig: --wait NaN: a number of seconds\n$/],
    [['import', '--rebild'], /^daxrig: Unknown argument: rebild\n$/],
  ])('refuses %j', async (words, message) => {
    expect(await failed(...words)).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(message) as string });
  });
});
