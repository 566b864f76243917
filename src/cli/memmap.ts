// daxrig memmap: what a memmap= layout will do, before booting it.
import { readFileSync } from 'node:fs';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { codeOf, UsageError } from '../errors.js';
import { lintMemmap, lintRegions, type MemmapLint, type PadPrediction } from '../kernel/memmap.js';
import { humanSize, MiB, parseSize } from '../units.js';

const builder = (yargs: Argv) =>
  yargs
    .positional('layout', { type: 'string', array: true, default: [] as string[], describe: 'memmap= values: nn[KMG]!ss[KMG] and its other forms, lists by comma' })
    .option('guest-mem', { type: 'string', describe: 'RAM of the guest, for example 8G' })
    .option('numa', { type: 'number', default: 1, describe: 'NUMA nodes, which share the RAM evenly' })
    .option('machine', { choices: ['pc', 'q35'] as const, default: 'pc' as const, describe: 'QEMU machine' })
    .option('kernel-version', { type: 'string', describe: 'kernel that will boot, for example 4.20; without it old and new kernels are told apart' })
    .option('initrd', { type: 'string', describe: 'size of the initramfs' })
    .option('nokaslr', { type: 'boolean', default: false, describe: 'the command line says nokaslr' })
    .option('region', { type: 'string', array: true, default: [] as string[], describe: 'on hardware: first and last byte of a region, 0x187c000000-0x577bffffff' })
    .option('iomem', { type: 'string', describe: 'on hardware: a copy of /proc/iomem (read as root)' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example("$0 memmap '1G!4G' --guest-mem 8G --numa 2", 'takes the end of node 0')
    .example("$0 memmap '448M!0x107000000' '512M!0x124000000' --guest-mem 8G --kernel-version 4.20", 'what padding will be')
    .example('$0 memmap --region 0x187c000000-0x577bffffff --region 0x577c000000-0x967bffffff', 'real regions');

type MemmapArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

function handler(args: MemmapArguments): void {
  const lint = args.region.length > 0 || args.iomem !== undefined ? ofHardware(args) : ofGuest(args);
  process.stdout.write(args.json ? `${JSON.stringify(lint, null, 1)}\n` : text(lint));
  process.exitCode = lint.hazards.some(({ severity }) => severity === 'error') ? 1 : 0;
}

function ofGuest(args: MemmapArguments): MemmapLint {
  if (args.layout.length === 0) throw new UsageError("memmap: name a layout, for example: daxrig memmap '1G!4G' --guest-mem 8G");
  if (args.guestMem === undefined) throw new UsageError('memmap: say how much RAM the guest has, for example --guest-mem 8G');
  return lintMemmap(args.layout, {
    guestMem: parseSize(args.guestMem, '--guest-mem'),
    numa: args.numa,
    machine: args.machine,
    nokaslr: args.nokaslr,
    ...(args.kernelVersion === undefined ? {} : { kernelVersion: args.kernelVersion }),
    ...(args.initrd === undefined ? {} : { initrd: parseSize(args.initrd, '--initrd') }),
  });
}

function ofHardware(args: MemmapArguments): MemmapLint {
  if (args.layout.length > 0) throw new UsageError('memmap: --region and --iomem describe hardware; leave the memmap= layout out');
  const regions = args.region.map(parseRegion);
  const lint = lintRegions({
    regions,
    ...(args.iomem === undefined ? {} : { iomem: readText(args.iomem) }),
    ...(args.kernelVersion === undefined ? {} : { kernelVersion: args.kernelVersion }),
  });
  return { ...lint, nodes: [] };
}

function parseRegion(value: string): { start: number; end: number } {
  const match = /^(0x[0-9a-f]+|[0-9]+)-(0x[0-9a-f]+|[0-9]+)$/i.exec(value);
  if (match === null) throw new UsageError(`--region ${value}: write first and last byte, for example 0x187c000000-0x577bffffff`);
  return { start: Number(match[1]), end: Number(match[2]) };
}

function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new UsageError(`--iomem ${file}: cannot be read (${codeOf(error) ?? String(error)})`, { cause: error });
  }
}

function text(lint: MemmapLint): string {
  const out = lint.ranges.map(({ start, end, node, kind }) => `${start}-${end}  ${kind}, ${humanSize(Number(end) - Number(start) + 1)}${node === null ? '' : `, node ${node}`}`);
  if (lint.hazards.length === 0) out.push('no hazard');
  for (const { severity, id, message } of lint.hazards) out.push(`${severity}: ${id}: ${message}`);
  for (const pad of lint.startPad ?? []) out.push(padText(pad));
  return `${out.join('\n')}\n`;
}

const padText = ({ start, startPad, endTrunc, kernels }: PadPrediction): string =>
  `${start}: start_pad ${bytes(startPad)}, end_trunc ${bytes(endTrunc)} (kernels: ${kernels})`;

const bytes = (count: number): string => (count % MiB === 0 && count > 0 ? `${count / MiB} MiB (${count} bytes)` : `${count} bytes`);

export const command: CommandModule<object, MemmapArguments> = {
  command: 'memmap [layout..]',
  describe: 'what a memmap= layout will do, before booting it',
  builder: builder as unknown as (yargs: Argv) => Argv<MemmapArguments>,
  handler,
};
