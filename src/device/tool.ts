// Runs the field's command line tools (ndctl, mkfs, losetup) and turns their failures into one line.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { BrokenError, codeOf } from '../errors.js';

const run = promisify(execFile);

/** Folders searched besides PATH: a user's PATH often lacks the sbin ones. */
export const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

export const toolPath = (name: string): string | undefined =>
  [...(process.env.PATH ?? '').split(':'), ...SBIN].map((folder) => `${folder}/${name}`).find((file) => fs.existsSync(file));

/** Runs a tool to its end and gives its stdout. Throws BrokenError with the tool's own first line. */
export async function tool(name: string, args: readonly string[], options: { timeout?: number } = {}): Promise<string> {
  const path = toolPath(name);
  if (path === undefined) throw new BrokenError(`${name} is not installed`);
  try {
    const { stdout } = await run(path, [...args], { maxBuffer: 64 << 20, timeout: options.timeout ?? 120_000, killSignal: 'SIGKILL' });
    return stdout;
  } catch (error) {
    const said = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr) : '';
    const status = codeOf(error) ?? (error as { code?: number }).code ?? (error as { signal?: string }).signal;
    throw new BrokenError(`${name} ${args.join(' ')}: ${said.trim().split('\n').filter(Boolean).slice(0, 3).join(' | ') || `ended with ${String(status)}`}`, { cause: error });
  }
}
