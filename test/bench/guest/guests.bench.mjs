// What fresh guests cost, as ratios to a bare boot of the same kernel in the same run, and that counted runs repeat.
// usage: node test/bench/guest/guests.bench.mjs [--repeats 100] [--restores 100] [--only cold,warm,size,default,seeds,eight,restores,repeat]
// Needs a built dist/ and the kernel package in the cache (any `daxrig run` has put it there).
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const main = path.join(root, 'dist/cli/main.js');
const { values } = parseArgs({ options: { repeats: { type: 'string', default: '100' }, restores: { type: 'string', default: '100' }, only: { type: 'string' } } });
const wanted = (name) => values.only === undefined || values.only.split(',').includes(name);

const { resolveKernels } = await import(path.join(root, 'dist/guest/kernel.js'));
const { CpioArchive } = await import(path.join(root, 'dist/guest/cpio.js'));
const [kernel] = await resolveKernels(undefined, {});
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-bench-'));
const quick = path.join(folder, 'quick.mjs');
fs.writeFileSync(quick, `export default Array.from({ length: 20 }, (_, i) => ({ name: 'quick/n' + String(i).padStart(2, '0'), about: 'nothing', guards: [], needs: {}, run() {} }));\n`);
let failed = 0;

const seconds = (start) => Number(process.hrtime.bigint() - start) / 1e9;
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
function report(name, value, limit, unit) {
  const ok = value <= limit;
  if (!ok) failed++;
  console.log(`${ok ? 'ok  ' : 'OVER'} ${name.padEnd(58)} ${value.toFixed(2)} ${unit} (at most ${limit})`);
}

/** Boot and power off the same vmlinux with a busybox initramfs, the guest otherwise as daxrig starts it. */
function bareBoot() {
  const initramfs = path.join(folder, 'bare.cpio');
  if (!fs.existsSync(initramfs)) {
    const archive = new CpioArchive();
    const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((file) => fs.existsSync(file));
    for (const name of ['dev', 'proc', 'sys']) archive.add({ kind: 'folder', name, mode: 0o755 });
    archive.add({ kind: 'file', name: 'bin/busybox', mode: 0o755, content: { file: busybox } });
    archive.add({ kind: 'link', name: 'bin/sh', target: 'busybox' });
    archive.add({ kind: 'file', name: 'init', mode: 0o755, content: Buffer.from('#!/bin/sh\n/bin/busybox poweroff -f\n') });
    const fd = fs.openSync(initramfs, 'w');
    archive.writeTo(fd);
    fs.closeSync(fd);
  }
  const start = process.hrtime.bigint();
  const { status } = spawnSync('qemu-system-x86_64', ['-nodefaults', '-display', 'none', '-no-reboot', '-machine', 'pc', '-accel', 'tcg', '-cpu', 'max', '-m', '6G', '-kernel', kernel.image, '-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1 memmap=1G!4G', '-serial', 'null'], { timeout: 60_000 });
  if (status !== 0) throw new Error(`the bare boot ended with ${status}`);
  return seconds(start);
}

function run(args, env = {}, load = ['--load', quick]) {
  const out = fs.mkdtempSync(path.join(folder, 'run-'));
  const start = process.hrtime.bigint();
  const { status, stderr } = spawnSync(process.execPath, [main, 'run', ...args, ...load, '--out', path.join(out, 'o'), '--json'], { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  const took = seconds(start);
  if (status !== 0) throw new Error(`daxrig run ${args.join(' ')} ended with ${status}: ${stderr}`);
  return { took, document: JSON.parse(fs.readFileSync(path.join(out, 'o/run.json'), 'utf8')), out: path.join(out, 'o') };
}

const guests = () => execFileSync('sh', ['-c', 'pgrep -f "[q]emu-system.*daxrig-bench" || true'], { encoding: 'utf8' }).trim().split('\n').filter(Boolean);

try {
  const bare = median([bareBoot(), bareBoot(), bareBoot()]);
  console.log(`bare boot and power off: ${bare.toFixed(2)} s (${kernel.release}, ${kernel.imageKind})`);

  if (wanted('cold')) {
    const cold = [0, 1, 2].map((i) => {
      const cache = path.join(folder, `cache${i}`);
      fs.mkdirSync(cache);
      const mine = process.env.DAXRIG_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'daxrig');
      // As fetching a kernel leaves it: unpacked, and its vmlinux extracted, which the bare boot starts too.
      for (const kind of ['kernels', 'vmlinux', 'apt', 'accel']) execFileSync('cp', ['-al', path.join(mine, kind), cache]);
      const { took } = run(['quick/n00'], { DAXRIG_CACHE: cache });
      fs.rmSync(cache, { recursive: true });
      return took;
    });
    report('cold: run of one workload, only the kernel cached', median(cold) / bare, 2.5, 'bare boots');
  }
  if (wanted('warm')) {
    run(['quick/n00']); // the state is there from here on
    const warm = [0, 1, 2, 3, 4].map(() => {
      const { out } = run(['kernel/boot']);
      const events = fs.readFileSync(path.join(out, 'events.ndjson'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
      const at = (type) => Date.parse(events.find((event) => event.type === type).at) / 1000;
      return at('start') - at('begin');
    });
    report('warm: a fresh copy, started to its first event', median(warm) / bare, 0.15, `bare boots (${median(warm).toFixed(2)} s)`);
    report('20 workloads in 20 fresh guests, the whole command', run(['quick/*']).took, 15, 's');
  }
  if (wanted('size')) {
    run(['quick/n00']);
    const states = path.join(process.env.DAXRIG_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'daxrig'), 'states');
    const newest = fs.readdirSync(states).map((name) => path.join(states, name)).sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs)[0];
    report('a saved state on disk', Number(execFileSync('du', ['-sk', newest], { encoding: 'utf8' }).split('\t')[0]) / 1024, 500, 'MB');
  }
  if (wanted('default')) {
    for (const [what, words, limit] of [['the default run', [], 60], ['--quick', ['--quick'], 20]]) {
      run(words, {}, []); // the state is there from here on
      const { took, document } = run(words, {}, []);
      report(`${what}, ${document.results.length} instances`, took, limit, 's');
    }
  }
  if (wanted('seeds')) {
    const count = 120;
    const words = ['race/locked-update', '--load', path.join(root, 'test/fixtures/workloads/race.mjs'), '--clock', 'icount'];
    run([...words, '--seed', '1'], {}, []);
    const { took } = run([...words, '--seeds', `1..${count}`], {}, []);
    report('a seed of a race of two threads, in a fresh copy', took / count, 1 / 3, 's');
  }
  if (wanted('eight')) {
    fs.writeFileSync(path.join(folder, 'wait.mjs'), "export default { name: 'quick/wait', about: 'waits', guards: [], needs: {}, run: () => new Promise((resolve) => setTimeout(resolve, 6000)) };\n");
    const child = spawn(process.execPath, [main, 'run', 'quick/wait', '--repeat', '8', '--jobs', '8', '--load', path.join(folder, 'wait.mjs'), '--out', path.join(folder, 'eight')], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('close', resolve));
    let own = [];
    for (const deadline = Date.now() + 60_000; Date.now() < deadline && child.exitCode === null; await new Promise((resolve) => setTimeout(resolve, 250))) {
      const pids = guests();
      if (pids.length < 8) continue;
      const now = pids.map((pid) => {
        try {
          return Number(/^Private_Dirty:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]) / 1024;
        } catch {
          return 0;
        }
      });
      if (median(now) > median(own.length > 0 ? own : [0])) own = now;
    }
    const status = await ended;
    if (status !== 0 || own.length < 8) failed++;
    console.log(`${status === 0 && own.length >= 8 ? 'ok  ' : 'OVER'} 8 copies at once: exit ${status}, ${own.length} seen running together`);
    if (own.length > 0) report('memory of its own per copy (private, dirty)', median(own), 100, 'MB');
  }
  if (wanted('restores')) {
    const count = Number(values.restores);
    const before = fs.readdirSync('/tmp').length;
    const { document, took, out } = run(['quick/n00', '--repeat', String(count)]);
    const left = [...guests(), ...fs.readdirSync(out).filter((name) => name.startsWith('.'))];
    const ok = document.totals.pass === count && left.length === 0 && fs.readdirSync('/tmp').length <= before;
    if (!ok) failed++;
    console.log(`${ok ? 'ok  ' : 'OVER'} ${count} restores in a row: ${document.totals.pass} passed, ${left.length} left behind, ${(took / count).toFixed(2)} s each`);
  }
  if (wanted('repeat')) {
    const count = Number(values.repeats);
    const names = [['fsdax/poison', 'fs=ext4', 'map=mem'], ['devdax/fault', 'map=mem', 'align=2M'], ['kpageflags/walk'], ['fsdax/pte-pmd-conflict', 'fs=ext4'], ['fsdax/poison-races', 'fs=ext4', 'against=truncate']];
    for (const [name, ...params] of names) {
      let document;
      try {
        ({ document } = run([name, ...params.flatMap((param) => ['--param', param]), '--clock', 'icount', '--seed', '7', '--repeat', String(count)]));
      } catch (error) {
        failed++;
        console.log(`OVER ${name}: ${error.message}`);
        continue;
      }
      for (const id of new Set(document.results.map((result) => result.id))) {
        const digests = new Set(document.results.filter((result) => result.id === id).map(({ digest }) => digest));
        if (digests.size !== 1) failed++;
        console.log(`${digests.size === 1 ? 'ok  ' : 'OVER'} ${id}: ${count} counted runs, ${digests.size} digest(s)`);
      }
    }
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
