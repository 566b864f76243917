// --load: the addon's touch loop beside the same loop in C (test/bench/native/touch.c, built by the bench, a guest file), and what
// timing each of 200 faults adds. Rounds alternate, so that what else the host does meets all alike.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';

const PROGRAM = '/run/daxrig/touch';
const PAGE = 4096;
const PMD = 2 << 20;
const LENGTH = 16 * PMD;
const ROUNDS = 15;
const FEW = 200;

// At a page's offset in the file no huge entry fits.
export const CASES = [
  { name: 'fault of 4 KiB', offset: PAGE, stride: PAGE, drop: true, repeat: 1, timed: false },
  { name: 'fault of 4 KiB, each timed', offset: PAGE, stride: PAGE, drop: true, repeat: 1, timed: true },
  { name: 'fault of 2 MiB', offset: 0, stride: PMD, drop: true, repeat: 40, timed: false },
  { name: 'fault of 2 MiB, each timed', offset: 0, stride: PMD, drop: true, repeat: 40, timed: true },
  { name: 'mapped already', offset: 0, stride: 64, drop: false, repeat: 4, timed: false },
  { name: 'mapped already, each timed', offset: 0, stride: PAGE, drop: false, repeat: 20, timed: true },
];
const LOOPS = ['in C', 'in the addon'];
const TIMED = [`${FEW} faults, timed`, `${FEW} faults, not timed`];

/** One line in, one line out per round; the program has as many mappings as this process, for both are searched at each fault. */
function loopInC(file, offset) {
  const mappings = fs.readFileSync('/proc/self/maps', 'utf8').split('\n').length - 1;
  const child = spawn(PROGRAM, [file, String(LENGTH), String(offset), String(mappings)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async round({ stride, drop, repeat, timed }) {
      child.stdin.write(`${stride} ${Number(drop)} ${repeat} ${Number(timed)}\n`);
      const { done, value } = await lines.next();
      if (done) throw new Error('the C loop ended');
      return Number(value);
    },
    end: () => new Promise((resolve) => child.once('exit', resolve).stdin.end()),
  };
}

/** One round of the touch loop over a whole mapping, ns. */
export function roundInAddon(mapping, { stride, drop, repeat, timed }) {
  let total = 0;
  for (let pass = 0; pass < repeat; pass++) {
    if (drop) mapping.madvise(0, mapping.length, 'dontneed');
    total += mapping.touch({ count: mapping.length / stride, stride, access: 'rmw', timed }).totalNs;
  }
  return total;
}

export default {
  name: 'bench/c-loop',
  about: 'the timed loop in C and in the addon, ns of all accesses; 200 faults with and without samples',
  guards: ['what measuring costs'],
  needs: { dax: 'fsdax', size: 64 * PMD },
  params: { fs: ['ext4'] },
  metrics: [...CASES.flatMap(({ name }) => LOOPS.map((where) => `${name}, ${where}`)), ...TIMED].map((name) => ({ name, unit: 'ns', better: 'lower' })),
  timeout: 300,
  async run(ctx) {
    if (!fs.existsSync(PROGRAM)) ctx.skip(`needs the C loop: --guest-file touch:${PROGRAM}`);
    const path = `${ctx.fsdax.folder}/file`;
    const fd = fs.openSync(path, 'w+');
    ctx.cleanup(() => fs.closeSync(fd));
    for (let at = 0; at < LENGTH + PMD; at += PMD) fs.writeSync(fd, Buffer.alloc(PMD, 1), 0, PMD, at);
    fs.fsyncSync(fd);
    for (const test of CASES) {
      ctx.step(test.name);
      const inC = loopInC(path, test.offset);
      const mapping = ctx.native.Mapping.map({ fd, offset: test.offset, length: LENGTH, align: PMD });
      const times = LOOPS.map(() => []);
      for (let round = 0; round < ROUNDS; round++) {
        times[0].push(await inC.round(test));
        times[1].push(roundInAddon(mapping, test));
      }
      mapping.close();
      await inC.end();
      LOOPS.forEach((where, i) => ctx.metric(`${test.name}, ${where}`, times[i]));
    }
    ctx.step(`${FEW} faults`);
    const mapping = ctx.native.Mapping.map({ fd, offset: PAGE, length: FEW * PAGE, align: PMD });
    ctx.cleanup(() => mapping.close());
    const times = TIMED.map(() => []);
    for (let round = 0; round < 2 * ROUNDS; round++)
      [true, false].forEach((timed, i) => {
        mapping.madvise(0, FEW * PAGE, 'dontneed');
        const touched = mapping.touch({ count: FEW, access: 'read', timed });
        ctx.expect(touched.minorFaults === FEW, `${FEW} reads should take as many faults`, touched);
        times[i].push(touched.totalNs);
      });
    TIMED.forEach((name, i) => ctx.metric(name, times[i]));
  },
};
