// Bad input: one clear line on stderr, exit 2, nothing on stdout, nothing started.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { daxrig, temporary } from './daxrig.js';

const folder = temporary('bad');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Buffer): string => {
  const full = path.join(folder, name);
  fs.writeFileSync(full, content);
  return full;
};

/** An x86 bzImage header that promises more than the file has. */
function truncatedImage(): Buffer {
  const image = Buffer.alloc(4096);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020f, 0x206);
  image.writeUInt32LE(0, 0x248);
  image.writeUInt32LE(8 << 20, 0x24c);
  return image;
}

function armElf(): Buffer {
  const elf = Buffer.alloc(128);
  elf.writeUInt32BE(0x7f454c46, 0);
  elf[4] = 2;
  elf.writeUInt16LE(183, 18);
  return elf;
}

it.each([
  ['an unknown command', ['rum'], /rum|run/],
  ['no command', [], /name a command/],
  ['an unknown workload', ['run', 'fsdax/poisson'], /no workload "fsdax\/poisson"; did you mean fsdax\/poison\?/],
  ['a glob that matches nothing', ['run', 'nothing/*'], /no workload "nothing\/\*"/],
  ['an unknown option', ['run', '--kernal', 'x'], /kernal/],
  ['a device that does not exist', ['run', '--device', '/dev/dax7.7'], /--device \/dev\/dax7\.7: does not exist/],
  ['a folder not on DAX', ['run', '--device', folder, '--destroy-data', folder], /not mounted with DAX/],
  ['a plain file not on DAX', ['run', '--device', file('plain', 'x')], /not mounted with DAX/],
  ['a device that is no DAX device', ['run', '--device', '/dev/zero'], /is no DAX device/],
  ['destroy-data without device', ['run', '--target', 'local', '--destroy-data', '/dev/dax0.0'], /is not named by --device/],
  ['a kernel that does not exist', ['run', '--kernel', '/nowhere/vmlinuz'], /no such file or folder/],
  ['a release that is not installed', ['run', '--kernel', '9.9.9-none'], /no \/boot\/vmlinuz-9\.9\.9-none/],
  ['a file that is no kernel', ['run', '--kernel', file('text', 'just text\n'.repeat(100))], /is no kernel image/],
  ['an empty file as kernel', ['run', '--kernel', file('empty', '')], /is no kernel image: an empty file/],
  ['a truncated bzImage', ['run', '--kernel', file('bzImage', truncatedImage())], /truncated/],
  ['a kernel of another architecture', ['run', '--kernel', file('vmlinux', armElf())], /another architecture/],
  ['a .deb that is none', ['run', '--kernel', file('linux-image-1.deb', 'no archive')], /not a package/],
  ['an empty folder as kernel', ['run', '--kernel', (fs.mkdirSync(path.join(folder, 'none')), path.join(folder, 'none'))], /holds no kernel image/],
  ['a memmap outside RAM', ['run', '--memmap', '1G!20G'], /outside the guest's RAM/],
  ['a memmap in the PCI hole', ['run', '--memmap', '1G!3G'], /outside the guest's RAM/],
  ['overlapping memmaps', ['run', '--memmap', '1G!4G', '--memmap', '512M!4608M'], /overlap/],
  ['a memmap that is not aligned', ['run', '--memmap', '1025M!4G'], /multiples of 2M/],
  ['memmap syntax', ['run', '--memmap', '1G@4G'], /not of the form/],
  ['a size that is none', ['run', '--guest-mem', '1X'], /"1X" is not a size/],
  ['too little memory', ['run', '--guest-mem', '1G', '--memmap', '512M!512M'], /initramfs|gibibyte|needs 1G|would be left/],
  ['more memory than there is', ['run', '--guest-mem', '4096G'], /this machine has/],
  ['an unknown layout', ['run', '--layout', 'x'], /known: default/],
  ['layout and memmap', ['run', '--layout', 'default', '--memmap', '1G!4G'], /exclude each other/],
  ['an --out that cannot be written', ['run', '--out', '/proc/daxrig'], /--out \/proc\/daxrig: cannot be written/],
  ['an --out that is a file', ['run', '--out', file('out', 'x')], /cannot be written/],
  ['a qemu that does not exist', ['run', '--qemu', '/nowhere/qemu'], /--qemu \/nowhere\/qemu: cannot be run/],
  ['a seed that is none', ['run', '--seed', 'x'], /--seed x/],
  ['jobs that are none', ['run', '--jobs', '0'], /--jobs/],
  ['more jobs than memory', ['run', '--jobs', '1000000'], /free memory, .* holds \d+ guests at most/],
  ['KVM that counts instructions', ['run', '--accel', 'kvm', '--clock', 'icount'], /TCG only/],
  ['a debugger for many', ['run', '--gdb', 'fsdax/*'], /--gdb stops one instance/],
  ['a workload file that guards nothing', ['run', '--load', file('g.mjs', "export default { name: 'a/b', about: 'x', needs: {}, run() {} };")], /exports no workload/],
  ['icount with several CPUs', ['run', '--clock', 'icount', '--guest-cpus', '2'], /one CPU/],
  ['an unknown parameter', ['run', '--param', 'colour=red'], /none of the chosen workloads has a parameter colour/],
  ['an unknown parameter value', ['run', '--param', 'fs=btrfs'], /known values are ext4, xfs/],
  ['a workload file that does not exist', ['run', '--load', '/nowhere.mjs'], /--load \/nowhere\.mjs/],
  ['a workload file without workloads', ['run', '--load', file('w.mjs', 'export default 1;')], /exports no workload/],
  ['a guest file that does not exist', ['run', '--guest-file', '/nowhere/x'], /--guest-file/],
  ['an unknown format', ['run', '--format', 'xml'], /unknown; there are/],
  ['a format of later', ['run', '--format', 'kcidb'], /not available yet/],
  ['two documents on stdout', ['run', '--json', '--format', 'ktap'], /both want stdout/],
  ['a format file that cannot be written', ['run', '--format', 'ktap=/nowhere/x'], /cannot be written/],
  ['a command of later', ['drill'], /not available yet/],
])('%s', async (_, args, message) => {
  const cache = path.join(folder, 'cache');
  const { code, stdout, stderr } = await daxrig(args, { DAXRIG_CACHE: cache, XDG_STATE_HOME: path.join(folder, 'state') });
  expect({ code, stdout }, stderr).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
  const lines = stderr.trim().split('\n').filter((line) => !/^(downloading|unpacking)/.test(line));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^daxrig: /);
  expect(fs.existsSync(path.join(folder, 'state/daxrig/runs'))).toBe(false);
  for (const kind of ['states', 'images']) expect(fs.existsSync(path.join(cache, kind))).toBe(false);
});

it('to git bisect it is no verdict', async () => {
  const { code, stderr } = await daxrig(['run', 'fsdax/poison', '--kernel', '/nowhere/bzImage', '--bisect'], { DAXRIG_CACHE: path.join(folder, 'cache') });
  expect(code).toBe(125);
  expect(stderr).toMatch(/^daxrig: --kernel \/nowhere\/bzImage/);
});
