// How samples are best stored: JSON text or float64, for sample sets as they occur. Prints sizes and the time to write and read
// a million samples; the answer is in docs/database.md.
import Database from 'better-sqlite3';
import { Random } from '../regress/noise.mjs';

const random = new Random(1);
const KINDS = { instructions: () => Math.round(13_000 * Math.exp(0.01 * random.normal())), 'averaged ns': () => 1000 * Math.exp(0.05 * random.normal()) };
const FORMATS = {
  json: [(samples) => JSON.stringify(Array.from(samples)), (text) => Float64Array.from(JSON.parse(text)), 'TEXT'],
  float64: [(samples) => Buffer.from(samples.buffer), (data) => new Float64Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)), 'BLOB'],
};

const seconds = (work) => {
  const started = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - started) / 1e9;
};

console.log('| samples | per row | format | MiB | write s | read s |\n|---|---|---|---|---|---|');
for (const [kind, draw] of Object.entries(KINDS))
  for (const size of [10, 200, 5000]) {
    const rows = Array.from({ length: 1e6 / size }, () => Float64Array.from({ length: size }, draw));
    for (const [format, [encode, decode, type]] of Object.entries(FORMATS)) {
      const db = new Database(':memory:');
      db.exec(`CREATE TABLE samples (id INTEGER PRIMARY KEY, data ${type} NOT NULL) STRICT`);
      const add = db.prepare('INSERT INTO samples (data) VALUES (?)');
      const write = seconds(db.transaction(() => rows.forEach((row) => add.run(encode(row)))));
      const all = db.prepare('SELECT data FROM samples').pluck();
      const read = seconds(() => {
        for (const data of all.iterate()) decode(data);
      });
      const bytes = db.pragma('page_count', { simple: true }) * db.pragma('page_size', { simple: true });
      console.log(`| ${kind} | ${size} | ${format} | ${(bytes / 2 ** 20).toFixed(1)} | ${write.toFixed(2)} | ${read.toFixed(2)} |`);
      db.close();
    }
  }
