// File and line of addresses, by whichever tool of the binutils family is installed.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { toolPath } from '../device/tool.js';
import { BrokenError, UsageError } from '../errors.js';
import type { SourceLine } from '../kernel/symbols.js';

/** All write "0xADDRESS", then a function and a file:line for each inlined call and at last for the function itself. */
const TOOLS: readonly (readonly [name: string, args: readonly string[]])[] = [
  ['addr2line', ['-a', '-f', '-i']],
  ['llvm-addr2line', ['-a', '-f', '-i']],
  ['llvm-symbolizer', ['--output-style=GNU', '-a', '-f', '-i']],
];

/**
 * Where each address is in the source; addresses without a line are left out. `anchor` is an address in kernel/panic.c:
 * it shows the folder that the kernel was built in, which is taken off. Throws UsageError when no tool is installed.
 */
export async function sourceLines(file: string, addresses: Iterable<bigint>, anchor?: bigint): Promise<Map<bigint, SourceLine>> {
  const wanted = [...new Set([...addresses, ...(anchor === undefined ? [] : [anchor])])];
  const found = TOOLS.map(([name, args]) => [toolPath(name), args] as const).find(([program]) => program !== undefined);
  if (found === undefined) throw new UsageError('file and line need addr2line or llvm-symbolizer: install the package binutils (or llvm)');
  const lines = parseLines(await feed(found[0]!, [...found[1], '-e', file], wanted.map((address) => `0x${address.toString(16)}\n`).join('')));
  const folder = anchor === undefined ? undefined : /^(.*\/)kernel\/panic\.c:/.exec(lines.get(anchor)?.source ?? '')?.[1];
  if (folder !== undefined) for (const line of lines.values()) strip(line, folder);
  return lines;
}

function strip(line: SourceLine, folder: string): void {
  const short = (source: string): string => (source.startsWith(folder) ? source.slice(folder.length) : source);
  line.source = short(line.source);
  for (const inlined of line.inlined) inlined.source = short(inlined.source);
}

function feed(program: string, args: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.on('error', (error) => reject(new BrokenError(`${program}: ${error.message}`, { cause: error })));
    child.on('close', (code, signal) => (code === 0 ? resolve(Buffer.concat(out).toString()) : reject(new BrokenError(`${program}: ${said.trim().split('\n')[0] || `ended with ${signal ?? code}`}`))));
    // A tool that gives up early closes its input; its exit status tells why.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** The tools' output as lines by address. */
export function parseLines(text: string): Map<bigint, SourceLine> {
  const lines = new Map<bigint, SourceLine>();
  const places: { function: string; source: string }[] = [];
  let address: bigint | undefined;
  const finish = (): void => {
    const outer = places.pop();
    if (address !== undefined && outer !== undefined && !/^\?\?|:[?0]/.test(outer.source)) lines.set(address, { source: outer.source, inlined: places.splice(0).filter(({ source }) => !/^\?\?|:[?0]/.test(source)) });
    places.length = 0;
  };
  const rows = text.split('\n');
  for (let row = 0; row < rows.length; row++) {
    const start = /^0x([0-9a-f]+)$/i.exec(rows[row]!);
    if (start !== null) {
      finish();
      address = BigInt(`0x${start[1]}`);
    } else if (row + 1 < rows.length && rows[row] !== '') {
      places.push({ function: rows[row]!, source: normal(rows[++row]!) });
    }
  }
  finish();
  return lines;
}

/** "/a/b/../c.c:12 (discriminator 3)" -> "/a/c.c:12" */
const normal = (source: string): string => path.posix.normalize(source.replace(/ \(discriminator \d+\)$/, ''));
