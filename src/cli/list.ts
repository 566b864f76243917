// daxrig list: what DAX memory this machine has, and what is to be careful about.
import fs from 'node:fs';
import type { CommandModule } from 'yargs';
import { pmemRanges } from '../device/iomem.js';
import { mounts } from '../device/mounts.js';
import { namespaces, regions, type Namespace } from '../device/ndctl.js';
import { toolPath } from '../device/tool.js';
import { lintRegions } from '../kernel/memmap.js';
import { hex, humanSize } from '../units.js';

interface DaxMount {
  mountPoint: string;
  source: string;
  type: string;
  option: string;
}

const daxMounts = (): DaxMount[] =>
  mounts().flatMap(({ mountPoint, source, type, options }) => {
    const option = options.find((word) => /^dax(=|$)/.test(word));
    return option === undefined ? [] : [{ mountPoint, source, type, option }];
  });

const devdaxNodes = (): string[] => fs.readdirSync('/dev').filter((name) => /^dax\d+\.\d+$/.test(name)).map((name) => `/dev/${name}`);

export const command: CommandModule<object, { json: boolean }> = {
  command: 'list',
  describe: 'regions, namespaces, devdax devices and DAX mounts of this machine, with hazards',
  builder: (yargs) => yargs.option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' }).example('sudo $0 list', 'addresses and hazards need root'),
  handler: async ({ json }) => {
    const root = process.getuid?.() === 0;
    const ranges = pmemRanges();
    const ndctl = toolPath('ndctl') !== undefined && fs.existsSync('/sys/bus/nd');
    const found = { regions: ndctl ? await regions() : [], namespaces: ndctl ? await namespaces(true) : [] };
    const hazards: { id: string; severity: string; message: string }[] = root
      ? lintRegions({ iomem: fs.readFileSync('/proc/iomem', 'utf8'), regions: ranges.map(({ start, end }) => ({ start, end: end - 1 })) }).hazards
      : [{ id: 'not-root', severity: 'info', message: 'addresses are hidden from users other than root; run as root for hazards' }];
    if (toolPath('ndctl') === undefined) hazards.push({ id: 'no-ndctl', severity: 'warning', message: 'ndctl is not installed: regions and namespaces cannot be listed; install the package ndctl' });
    const document = { pmem: ranges.map(({ start, end }) => ({ start: hex(start), end: hex(end - 1) })), ...found, devdax: devdaxNodes(), mounts: daxMounts(), hazards };
    if (json) {
      process.stdout.write(`${JSON.stringify(document, null, 1)}\n`);
      return;
    }
    const say = (text: string): void => void process.stdout.write(`${text}\n`);
    for (const { start, end } of ranges) say(`pmem       ${hex(start)}-${hex(end - 1)}  ${humanSize(end - start)}`);
    for (const { dev, size, type } of found.regions) say(`region     ${dev}  ${humanSize(size)}${type === undefined ? '' : `  ${type}`}`);
    for (const namespace of found.namespaces.filter(({ size }) => size > 0)) say(`namespace  ${describe(namespace)}`);
    for (const device of document.devdax) say(`devdax     ${device}`);
    for (const { mountPoint, source, type, option } of document.mounts) say(`mount      ${mountPoint}  ${source}  ${type}  ${option}`);
    if (ranges.length + found.regions.length + document.devdax.length === 0) say('no persistent memory on this machine; "daxrig run" uses QEMU guests');
    for (const { severity, message } of hazards) say(`${severity}: ${message}`);
  },
};

const describe = ({ dev, mode, map, size, blockdev, chardev, daxregion }: Namespace): string =>
  [dev, mode, map, humanSize(size), blockdev && `/dev/${blockdev}`, (chardev ?? daxregion?.devices?.[0]?.chardev) && `/dev/${chardev ?? daxregion!.devices![0]!.chardev}`].filter(Boolean).join('  ');
