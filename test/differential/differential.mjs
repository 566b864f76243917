// ndctl's DAX test programs and the workloads that stand for them, on the same saved guest of each kernel, side by side.
//
//   node test/differential/differential.mjs NDCTL_BUILD [KERNEL...]
//
// NDCTL_BUILD is the build folder of ndctl v81 with its tests (ninja: test/dax-pmd test/mmap test/dax-dev test/device-dax
// test/revoke_devmem test/hugetlb). Without one there is nothing to compare: it says so and ends with 0.
// Exit 1 when a verdict pair is not one that docs/differential.md explains (EXPLAINED below), 3 when a run broke.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const main = path.resolve(here, '../../dist/cli/main.js');
const [build, ...kernels] = process.argv.slice(2);

/** Each program, and the workloads that stand for it (docs/workloads.md). */
const PAIRS = [
  ['ndctl/dax-pmd', ['fsdax/pmd-fault', 'fsdax/direct-io', 'fsdax/remap', 'fsdax/map-sync', 'fsdax/poison']],
  ['ndctl/mmap', ['fsdax/mmap-matrix']],
  ['ndctl/dax-dev', ['devdax/verify', 'devdax/file-ops']],
  ['ndctl/device-dax', ['devdax/fault', 'devdax/direct-io', 'devdax/remap', 'devdax/poison']],
  ['ndctl/revoke-devmem', ['kernel/revoke-devmem']],
  ['ndctl/hugetlb', ['kernel/hugetlb']],
];
/** Differences that docs/differential.md gives the reason of. */
const EXPLAINED = new Set(['ndctl/device-dax', 'ndctl/hugetlb', 'ndctl/dax-pmd']);

const PROGRAMS = ['test/dax-pmd', 'test/mmap', 'test/dax-dev', 'test/device-dax', 'test/revoke_devmem', 'test/hugetlb'];
const LIBRARIES = ['ndctl/lib/libndctl.so.6', 'daxctl/lib/libdaxctl.so.1'];

if (build === undefined || !fs.existsSync(build)) {
  console.log(`skipped: ${build === undefined ? 'no folder of an ndctl build was named' : `${build} does not exist`}`);
  process.exit(0);
}
const missing = [...PROGRAMS, ...LIBRARIES].filter((name) => !fs.existsSync(path.join(build, name)));
if (missing.length > 0) {
  console.error(`differential: ${build} lacks ${missing.join(', ')}; build ndctl's tests there`);
  process.exit(2);
}

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-differential-'));
try {
  const out = path.join(scratch, 'run');
  const files = [...PROGRAMS, ...LIBRARIES].flatMap((name) => ['--guest-file', `${fs.realpathSync(path.join(build, name))}:/run/daxrig/ndctl/${name}`]);
  const names = PAIRS.flatMap(([theirs, ours]) => [theirs, ...ours]);
  const { status } = spawnSync(
    process.execPath,
    // Room for files and devices of 1 GiB pages, which some of the programs want.
    [main, 'run', ...names, '--load', path.join(here, 'ndctl.mjs'), '--layout', 'huge', '--param', 'map=mem', '--param', 'fs=ext4,xfs', ...files, ...kernels.flatMap((kernel) => ['--kernel', kernel]), '--out', out, '--json'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (status === 2 || !fs.existsSync(path.join(out, 'run.json'))) process.exit(status ?? 3);
  const { results } = JSON.parse(fs.readFileSync(path.join(out, 'run.json'), 'utf8'));
  let unexplained = 0;
  for (const kernel of [...new Set(results.map((result) => result.kernel))]) {
    console.log(`\n${kernel}`);
    console.log(`  ${'ndctl v81'.padEnd(28)}${'verdict'.padEnd(9)}${'daxrig'.padEnd(9)}workloads`);
    const mine = results.filter((result) => result.kernel === kernel);
    for (const [theirs, ours] of PAIRS) {
      const our = mine.filter(({ workload }) => ours.includes(workload));
      for (const their of mine.filter(({ workload }) => workload === theirs)) {
        const fitting = our.filter(({ params }) => their.params.fs === undefined || params.fs === undefined || params.fs === their.params.fs);
        const verdict = joined(fitting);
        const differs = their.outcome !== verdict;
        if (differs && !EXPLAINED.has(theirs)) unexplained++;
        console.log(`  ${their.id.slice('ndctl/'.length).padEnd(28)}${their.outcome.padEnd(9)}${verdict.padEnd(9)}${counted(fitting)}${differs ? (EXPLAINED.has(theirs) ? '  (explained)' : '  DIFFERS') : ''}`);
        for (const { outcome, id, reason } of [their, ...fitting].filter((result) => differs && result.reason)) console.log(`      ${outcome}: ${id}: ${reason.slice(0, 200)}`);
      }
    }
  }
  process.exitCode = results.some(({ outcome }) => outcome === 'broken' || outcome === 'lost') ? 3 : unexplained > 0 ? 1 : 0;
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}

/** One verdict of several: the worst that counts. */
function joined(results) {
  for (const outcome of ['broken', 'lost', 'fail', 'xfail', 'pass']) if (results.some((result) => result.outcome === outcome)) return outcome;
  return results.length > 0 ? 'skip' : 'none';
}

function counted(results) {
  const counts = new Map();
  for (const { outcome } of results) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  return [...counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ');
}
