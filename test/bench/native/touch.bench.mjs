// What the addon costs: its touch loop against the same loop in C, and a native call that does nothing.
//
//   node test/bench/native/touch.bench.mjs [FOLDER] [--program FILE] [--rounds N] [--check] [--json]
//
// FOLDER is where the touched file is made: on a DAX mount it measures DAX. The C loop is compiled with gcc -O2 -static, or,
// where there is no compiler (in a guest), taken from --program. Rounds of both alternate, so that what else the machine does
// meets both; the figure is the ratio of the medians. The few faults of 2 MiB are shown but not judged: each call begins with
// caches that Node has used meanwhile, and 32 accesses are too few to make up for that. --check ends with 1 on a missed target.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Mapping, nothing } from '../../../dist/native.js';
import { roundInAddon } from '../timing/c-loop.mjs';

const LENGTH = 64 * 1024 * 1024;
const TARGET_RATIO = 1.02;
const TARGET_CALL_NS = 500;
const CASES = [
  { name: 'fault per 4 KiB', stride: 4096, drop: true, repeat: 1, timed: false, judged: true },
  { name: 'fault per 4 KiB, each timed', stride: 4096, drop: true, repeat: 1, timed: true, judged: true },
  { name: 'fault per 2 MiB', stride: 2 * 1024 * 1024, drop: true, repeat: 16, timed: false, judged: false },
  { name: 'mapped already', stride: 64, drop: false, repeat: 1, timed: false, judged: true },
  { name: 'mapped already, each timed', stride: 4096, drop: false, repeat: 10, timed: true, judged: true },
];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    program: { type: 'string' },
    rounds: { type: 'string', default: '31' },
    check: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const folder = mkdtempSync(join(positionals[0] ?? tmpdir(), 'daxrig-bench-'));

function program() {
  if (options.program !== undefined) return options.program;
  const built = join(mkdtempSync(join(tmpdir(), 'daxrig-bench-')), 'touch');
  execFileSync('gcc', ['-O2', '-static', fileURLToPath(new URL('touch.c', import.meta.url)), '-o', built], { stdio: 'inherit' });
  process.on('exit', () => rmSync(join(built, '..'), { recursive: true, force: true }));
  return built;
}

/** The C loop as a co-process: one line in, one line out per round. */
function loopInC(path) {
  const child = spawn(program(), [path, String(LENGTH)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async round({ stride, drop, repeat, timed }) {
      child.stdin.write(`${stride} ${Number(drop)} ${repeat} ${Number(timed)}\n`);
      const line = await lines.next();
      if (line.done) throw new Error('the C loop ended');
      return Number(line.value);
    },
    end: () => child.stdin.end(),
  };
}

async function compare(path, fd) {
  const inC = loopInC(path);
  const mapping = Mapping.map({ fd, length: LENGTH, align: 2 * 1024 * 1024 });
  mapping.fill(0, LENGTH, { kind: 'byte', value: 1 });
  const results = [];
  for (const test of CASES) {
    const times = { c: [], addon: [] };
    for (let round = -2; round < Number(options.rounds); round++) {
      const c = await inC.round(test);
      const addon = roundInAddon(mapping, test);
      if (round < 0) continue; // warm up
      times.c.push(c);
      times.addon.push(addon);
    }
    const accesses = (LENGTH / test.stride) * test.repeat;
    const ratio = median(times.addon) / median(times.c);
    results.push({ name: test.name, judged: test.judged, cNs: median(times.c) / accesses, addonNs: median(times.addon) / accesses, ratio });
  }
  mapping.close();
  inC.end();
  return results;
}

function nothingNs() {
  const calls = 200_000;
  const batches = Array.from({ length: 15 }, () => {
    const started = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) nothing();
    return Number(process.hrtime.bigint() - started) / calls;
  });
  return median(batches);
}

try {
  const path = join(folder, 'file');
  const fd = openSync(path, 'w+');
  ftruncateSync(fd, LENGTH);
  const touch = await compare(path, fd);
  closeSync(fd);
  const result = { touch, nothingNs: nothingNs() };
  if (options.json) {
    console.log(JSON.stringify(result));
  } else {
    for (const { name, cNs, addonNs, ratio } of touch)
      console.log(`${name.padEnd(30)} C ${cNs.toFixed(1).padStart(8)} ns  addon ${addonNs.toFixed(1).padStart(8)} ns  ratio ${ratio.toFixed(3)}`);
    console.log(`${'a call that does nothing'.padEnd(30)} ${result.nothingNs.toFixed(1)} ns`);
  }
  if (options.check && (touch.some(({ judged, ratio }) => judged && ratio > TARGET_RATIO) || result.nothingNs > TARGET_CALL_NS)) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
