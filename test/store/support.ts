// Run directories as runs leave them, and the program itself for tests that need processes of their own.
import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, vi } from 'vitest';
import type { Metric, Outcome, Params, RunResult } from '../../src/run/result.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Processes are started, on machines that may be busy with guests.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const made: string[] = [];
afterAll(() => made.forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })));

/** An empty folder that is gone after the file's tests. */
export function scratch(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-store-'));
  made.push(folder);
  fs.chmodSync(folder, 0o755);
  return fs.realpathSync(folder);
}

export interface ResultSpec {
  workload?: string;
  params?: Params;
  kernel?: string;
  outcome?: Outcome;
  clock?: 'wall' | 'icount';
  accel?: string | null;
  /** By metric name; in ns. */
  samples?: Record<string, unknown[]>;
}

export function result({ workload = 'fsdax/faults', params = { fs: 'ext4' }, kernel = '6.1.0-40-amd64', outcome = 'pass', clock = 'wall', accel = 'tcg (no /dev/kvm)', samples = { 'first write': [100, 110, 90] } }: ResultSpec = {}): RunResult {
  const metrics = Object.entries(samples).map(([name, values]): Metric => ({ name, unit: 'ns', clock, samples: values as number[] }));
  return {
    id: workload, workload, params, kernel, outcome, seconds: 1, seed: 1, clock, findings: [], metrics, evidence: {}, injected: 0, log: [],
    ...(outcome === 'pass' ? {} : { reason: 'because' }),
    ...(accel === null ? {} : { accel, layout: 'default' }),
  };
}

export interface RunSpec {
  id?: string;
  started?: string;
  results?: RunResult[];
  host?: Record<string, unknown>;
  guest?: Record<string, unknown>;
  command?: string[];
  version?: string;
  ended?: boolean;
}

let runs = 0;

export function runDocument({ id, started, results = [result()], host = {}, guest = {}, command = ['run'], version = '0.1.0', ended = true }: RunSpec = {}): { run: { id: string } & Record<string, unknown>; results: RunResult[] } & Record<string, unknown> {
  const number = ++runs;
  const at = started ?? new Date(Date.UTC(2026, 0, 1, number)).toISOString();
  const layout = { name: 'default', about: 'one region', memory: 2 ** 32, pmem: [{ start: 2 ** 32, end: 2 ** 33 }], softReserved: [], numaNodes: 1, nvdimms: [] };
  const kernels = [...new Set(results.filter(({ accel }) => accel !== undefined).map(({ kernel }) => kernel))];
  return {
    schema: 'daxrig-run-1',
    run: {
      id: id ?? `20260101-000000-${number.toString(16).padStart(6, '0')}`,
      startedAt: at,
      ...(ended ? { endedAt: at } : {}),
      folder: '/elsewhere',
      version,
      command,
      host: { kernel: '6.1.0', cpu: 'Some CPU', cpus: 8, ...host },
      guests: kernels.map((kernel) => ({ kernel, layout, accel: 'tcg', clock: 'wall', cpus: 2, qemu: '7.2.22', ...guest })),
    },
    results,
    totals: {},
  };
}

/** Writes a run directory below `folder` and gives its path. */
export function writeRun(folder: string, spec: RunSpec = {}): string {
  const document = runDocument(spec);
  const target = path.join(folder, document.run.id);
  fs.mkdirSync(target, { recursive: true });
  fs.writeFileSync(path.join(target, 'run.json'), JSON.stringify(document));
  fs.writeFileSync(path.join(target, 'events.ndjson'), eventLines(document.results));
  return target;
}

/** events.ndjson of a run that gave these results. */
export function eventLines(results: readonly RunResult[], at = '2026-01-01T00:00:00.000Z'): string {
  return results
    .flatMap((one, index) => [
      { at, type: 'begin', index, id: one.id, kernel: one.kernel, label: one.accel === undefined ? '/dev/dax0.0' : `${one.kernel} default`, seed: 1 },
      { at, index, type: 'step', text: 'running', time: '1' },
      { at, type: 'result', index, result: one },
    ])
    .map((event) => `${JSON.stringify(event)}\n`)
    .join('');
}

/** One session after another of one metric, an hour apart. */
export function writeSessions(folder: string, medians: readonly number[], spec: ResultSpec = {}, run: RunSpec = {}): void {
  medians.forEach((median, i) => {
    const samples = [0.99, 0.995, 1, 1.005, 1.01].map((factor) => (spec.clock === 'icount' ? median : median * factor * (1 + ((i * 7) % 5) / 1000)));
    writeRun(folder, { started: new Date(Date.UTC(2026, 0, 1, i)).toISOString(), ...run, results: [result({ samples: { 'first write': samples }, ...spec })] });
  });
}

let built: string | undefined;

/** The compiled program, from these sources: its folder, with dist/ in it. */
export function program(): string {
  if (built) return built;
  const folder = scratch();
  for (const name of ['package.json', 'node_modules', 'build']) fs.symlinkSync(path.join(root, name), path.join(folder, name));
  execFileSync(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', path.join(root, 'tsconfig.json'), '--outDir', path.join(folder, 'dist'), '--declaration', 'false', '--sourceMap', 'false']);
  return (built = folder);
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Child {
  process: ChildProcess;
  ended: Promise<Ended>;
}

export function start(words: readonly string[], options: SpawnOptions = {}): Child {
  const child = spawn(process.execPath, [path.join(program(), 'dist/cli/main.js'), ...words], { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { process: child, ended };
}

export const daxrig = (...words: string[]): Promise<Ended> => start(words).ended;
