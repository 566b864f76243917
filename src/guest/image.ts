// What a guest runs from: one initramfs, made of two archives. The first holds Node, the program, the addon, ndctl
// and the file system tools with their libraries, and depends on the host alone; the second holds one kernel's
// modules. An initramfs needs no device that the host serves in its own time, so a guest made from it can be saved
// and, under icount, repeats to the bit.
import fs from 'node:fs';
import path from 'node:path';
import { toolPath } from '../device/tool.js';
import { BrokenError, UsageError, messageOf } from '../errors.js';
import { runProgram } from '../native.js';
import { GiB } from '../units.js';
import { cached, digestOf, evict } from './cache.js';
import { CpioArchive } from './cpio.js';
import { interpreterOf, loadedPart } from './elf.js';
import type { GuestKernel } from './kernel.js';
import { programRoot } from '../paths.js';
import { planModules, readModule, runDepmod } from './modules.js';
import type { FileSystemName } from './qemu.js';

/** Loaded before a guest's state is saved, where the kernel has them. */
const WANTED_MODULES = ['qemu_fw_cfg', 'libnvdimm', 'nd_btt', 'nd_pmem', 'nd_e820', 'nfit', 'device_dax', 'dax_pmem', 'dax_pmem_compat', 'loop', 'hwpoison_inject'];
/** The same of file systems, for a guest whose work is going to use them. */
const FILE_SYSTEM_MODULES: Record<FileSystemName, string[]> = { ext4: ['crc32c_generic', 'ext4'], xfs: ['crc32c_generic', 'xfs'] };
/** In the image, loaded only by what asks for them. */
const OFFERED_MODULES = ['kmem', 'dax_hmem', 'mce_inject', 'brd', 'ext2', 'null_blk', 'dm_mod', 'lkdtm'];

/** Bytes that images may take: each build of the program makes one for each kernel. */
const IMAGE_LIMIT = 2 * GiB;

interface Tool {
  name: string;
  package: string;
  needed: boolean;
  /** Large: only in images for work that needs it. */
  onDemand?: boolean;
}

/** Programs that go into the image, and the Debian package that has each. */
const TOOLS: Tool[] = [
  { name: 'busybox', package: 'busybox-static', needed: true },
  { name: 'ndctl', package: 'ndctl', needed: true },
  { name: 'daxctl', package: 'daxctl', needed: true },
  { name: 'mke2fs', package: 'e2fsprogs', needed: true },
  { name: 'mkfs.xfs', package: 'xfsprogs', needed: true },
  { name: 'kmod', package: 'kmod', needed: true },
  { name: 'losetup', package: 'mount', needed: true },
  { name: 'dmsetup', package: 'dmsetup', needed: false },
  { name: 'fio', package: 'fio', needed: false, onDemand: true },
  { name: 'xfs_io', package: 'xfsprogs', needed: false },
  { name: 'xfs_db', package: 'xfsprogs', needed: false },
];

const BUSYBOX_APPLETS = [
  'sh', 'mount', 'umount', 'mkdir', 'cat', 'echo', 'ls', 'stty', 'insmod', 'poweroff', 'reboot', 'sleep', 'dmesg', 'grep', 'ln',
  'rm', 'cp', 'dd', 'sync', 'kill', 'ps', 'sysctl', 'find', 'hexdump', 'sed', 'awk', 'head', 'tail', 'wc', 'cut', 'sort', 'uname',
  'date', 'true', 'false', 'test', 'chmod', 'mv', 'touch', 'tr', 'seq', 'env', 'id', 'df', 'free', 'ip', 'mknod', 'xargs', 'tee',
];

const INIT = `#!/bin/sh
# First process of a daxrig guest: file systems, then the agent, which does the rest; its end is the guest's end.
mount -t proc proc /proc
mount -a 2>/dev/null # not every kernel has all of them
mkdir -p /dev/pts /dev/shm /run/daxrig /run/ndctl
stty -F /dev/ttyS1 115200 raw -echo
exec </dev/null >/dev/console 2>&1
say() { echo "$1" >/dev/ttyS1; }
say '{"type":"stage","stage":"userspace"}'
echo 20 >/proc/sys/kernel/hung_task_timeout_secs 2>/dev/null
[ -d /daxrig/files ] && cp -a /daxrig/files/. /
cd /run/daxrig
export HOME=/run/daxrig PATH=/usr/sbin:/usr/bin:/sbin:/bin UV_THREADPOOL_SIZE=4
flags="--no-warnings $(cat /daxrig/dist/agent.flags)"
# Where addresses are not random, V8's are not either.
grep -qw norandmaps /proc/cmdline && flags="$flags --random-seed=1"
node $flags /daxrig/dist/guest/start.cjs
say "{\\"type\\":\\"agent-exit\\",\\"status\\":$?}"
poweroff -f
`;

/** In an order in which each finds its place; one program for all of them, since starting one takes 10 ms there. */
const FSTAB = [
  'sys /sys sysfs', 'dev /dev devtmpfs', 'tmp /tmp tmpfs', 'run /run tmpfs', 'trace /sys/kernel/tracing tracefs', 'debug /sys/kernel/debug debugfs',
].map((line) => `${line} defaults 0 0\n`).join('');

const WRAPPER = '#!/bin/sh\nexec node /daxrig/dist/cli/main.js "$@"\n';

/** Libraries that programs and the addon load, by the word of the dynamic loader that Node asks for, as ldd(1) asks it. */
async function librariesOf(files: readonly string[]): Promise<string[]> {
  const loader = interpreterOf(firstBytes(process.execPath));
  if (loader === undefined) return []; // a static Node loads no addon, and says so itself
  const found = await Promise.all(files.map(async (file) => {
    const static_ = !file.endsWith('.node') && interpreterOf(firstBytes(file)) === undefined;
    return static_ ? [] : librariesOfOne(loader, file);
  }));
  return [...new Set(found.flat())].sort();
}

async function librariesOfOne(loader: string, file: string): Promise<string[]> {
  const { stdout, stderr, status } = await runProgram(loader, ['--list', file]);
  const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1] ?? /(\S+): cannot open shared object file/.exec(stderr)?.[1];
  if (missing !== undefined) throw new BrokenError(`${file}: its library ${missing} is not found on this machine; reinstall the package it came with`);
  if (status !== 0) throw new BrokenError(`${file}: its libraries cannot be listed (${loader}: ${stderr.trim().split('\n')[0]})`);
  return [...stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
}

/** Where an ELF file's headers are. */
function firstBytes(file: string): Buffer {
  const fd = fs.openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(4096);
    return bytes.subarray(0, fs.readSync(fd, bytes));
  } finally {
    fs.closeSync(fd);
  }
}

/** Dependencies that a guest has no use for, and so for nothing that they depend on; with what they do on the host. */
const HOST_ONLY: ReadonlyMap<string, string> = new Map([
  ['node-gyp', 'builds the addon'],
  ['node-addon-api', 'headers of the addon'],
  ['better-sqlite3', 'the timings database'],
]);

/** Production packages that the program imports in a guest, by their place there, found as Node finds them. */
function runtimePackages(): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (folder: string): void => {
    const { dependencies = {} } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')) as { dependencies?: Record<string, string> };
    for (const name of Object.keys(dependencies)) {
      if (HOST_ONLY.has(name)) continue;
      const from = findPackage(name, folder);
      if (from === undefined) throw new BrokenError(`the npm package ${name} is missing; run npm install in ${programRoot}`);
      // The last node_modules of its path is the one that the guest's copy stands in for.
      const place = from.slice(from.indexOf('/node_modules/', from.startsWith(programRoot) ? programRoot.length : 0) + '/node_modules/'.length);
      if (found.has(place)) continue;
      found.set(place, from);
      visit(from);
    }
  };
  visit(programRoot);
  return found;
}

/** The nearest node_modules above `from` that has the package. */
function findPackage(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules', name);
    if (fs.existsSync(path.join(candidate, 'package.json'))) return candidate;
    if (folder === path.dirname(folder)) return undefined;
  }
}

function* filesBelow(folder: string): Generator<string> {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(file);
    else if (entry.isFile()) yield file;
  }
}

const isRuntimeFile = (file: string): boolean => /\.(m?js|cjs|json|node|cache|flags)$/.test(file) && !/\.d\.ts$|\.map$|\/(test|tests|docs)\//.test(file);

interface BaseFile {
  name: string;
  from: string;
}

interface Base {
  /** Every host file of the base archive, by its place in the guest. */
  files: BaseFile[];
  links: [name: string, target: string][];
  /** Names its content. */
  digest: string;
}

let base: Promise<Base> | undefined;

/** What every image of this process holds, found once. */
const baseOf = (): Promise<Base> => (base ??= findBase());

/** Begins to find out what guests need of this machine, while the caller looks for a kernel; errors come from buildImage. */
export function expectImages(): void {
  baseOf().catch(() => {});
}

/** Tools that this machine has, with the libraries of all of them and of `others`. */
async function toolFiles(tools: readonly Tool[], others: readonly string[] = []): Promise<BaseFile[]> {
  const files: BaseFile[] = [];
  for (const { name, package: from, needed } of tools) {
    const file = toolPath(name);
    if (file !== undefined) files.push({ name: name === 'busybox' ? 'bin/busybox' : `usr/sbin/${name}`, from: file });
    else if (needed) throw new BrokenError(`${name} is not installed; install the package ${from}`);
  }
  const libraries = await librariesOf([...others, ...files.map(({ from }) => from)]);
  return [...files, ...libraries.map((library) => ({ name: library.slice(1), from: library }))];
}

async function findBase(): Promise<Base> {
  const built = ['daxrig.node', 'daxrig-peer'].map((name) => ({ name: `daxrig/build/Release/${name}`, from: path.join(programRoot, 'build/Release', name) }));
  for (const { from } of built) if (!fs.existsSync(from)) throw new BrokenError(`${from} is missing; build it with: node ${path.join(programRoot, 'scripts/build-addon.mjs')}`);
  const files: BaseFile[] = [{ name: 'usr/bin/node', from: process.execPath }];
  const links: [string, string][] = [['usr/sbin/mkfs.ext4', 'mke2fs'], ['usr/sbin/mkfs.ext2', 'mke2fs'], ['usr/sbin/modprobe', 'kmod'], ['sbin/modprobe', '/usr/sbin/kmod'], ['usr/sbin/rmmod', 'kmod']];
  files.push(...(await toolFiles(TOOLS.filter(({ onDemand }) => !onDemand), [process.execPath, ...built.map(({ from }) => from)])));
  for (const applet of BUSYBOX_APPLETS) links.push([`bin/${applet}`, 'busybox']);
  for (const config of ['/etc/mke2fs.conf', '/etc/ld.so.cache']) if (fs.existsSync(config)) files.push({ name: config.slice(1), from: config });
  for (const file of filesBelow(path.join(programRoot, 'dist'))) if (isRuntimeFile(file)) files.push({ name: `daxrig/dist/${path.relative(path.join(programRoot, 'dist'), file)}`, from: file });
  for (const [name, folder] of runtimePackages()) {
    for (const file of filesBelow(folder)) if (isRuntimeFile(file)) files.push({ name: `daxrig/node_modules/${name}/${path.relative(folder, file)}`, from: file });
  }
  files.push({ name: 'daxrig/package.json', from: path.join(programRoot, 'package.json') }, ...built);
  return { files, links, digest: digestOf(INIT, FSTAB, JSON.stringify(links), ...files.map(({ name, from }) => `${name} ${stampOf(from)}`)) };
}

/** Small files are known by their content, large ones by what the file system says of them: reading Node costs 0.1 s. */
function stampOf(file: string): string {
  const stat = fs.statSync(file);
  return stat.size > 1 << 20 ? `${stat.size} ${stat.mtimeMs} ${stat.ino}` : digestOf(fs.readFileSync(file));
}

export interface GuestFile {
  /** Path on the host. */
  from: string;
  /** Path in the guest. */
  to: string;
}

/** One --guest-file value, SRC[:DST]. Throws UsageError when the source does not exist. */
export function parseGuestFile(text: string): GuestFile {
  const match = /^(.+?)(?::(\/.*))?$/.exec(text)!;
  const from = path.resolve(match[1]!);
  if (!fs.existsSync(from)) throw new UsageError(`--guest-file ${match[1]}: no such file`);
  return { from, to: match[2] ?? `/run/daxrig/${path.basename(from)}` };
}

export interface ImageOptions {
  files?: GuestFile[];
  /** A shell script run as root before the state is saved. */
  setup?: string;
  /** Programs that the guest's work needs, by name: brings those of them that images have on demand only. Absent: all of those. */
  tools?: ReadonlySet<string>;
  /** Where modules that failed to be read, or are absent, are reported. */
  progress?: (text: string) => void;
}

export interface GuestImage {
  /** The initramfs to start with. */
  initramfs: string;
  digest: string;
  /** Modules that the guest asks for and this kernel has not. */
  absent: string[];
}

/** The initramfs of one kernel, from the cache or made now. */
export async function buildImage(kernel: GuestKernel, options: ImageOptions = {}): Promise<GuestImage> {
  const base = await baseOf();
  const demanded = await toolFiles(TOOLS.filter(({ name, onDemand }) => onDemand && (options.tools?.has(name) ?? true)));
  const extras = (options.files ?? []).flatMap(expand);
  const setup = options.setup === undefined ? undefined : readSetup(options.setup);
  const digest = digestOf(base.digest, kernel.digest, JSON.stringify([WANTED_MODULES, FILE_SYSTEM_MODULES, OFFERED_MODULES]), setup ?? '', ...demanded.map(({ name, from }) => `${name} ${stampOf(from)}`), ...extras.map(({ to, from }) => `${to} ${stampOf(from)}`));
  const plan = kernel.modules ? planModules(kernel.modules, WANTED_MODULES) : { order: [], absent: [] };
  const folder = await cached('images', digest, (work) => {
    options.progress?.('building the guest image');
    const archive = new CpioArchive();
    for (const name of ['proc', 'sys', 'dev', 'tmp', 'run', 'mnt', 'etc/daxrig', 'var/lib', 'root']) archive.add({ kind: 'folder', name, mode: 0o755 });
    archive.add({ kind: 'file', name: 'init', mode: 0o755, content: Buffer.from(INIT) });
    archive.add({ kind: 'file', name: 'etc/fstab', mode: 0o644, content: Buffer.from(FSTAB) });
    archive.add({ kind: 'file', name: 'usr/bin/daxrig', mode: 0o755, content: Buffer.from(WRAPPER) });
    for (const { name, from } of [...base.files, ...demanded]) archive.add({ kind: 'file', name, mode: fs.statSync(from).mode & 0o777, content: { file: from, part: loadedPart } });
    for (const [name, target] of base.links) archive.add({ kind: 'link', name, target });
    if (setup !== undefined) archive.add({ kind: 'file', name: 'etc/daxrig/setup', mode: 0o755, content: Buffer.from(setup) });
    addModules(archive, kernel, plan.order, work);
    // /run is a tmpfs in the guest: files meant for it wait in /daxrig/files, from where init copies them.
    for (const { from, to } of extras) archive.add({ kind: 'file', name: to.startsWith('/run/') ? `daxrig/files${to}` : to, mode: fs.statSync(from).mode & 0o777, content: { file: from } });
    const file = path.join(work, 'initramfs.cpio');
    const fd = fs.openSync(file, 'w', 0o600);
    try {
      archive.writeTo(fd);
    } finally {
      fs.closeSync(fd);
    }
  });
  evict('images', IMAGE_LIMIT, folder);
  return { initramfs: path.join(folder, 'initramfs.cpio'), digest, absent: plan.absent };
}

function readSetup(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`--guest-setup ${file}: ${messageOf(error)}`);
  }
}

function expand(file: GuestFile): GuestFile[] {
  if (!fs.statSync(file.from).isDirectory()) return [file];
  return [...filesBelow(file.from)].map((from) => ({ from, to: path.posix.join(file.to, path.relative(file.from, from)) }));
}

/** Modules, uncompressed, at their usual place, with depmod's lists of them. */
function addModules(archive: CpioArchive, { release, modules: tree }: GuestKernel, order: readonly string[], work: string): void {
  const list = (name: string, names: readonly string[]): void => {
    archive.add({ kind: 'file', name: `etc/daxrig/${name}`, mode: 0o644, content: Buffer.from(names.map((one) => `${plain(tree!.paths.get(one)!)}\n`).join('')) });
  };
  list('modules', order);
  if (!tree) return;
  const names = new Set([...order, ...planModules(tree, OFFERED_MODULES.filter((name) => tree.paths.has(name))).order]);
  for (const [system, wanted] of Object.entries(FILE_SYSTEM_MODULES)) {
    const plan = planModules(tree, wanted).order;
    list(`modules.${system}`, plan);
    plan.forEach((name) => names.add(name));
  }
  const folder = path.join(work, 'lib/modules', release);
  for (const name of names) {
    const file = path.join(folder, plain(tree.paths.get(name)!));
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, readModule(tree, name));
  }
  for (const given of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) if (fs.existsSync(path.join(tree.folder, given))) fs.copyFileSync(path.join(tree.folder, given), path.join(folder, given));
  runDepmod(folder);
  for (const file of filesBelow(folder)) archive.add({ kind: 'file', name: path.relative(work, file), mode: 0o644, content: fs.readFileSync(file) });
  fs.rmSync(path.join(work, 'lib'), { recursive: true });
}

const plain = (file: string): string => file.replace(/\.(gz|xz|zst)$/, '');
