// A run records itself, and nothing that is wrong with the database can fail it.
import fs from 'node:fs';
import path from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { recordRun } from '../../src/run/record.js';
import { scratch, writeRun } from '../store/support.js';

async function recorded(db: string): Promise<{ run: string; said: string[] }> {
  const run = writeRun(scratch());
  const said: string[] = [];
  await recordRun(run, db, (line) => said.push(line));
  return { run, said };
}

const runsIn = (file: string): unknown => {
  const db = new Sqlite(file);
  try {
    return db.prepare('SELECT count(*) FROM runs').pluck().get();
  } finally {
    db.close();
  }
};

describe('a finished run', () => {
  it('is recorded without a word, in a database made for it', async () => {
    const db = path.join(scratch(), 'data', 'timings.db');
    expect((await recorded(db)).said).toEqual([]);
    expect(runsIn(db)).toBe(1);
  });

  it('is not recorded while another process writes, and says how to do it later', async () => {
    const db = path.join(scratch(), 'timings.db');
    await recorded(db);
    const other = new Sqlite(db);
    try {
      other.exec('BEGIN IMMEDIATE');
      const { run, said } = await recorded(db);
      expect(said).toEqual([`timings not recorded: ${db}: another process has been writing it for 5 s; the run is kept: daxrig import ${run}`]);
    } finally {
      other.close();
    }
    expect(runsIn(db)).toBe(1);
  }, 30_000);

  it.each<[string, (db: string) => void, RegExp]>([
    ['of a newer daxrig', (db) => new Sqlite(db).exec('PRAGMA user_version = 99').close(), /was written by a newer daxrig \(schema 99, .*; the run is kept: daxrig import /],
    ['of another program', (db) => { fs.rmSync(db); new Sqlite(db).exec('CREATE TABLE t (x)').close(); }, /is a SQLite database, but not of timings/],
    ['that is a folder', (db) => { fs.rmSync(db); fs.mkdirSync(db); }, /timings not recorded/],
    ['below a file', (db) => { fs.rmSync(db); fs.rmdirSync(path.dirname(db)); fs.writeFileSync(path.dirname(db), ''); }, /cannot be made \(E\w+\)/],
  ])('with a database %s costs one line', async (_, spoil, line) => {
    const db = path.join(scratch(), 'data', 'timings.db');
    await recorded(db);
    for (const suffix of ['-wal', '-shm']) fs.rmSync(`${db}${suffix}`, { force: true });
    spoil(db);
    const { said } = await recorded(db);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^timings not recorded: /);
    expect(said[0]).toMatch(line);
    expect(said[0]).not.toContain('\n');
  });
});
