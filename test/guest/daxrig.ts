// Runs the built program as a user would, and looks at what it leaves.
import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import type { RunDocument } from '../../src/run/runner.js';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const fixtures = path.join(root, 'test/fixtures');
const main = path.join(root, 'dist/cli/main.js');

/** Runs record themselves: not in the timings of whoever runs the tests. */
const data = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-data-'));
afterAll(() => fs.rmSync(data, { recursive: true, force: true }));

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Started {
  child: ChildProcess;
  ended: Promise<Ended>;
}

export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, XDG_DATA_HOME: data, ...env } });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
  return { child, ended };
}

export const daxrig = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> => start(args, env).ended;

/** `daxrig run ... --json`, parsed. */
export async function runJson(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; document: RunDocument; stderr: string }> {
  const { code, stdout, stderr } = await daxrig(['run', ...args, '--json'], env);
  try {
    return { code, document: JSON.parse(stdout) as RunDocument, stderr };
  } catch (error) {
    throw new Error(`no JSON on stdout (exit ${code}): ${stdout.slice(0, 500)}\n${stderr}`, { cause: error });
  }
}

export const temporary = (name: string): string => fs.mkdtempSync(path.join(os.tmpdir(), `daxrig-test-${name}-`));

/** QEMU processes whose command line names the folder. */
export function guestsOf(folder: string): number[] {
  return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      const line = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return line.includes('qemu-system') && line.includes(folder) ? [Number(pid)] : [];
    } catch {
      return []; // gone meanwhile
    }
  });
}

/** Waits until `look` gives something; fails after `seconds`. */
export async function until<T>(look: () => T | undefined, what: string, seconds = 120): Promise<T> {
  for (const deadline = Date.now() + seconds * 1000; Date.now() < deadline; ) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what} did not happen within ${seconds} s`);
}
