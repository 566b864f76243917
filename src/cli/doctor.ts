// daxrig doctor: what this machine, or a kernel, can test, and what is missing, by name.
import fs from 'node:fs';
import os from 'node:os';
import zlib from 'node:zlib';
import type { CommandModule } from 'yargs';
import { pmemRanges } from '../device/iomem.js';
import { toolPath } from '../device/tool.js';
import { UsageError, messageOf } from '../errors.js';
import { chooseAccel } from '../guest/accel.js';
import { cacheRoot } from '../guest/cache.js';
import { machineSuite } from '../guest/debian.js';
import { findKernelConfig } from '../guest/kernel.js';
import { findQemu } from '../guest/qemu.js';
import { checkKconfig, kconfigVersion, parseKconfig, type CapabilityCheck } from '../kernel/kconfig.js';
import { humanSize } from '../units.js';

interface Check {
  name: string;
  ok: boolean;
  says: string;
}

const TOOLS: [tool: string, packageName: string, why: string][] = [
  ['ndctl', 'ndctl', 'configures namespaces'],
  ['daxctl', 'daxctl', 'configures devdax devices'],
  ['mke2fs', 'e2fsprogs', 'makes ext4 and ext2'],
  ['mkfs.xfs', 'xfsprogs', 'makes xfs'],
  ['busybox', 'busybox-static', 'is the guest\'s shell'],
  ['depmod', 'kmod', 'loads the guest\'s modules'],
  ['losetup', 'mount', 'makes devices without DAX'],
  ['apt-get', 'apt', 'fetches Debian\'s kernels'],
];

async function machineChecks(): Promise<Check[]> {
  const checks: Check[] = [{ name: 'node', ok: true, says: process.version }];
  const check = async (name: string, look: () => string | Promise<string>): Promise<void> => {
    try {
      checks.push({ name, ok: true, says: await look() });
    } catch (error) {
      checks.push({ name, ok: false, says: messageOf(error) });
    }
  };
  await check('root', () => {
    if (process.getuid?.() === 0) return 'yes';
    throw new UsageError('no: guests work, a local target needs root');
  });
  await check('qemu', () => findQemu().version);
  await check('accelerator', async () => {
    const { accel, why } = await chooseAccel('auto', 'wall', findQemu());
    return `${accel} (${why})`;
  });
  for (const [tool, packageName, why] of TOOLS)
    await check(tool, () => {
      const found = toolPath(tool);
      if (found === undefined) throw new UsageError(`missing; it ${why}: install the package ${packageName}`);
      return found;
    });
  await check('kernels', () => {
    const suite = machineSuite();
    return suite === undefined ? 'not a Debian: name kernels by --kernel' : `Debian ${suite}`;
  });
  await check('memory', () => {
    if (os.totalmem() < 4 * 2 ** 30) throw new UsageError(`${humanSize(os.totalmem())}; guests of the default layout want 4 GiB`);
    return humanSize(os.totalmem());
  });
  await check('cache', () => {
    let folder = cacheRoot();
    while (!fs.existsSync(folder)) folder = folder.slice(0, folder.lastIndexOf('/')) || '/';
    fs.accessSync(folder, fs.constants.W_OK);
    const { bavail, bsize } = fs.statfsSync(folder);
    if (bavail * bsize < 3e9) throw new UsageError(`${cacheRoot()}: only ${humanSize(bavail * bsize)} free; kernels and saved guests want 3 GB`);
    return `${cacheRoot()}, ${humanSize(bavail * bsize)} free`;
  });
  await check('pmem', () => {
    const ranges = pmemRanges();
    return ranges.length === 0 ? 'none on this machine: guests only' : `${ranges.length} range(s), ${humanSize(ranges.reduce((sum, { start, end }) => sum + end - start, 0))}`;
  });
  return checks;
}

function runningConfig(): string | undefined {
  const file = `/boot/config-${os.release()}`;
  if (fs.existsSync(file)) return fs.readFileSync(file, 'utf8');
  return fs.existsSync('/proc/config.gz') ? zlib.gunzipSync(fs.readFileSync('/proc/config.gz')).toString() : undefined;
}

function readConfig(file: string): string {
  try {
    const bytes = fs.readFileSync(file);
    const text = bytes[0] === 0x1f && bytes[1] === 0x8b ? zlib.gunzipSync(bytes).toString() : bytes.toString('utf8');
    if (!/^(# )?CONFIG_\w+/m.test(text)) throw new UsageError(`--kconfig ${file}: holds no CONFIG_ lines`);
    return text;
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`--kconfig ${file}: ${messageOf(error)}`);
  }
}

function printCapabilities(source: string, checks: readonly CapabilityCheck[]): void {
  process.stdout.write(`\nkernel configuration: ${source}\n`);
  for (const { capability, ok, missing, debug, about } of checks) {
    process.stdout.write(`  ${ok ? 'ok     ' : debug ? 'without' : 'MISSING'} ${capability}${ok ? '' : `  ${about}`}\n`);
    if (ok || debug) continue;
    for (const { option, why, needs } of missing) process.stdout.write(`            CONFIG_${option}: ${why}${needs.length > 0 ? ` (needs ${needs.map((need) => `CONFIG_${need}`).join(', ')})` : ''}\n`);
  }
}

interface DoctorArguments {
  kernel: string | undefined;
  kconfig: string | undefined;
  json: boolean;
}

export const command: CommandModule<object, DoctorArguments> = {
  command: 'doctor',
  describe: 'what this machine, or a kernel, can test, and what is missing',
  builder: (yargs) =>
    yargs
      .option('kernel', { type: 'string', describe: 'look at this kernel (as for run)' })
      .option('kconfig', { type: 'string', describe: 'look at this kernel configuration file' })
      .conflicts('kernel', 'kconfig')
      .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
      .example('$0 doctor', 'this machine')
      .example('$0 doctor --kconfig .config', 'a configuration, before building it'),
  handler: async ({ kernel, kconfig, json }) => {
    const asked = kernel !== undefined || kconfig !== undefined;
    let source = kconfig ?? kernel ?? `running kernel ${os.release()}`;
    let config = kconfig === undefined ? undefined : readConfig(kconfig);
    let version = config === undefined ? os.release() : kconfigVersion(config);
    if (kernel !== undefined) {
      const found = await findKernelConfig(kernel, (text) => void process.stderr.write(`${text}\n`));
      config = found.config;
      version = found.release;
      source = `${kernel} (${found.release})`;
    } else if (kconfig === undefined) config = runningConfig();
    const machine = asked ? [] : await machineChecks();
    const capabilities = config === undefined ? [] : checkKconfig(parseKconfig(config), version === undefined ? {} : { version });
    const missing = capabilities.filter(({ ok, debug }) => !ok && !debug);
    if (json) process.stdout.write(`${JSON.stringify({ machine, kconfig: { source, capabilities }, missing: missing.map(({ capability }) => capability) }, null, 1)}\n`);
    else {
      for (const { name, ok, says } of machine) process.stdout.write(`${ok ? 'ok     ' : 'MISSING'} ${name.padEnd(12)} ${says}\n`);
      if (capabilities.length > 0) printCapabilities(source, capabilities);
      else if (!asked) process.stdout.write(`\nkernel configuration: none found for ${source}; name one by --kconfig\n`);
    }
    // What was asked about decides; on the bare question only the guest side does: most machines have no pmem kernel.
    const lacking = asked ? missing.length > 0 : machine.some(({ name, ok }) => !ok && name !== 'root');
    process.exitCode = lacking ? 1 : 0;
  },
};
