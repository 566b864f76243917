// Runs the field's command line tools (ndctl, mkfs, losetup) and turns their failures into one line.
import fs from 'node:fs';
import { BrokenError } from '../errors.js';
import { runProgram, signalName, type ProgramLimits } from '../native.js';

/** Folders searched besides PATH: a user's PATH often lacks the sbin ones. */
export const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

export const toolPath = (name: string): string | undefined =>
  [...(process.env.PATH ?? '').split(':'), ...SBIN].map((folder) => `${folder}/${name}`).find((file) => fs.existsSync(file));

/** Runs a tool to its end and gives its stdout. Throws BrokenError with the tool's own first line. */
export async function tool(name: string, args: readonly string[], options: ProgramLimits = {}): Promise<string> {
  const path = toolPath(name);
  if (path === undefined) throw new BrokenError(`${name} is not installed`);
  const { stdout, stderr, status, signal, killed } = await runProgram(path, args, options);
  if (status === 0) return stdout;
  const how = killed === 'timeout' ? 'took too long, and was killed' : killed === 'output' ? 'said too much, and was killed' : signal === undefined ? `ended with ${status}` : `ended by ${signalName(signal)}`;
  throw new BrokenError(`${name} ${args.join(' ')}: ${stderr.trim().split('\n').filter(Boolean).slice(0, 3).join(' | ') || how}`);
}
