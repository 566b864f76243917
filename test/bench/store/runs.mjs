// Run directories by the thousand, as runs leave them, with samples that are noise around a level that steps up once.
import fs from 'node:fs';
import path from 'node:path';
import { Random } from '../regress/noise.mjs';

const LAYOUT = { name: 'default', about: 'one pmem region of 1 GiB on 6 GiB', memory: 6 * 2 ** 30, pmem: [{ start: 2 ** 32, end: 5 * 2 ** 30 }], numaNodes: 1, nvdimms: [] };
const LOG = Array.from({ length: 20 }, (_, i) => `[    7.${String(i).padStart(6, '0')}] pmem0: line ${i} of what the kernel said meanwhile`);

/** The run.json of one run. */
export function runDocument(id, startedAt, kernel, results) {
  return {
    schema: 'daxrig-run-1',
    run: {
      id,
      startedAt: startedAt.toISOString(),
      endedAt: new Date(startedAt.getTime() + 60_000).toISOString(),
      folder: `/results/${id}`,
      version: '0.1.0',
      command: ['run', 'bench/*'],
      host: { kernel: '6.1.0-40-amd64', cpu: 'Some CPU @ 2.40GHz', cpus: 8, memory: 2 ** 34, node: process.version },
      guests: [{ kernel, spec: kernel, layout: LAYOUT, accel: 'tcg', accelWhy: 'no /dev/kvm', clock: 'wall', cpus: 2, qemu: '7.2.22', image: 'vmlinux' }],
    },
    results,
    totals: { pass: results.length, fail: 0, xfail: 0, skip: 0, broken: 0, lost: 0 },
  };
}

/** One passed result with its metrics, `{name: samples}`. */
export function runResult(workload, params, kernel, metrics, unit = 'ns', clock = 'wall') {
  return {
    id: workload, workload, params, seed: 1, outcome: 'pass', findings: [], evidence: { level: 'pmd' }, injected: 0, log: LOG, kernel, layout: 'default', seconds: 2.5, accel: 'tcg (no /dev/kvm)', clock,
    console: 'console-1-bench.log',
    metrics: Object.entries(metrics).map(([name, samples]) => ({ name, unit, clock, samples })),
  };
}

export function makeRuns(folder, { runs, workloads, metrics, samples, seed = 1 }) {
  const random = new Random(seed);
  const start = Date.UTC(2020, 0, 1);
  for (let run = 0; run < runs; run++) {
    const startedAt = new Date(start + run * 3_600_000);
    const id = `${startedAt.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}-${run.toString(16).padStart(6, '0')}`;
    const kernel = `6.${Math.floor((run * 20) / runs)}.0`;
    const level = run < (runs * 0.7) ? 1000 : 1100;
    const results = Array.from({ length: workloads }, (_, w) =>
      runResult(`bench/workload${w}`, { fs: 'ext4', align: '2M' }, kernel,
        Object.fromEntries(Array.from({ length: metrics }, (_, m) => [`metric ${m}`, Array.from({ length: samples }, () => Math.round(level * (w + 1) * Math.exp(0.05 * random.normal())))]))));
    const target = path.join(folder, id);
    fs.mkdirSync(target, { recursive: true });
    fs.writeFileSync(path.join(target, 'run.json'), `${JSON.stringify(runDocument(id, startedAt, kernel, results), null, 1)}\n`);
    fs.writeFileSync(path.join(target, 'events.ndjson'), '');
  }
}
