// daxrig klog: what a kernel log says.
import { open } from 'node:fs/promises';
import v8 from 'node:v8';
import { constants, createGunzip } from 'node:zlib';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { codeOf, DaxrigError, messageOf, UsageError } from '../errors.js';
import { FINDING_KINDS, isComplaint, KernelLog, type Finding, type FindingKind, type KernelReport } from '../kernel/klog.js';
import type { SymbolisedFrame } from '../kernel/types.js';
import { addLines, isOtherKernel, wantedLines } from '../kernel/symbols.js';
import { sourceLines } from '../symbols/lines.js';
import { loadSystemMap, loadVmlinux, type KernelSymbols } from '../symbols/load.js';
import { formatSeconds } from '../units.js';

/** Bytes read at a time. */
const CHUNK = 256 * 1024;
const GZIP = Buffer.from([0x1f, 0x8b]);

const builder = (yargs: Argv) =>
  yargs
    .positional('file', { type: 'string', demandOption: true, describe: 'dmesg, journalctl, serial console or mail text, also gzipped; - for stdin' })
    // Without a fixed count yargs takes a lone "-" for an option without a name.
    .nargs('file', 1)
    .option('expect', { choices: FINDING_KINDS, array: true, default: [] as FindingKind[], describe: 'kinds that were provoked and so are no complaint' })
    .option('excerpt', { type: 'number', default: 12, describe: 'lines shown of each report; 0 for none' })
    .option('vmlinux', { type: 'string', describe: 'vmlinux of the kernel that printed the log: names addresses, and gives file and line if it has debug information' })
    .option('system-map', { type: 'string', describe: 'System.map of that kernel, or a copy of its /proc/kallsyms: names addresses' })
    .conflicts('vmlinux', 'system-map')
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example('dmesg | $0 klog -', 'this machine')
    .example('$0 klog console.log.gz --json', 'findings, stalls and memory maps as data')
    .example('$0 klog oops.txt --vmlinux vmlinux', 'with functions, files and lines')
    .example('$0 klog dmesg.txt --expect memory-failure', 'after poison was injected');

type KlogArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

async function handler({ file, expect, excerpt, vmlinux, systemMap, json }: KlogArguments): Promise<void> {
  if (!Number.isInteger(excerpt) || excerpt < 0) throw new UsageError(`--excerpt ${excerpt}: write a number of lines, 0 or more`);
  const symbols = vmlinux !== undefined ? loadVmlinux(vmlinux) : systemMap !== undefined ? await loadSystemMap(systemMap) : undefined;
  // Lines live shortly: a young generation that does not grow keeps memory flat, and costs no time.
  v8.setFlagsFromString('--semi-space-growth-factor=1');
  const report = await readLog(file, symbols);
  if (symbols !== undefined) await addSource(report, symbols);
  process.stdout.write(json ? `${JSON.stringify(report, null, 1)}\n` : summary(report, expect, excerpt));
  process.exitCode = report.findings.some((finding) => isComplaint(finding, expect)) ? 1 : 0;
}

/** Puts files and lines to what the symbols have named; says on stderr what keeps it from doing so. */
async function addSource(report: KernelReport, symbols: KernelSymbols): Promise<void> {
  const { checked, matched, addresses, named } = report.symbols!;
  const releases = symbols.release !== undefined && report.release !== undefined && symbols.release !== report.release ? `; they are of ${symbols.release}, the log is of ${report.release}` : '';
  const other = isOtherKernel(report.symbols!);
  if (other || releases !== '') process.stderr.write(`daxrig: ${symbols.file}: these symbols ${other ? 'are not' : 'may not be'} of the kernel that printed the log: ${matched} of ${checked} functions have the same size${releases}\n`);
  if (addresses > 0 && named === 0) process.stderr.write(`daxrig: ${symbols.file}: none of the log's ${plural(addresses, 'bare address')} is in it: another kernel, or one moved by KASLR whose "Kernel Offset:" line the log lacks\n`);
  const wanted = wantedLines(report.findings);
  if (other || wanted.size === 0) return;
  if (symbols.lines)
    try {
      addLines(report.findings, await sourceLines(symbols.file, wanted, symbols.table.addressOf('panic')));
    } catch (error) {
      // What the log says is worth showing without lines too.
      if (!(error instanceof DaxrigError)) throw error;
      process.stderr.write(`daxrig: ${error.message}\n`);
    }
  else if (symbols.elf) process.stderr.write(`daxrig: ${symbols.file}: has no debug information (CONFIG_DEBUG_INFO): functions only, no files and lines\n`);
}

/** The file piece by piece, always in the same buffer: a piece is gone with the next. */
async function* readInto(file: string, buffer: Buffer): AsyncGenerator<Buffer> {
  const handle = await open(file);
  try {
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** Reads a log in one pass, unpacking gzip where the first bytes say so. */
async function readLog(file: string, symbols: KernelSymbols | undefined): Promise<KernelReport> {
  const log = new KernelLog(symbols === undefined ? {} : { symbols: symbols.table });
  try {
    for await (const chunk of await unpacked(file === '-' ? process.stdin : readInto(file, Buffer.allocUnsafe(CHUNK)))) log.push(chunk);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const code = codeOf(error);
    if (code === 'ENOENT') throw new UsageError(`klog: ${file}: no such file`, { cause: error });
    if (code === 'EISDIR') throw new UsageError(`klog: ${file}: is a folder; name a log file, or - for stdin`, { cause: error });
    throw new UsageError(`klog: ${file}: cannot be read (${code ?? messageOf(error)})`, { cause: error });
  }
  return log.end();
}

async function unpacked(source: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer>> {
  const chunks = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < GZIP.length) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  const whole = (async function* () {
    yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  })();
  return head.subarray(0, GZIP.length).equals(GZIP) ? gunzipped(whole) : whole;
}

/** A log that a crash cut off is worth what is there, so a missing end of the gzip stream is no error. */
async function* gunzipped(packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ finishFlush: constants.Z_SYNC_FLUSH });
  const feeding = (async () => {
    // Copies: what gunzip has not taken yet must outlive the piece.
    for await (const chunk of packed) if (!gunzip.write(Buffer.from(chunk))) await new Promise((resolve) => gunzip.once('drain', resolve));
    gunzip.end();
  })();
  feeding.catch((error: unknown) => gunzip.destroy(error as Error));
  yield* gunzip as AsyncIterable<Buffer>;
  await feeding;
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : what.endsWith('s') ? 'es' : 's'}`;

function summary(report: KernelReport, expected: readonly FindingKind[], excerptLines: number): string {
  const complaints = report.findings.filter((finding) => isComplaint(finding, expected));
  const others = report.findings.length - complaints.length;
  const parts = [
    `${complaints.length === 0 ? 'no complaint' : plural(complaints.length, 'complaint')}${others > 0 ? ` and ${plural(others, 'further finding')}` : ''}${report.omitted > 0 ? ` (${report.omitted} more of the same not shown)` : ''} in ${plural(report.lines, 'line')}`,
    ...(report.release === undefined ? [] : [`kernel ${report.release}`]),
    ...(report.boot === undefined ? [] : [bootText(report.boot)]),
  ];
  const out = [parts.join(', '), ''];
  for (const [index, finding] of report.findings.entries()) out.push(...findingText(index, finding, !isComplaint(finding, expected), excerptLines));
  for (const stall of report.stalls)
    out.push(
      `stall of ${formatSeconds(stall.seconds)}${stall.subsystem === undefined ? '' : `, ${stall.subsystem} was last heard of`}${stall.explained === undefined ? '' : ` (${stall.explained})`}`,
      `    ${stall.beforeTime.toFixed(6)}  ${stall.before}`,
      `    ${stall.afterTime.toFixed(6)}  ${stall.after}`,
      '',
    );
  out.push(...mapText(report));
  if (report.taint.flags.length > 0) out.push(`tainted: ${report.taint.flags.join(' ')}`);
  return `${out.join('\n').trimEnd()}\n`;
}

function bootText(boot: NonNullable<KernelReport['boot']>): string {
  const at = boot.seconds === undefined ? '' : ` at ${formatSeconds(boot.seconds)}`;
  return { 'user-space': 'reached user space', died: `died${at} before user space`, unfinished: `shows user space nowhere (last line${at})` }[boot.outcome];
}

function findingText(index: number, finding: Finding, expected: boolean, excerptLines: number): string[] {
  const facts = [
    `line ${finding.line}`,
    ...(finding.time === undefined ? [] : [`at ${finding.time.toFixed(6)} s`]),
    ...(finding.task === undefined ? [] : [`task ${finding.task}${finding.pid === undefined ? '' : ` (pid ${finding.pid})`}`]),
    ...(finding.address === undefined ? [] : [`address ${finding.address}`]),
    ...(finding.device === undefined ? [] : [finding.device]),
    ...(finding.source === undefined ? [] : [finding.source]),
    ...(finding.message === undefined ? [] : [finding.message]),
    ...(finding.follows === undefined ? [] : [`follows ${finding.follows + 1}`]),
    ...(finding.repeats === undefined ? [] : [`${plural(finding.repeats, 'more')} like it`]),
    ...(finding.corruption === undefined ? [] : [`corrupted: ${finding.corruption}`]),
  ];
  const lines = finding.excerpt.split('\n');
  const shown = lines.slice(0, excerptLines).map((line) => `    | ${line}`);
  if (excerptLines > 0 && lines.length > excerptLines) shown.push(`    | ... ${plural(lines.length - excerptLines, 'line')} more`);
  shown.push(...(finding.frames ?? []).slice(0, Math.max(excerptLines, 1)).flatMap(frameText));
  return [`${index + 1}. ${finding.kind}${expected ? ' (no complaint)' : ''}: ${finding.title}`, `    ${facts.join(', ')}`, ...shown, ''];
}

/** A frame with its place: "    > fs_dax_release+0x5/0x90  drivers/dax/super.c:123", what was inlined there above it. */
function frameText({ function: name, offset, size, module, source, inlined = [], uncertain }: SymbolisedFrame): string[] {
  const place = `${uncertain ? '? ' : ''}${name}+0x${offset.toString(16)}/0x${size.toString(16)}${module === undefined ? '' : ` [${module}]`}`;
  return [...inlined.map((call) => `    > ${call.function} (inlined)  ${call.source}`), `    > ${place}${source === undefined ? '' : `  ${source}`}`];
}

function mapText({ e820, nodes, pmem }: KernelReport): string[] {
  const out: string[] = [];
  for (const [name, map] of [['BIOS-provided', e820.bios], ['user-defined', e820.user]] as const)
    if (map.length > 0) out.push(`${name} e820 map:`, ...map.map(({ start, end, type }) => `    ${start}-${end} ${type}`));
  if (nodes.length > 0) out.push('node ranges:', ...nodes.map(({ node, start, end }) => `    node ${node}: ${start}-${end}`));
  if (pmem.length > 0) out.push('persistent memory:', ...pmem.map(({ start, end, source }) => `    ${start}-${end} (${source})`));
  return out;
}

export const command: CommandModule<object, KlogArguments> = {
  command: 'klog <file>',
  describe: 'what a kernel log says: oopses, warnings, stalls, lost DAX, memory maps',
  builder: builder as unknown as (yargs: Argv) => Argv<KlogArguments>,
  handler,
};
