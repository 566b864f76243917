// What --kernel may name, resolved to an image to boot and the modules that belong to it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { BrokenError, UsageError } from '../errors.js';
import { cached, digestOf } from './cache.js';
import { cachedDebianKernels, compareVersions, fetchKernel, findDebianKernels, machineSuite, namesKernel, unpackDebs } from './debian.js';
import { hasModule, readModuleTree, type ModuleTree } from './modules.js';
import { extractVmlinux, identifyImage } from './vmlinux.js';

export interface GuestKernel {
  /** As the user named it. */
  spec: string;
  /** uname -r, for example 6.1.0-56-amd64. */
  release: string;
  /** The file that QEMU starts: an ELF vmlinux with a PVH entry where there is one, else the bzImage. */
  image: string;
  imageKind: 'vmlinux' | 'bzImage';
  /** Why the bzImage is started instead of its vmlinux, when it is. */
  imageWhy?: string;
  /** A vmlinux with symbols, where one is at hand. */
  symbols?: string;
  modules?: ModuleTree;
  /** Text of the kernel's configuration, where one was found. */
  config?: string;
  /** Changes whenever the image or the modules do. */
  digest: string;
}

export interface ResolveOptions {
  /** lib/modules/RELEASE, or a folder that holds it, when it is not beside the image. */
  modules?: string;
  progress?: (text: string) => void;
  /** False: a kernel that cannot be tested is resolved all the same, to be looked at. */
  check?: boolean;
  /** True: of several kernels of Debian that a glob names, only the newest. */
  newest?: boolean;
}

/** Release and configuration of one kernel, testable or not. Throws UsageError when its configuration is not to be found. */
export async function findKernelConfig(spec: string, progress: (text: string) => void): Promise<{ release: string; config: string }> {
  const [kernel] = await resolveKernels(spec, { progress, check: false, newest: true });
  if (kernel?.config === undefined) throw new UsageError(`--kernel ${spec}: no configuration beside it; name the file by --kconfig`);
  return { release: kernel.release, config: kernel.config };
}

/** Every kernel that one --kernel value names (a glob may name several). Undefined: the machine's own suite. */
export async function resolveKernels(spec: string | undefined, options: ResolveOptions = {}): Promise<GuestKernel[]> {
  const progress = options.progress ?? (() => {});
  if (spec === undefined || spec.startsWith('debian:')) {
    const name = spec?.slice('debian:'.length) ?? machineSuite() ?? 'stable';
    if (name === '') throw new UsageError('debian: needs a suite or a version, for example debian:bookworm or debian:6.12*');
    const folders = await debianFolders(name, progress, options.newest === true);
    return Promise.all(folders.map((folder) => fromFolder(spec ?? `debian:${name}`, folder, options)));
  }
  return [await resolvePath(spec, options)];
}

async function debianFolders(name: string, progress: (text: string) => void, newest: boolean): Promise<string[]> {
  let kernels;
  try {
    kernels = await findDebianKernels(name);
  } catch (error) {
    // Without a network the cache still serves what it has of that name.
    if (!(error instanceof BrokenError)) throw error;
    const [suite, version] = /^[a-z]/.test(name) ? name.split('/') : [undefined, name];
    const known = cachedDebianKernels()
      .filter(({ origin }) => (suite === undefined || origin.suite === suite) && (version === undefined || namesKernel(version, origin)))
      .sort((a, b) => compareVersions(b.origin.version, a.origin.version));
    if (known.length === 0) throw error;
    progress(`${error.message}; using the cached ${known[0]!.origin.release}`);
    return [known[0]!.folder];
  }
  const folders = [];
  for (const kernel of newest ? kernels.slice(-1) : kernels) folders.push(await fetchKernel(kernel, progress));
  return folders;
}

async function resolvePath(spec: string, options: ResolveOptions): Promise<GuestKernel> {
  const files = spec.split(',');
  if (files.every((file) => file.endsWith('.deb'))) {
    for (const file of files) if (!fs.existsSync(file)) throw new UsageError(`--kernel ${file}: no such file`);
    return fromFolder(spec, await unpackDebs(withSiblings(files)), options);
  }
  const stat = fs.statSync(spec, { throwIfNoEntry: false });
  if (stat?.isDirectory()) return fromFolder(spec, path.resolve(spec), options);
  if (stat?.isFile()) {
    const image = path.resolve(spec);
    return fromImage(spec, image, options.modules ? [options.modules] : modulesBeside(image), configsBeside(image), options);
  }
  if (stat) throw new UsageError(`--kernel ${spec}: neither a file nor a folder`);
  const installed = `/boot/vmlinuz-${spec}`;
  if (!spec.includes('/') && fs.existsSync(installed))
    return fromImage(spec, installed, [options.modules ?? '', `/lib/modules/${spec}`], [`/boot/config-${spec}`], options);
  throw new UsageError(
    `--kernel ${spec}: no such file or folder${spec.includes('/') ? '' : `, and no ${installed}`}; name an installed release, an image, a build tree, .deb files or debian:SUITE`,
  );
}

/** A lone linux-binary-*.deb is half a kernel: its linux-modules-*.deb in the same folder is taken along. */
function withSiblings(files: string[]): string[] {
  const all = new Set(files);
  for (const file of files) {
    const match = /^linux-(binary|modules)-(.*_.*\.deb)$/.exec(path.basename(file));
    const other = match && path.join(path.dirname(file), `linux-${match[1] === 'binary' ? 'modules' : 'binary'}-${match[2]}`);
    if (other && fs.existsSync(other)) all.add(other);
  }
  return [...all];
}

/** A build tree, a folder that packages were unpacked to, a folder of .deb files, or one with an image in it. */
async function fromFolder(spec: string, folder: string, options: ResolveOptions): Promise<GuestKernel> {
  const tree = ['arch/x86/boot/bzImage', 'arch/x86_64/boot/bzImage', 'vmlinux'].map((name) => path.join(folder, name)).find((file) => fs.existsSync(file));
  if (tree && fs.existsSync(path.join(folder, 'Makefile'))) return fromBuildTree(spec, folder, tree, options);
  // From 6.19 on Debian's image, as Fedora's always did, stands with the modules.
  const withModules = ['lib/modules', 'usr/lib/modules'].map((name) => path.join(folder, name)).filter((place) => fs.existsSync(place));
  const places = [path.join(folder, 'boot'), folder, ...withModules.flatMap((place) => fs.readdirSync(place).map((name) => path.join(place, name)))];
  for (const place of places) {
    if (!fs.existsSync(place) || !fs.statSync(place).isDirectory()) continue;
    const images = fs.readdirSync(place).filter((name) => /^(vmlinuz|bzImage|vmlinux)(-|$)/.test(name)).sort(byKind);
    const image = images[0] && path.join(place, images[0]);
    if (image) return fromImage(spec, image, options.modules ? [options.modules] : modulesBeside(image), configsBeside(image), options);
  }
  const debs = fs.readdirSync(folder).filter((name) => /^linux-(image|binary|modules)-.*\.deb$/.test(name)).map((name) => path.join(folder, name));
  if (debs.length > 0) return fromFolder(spec, await unpackDebs(debs), options);
  throw new UsageError(`--kernel ${spec}: holds no kernel image (looked for boot/vmlinuz-*, vmlinuz*, bzImage, vmlinux, arch/x86/boot/bzImage, linux-image-*.deb)`);
}

const byKind = (a: string, b: string): number => Number(a.startsWith('vmlinux')) - Number(b.startsWith('vmlinux')) || compareVersions(b, a);

/** A kernel build tree: modules from modules_install beside it, or out of the tree itself, or all built in. */
async function fromBuildTree(spec: string, folder: string, image: string, options: ResolveOptions): Promise<GuestKernel> {
  const releaseFile = path.join(folder, 'include/config/kernel.release');
  const release = fs.existsSync(releaseFile) ? fs.readFileSync(releaseFile, 'utf8').trim() : '';
  const candidates = options.modules ? [options.modules] : release ? [path.join(folder, 'lib/modules', release), `/lib/modules/${release}`] : [];
  const kernel = await fromImage(spec, image, candidates, [path.join(folder, '.config')], { ...options, treeModules: folder });
  const symbols = path.join(folder, 'vmlinux');
  return fs.existsSync(symbols) ? { ...kernel, symbols } : kernel;
}

/** Modules of a build tree, laid out as lib/modules/RELEASE by links, with the lists that depmod makes. */
async function treeModules(folder: string, release: string): Promise<string | undefined> {
  const orderFile = path.join(folder, 'modules.order');
  const order = fs.existsSync(orderFile) ? fs.readFileSync(orderFile, 'utf8').split('\n').filter(Boolean) : [];
  if (order.length === 0) return undefined;
  const files = order.map((line) => line.replace(/^kernel\//, '').replace(/\.o$/, '.ko'));
  const stamp = files.map((file) => `${file} ${fs.statSync(path.join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0}`);
  const root = await cached('kernels', `tree-${digestOf(path.resolve(folder), release, ...stamp)}`, (work) => {
    const target = path.join(work, 'lib/modules', release);
    for (const file of files) {
      if (!fs.existsSync(path.join(folder, file))) continue;
      fs.mkdirSync(path.join(target, 'kernel', path.dirname(file)), { recursive: true });
      fs.copyFileSync(path.join(folder, file), path.join(target, 'kernel', file));
    }
    for (const list of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order'])
      if (fs.existsSync(path.join(folder, list))) fs.copyFileSync(path.join(folder, list), path.join(target, list));
    execFileSync('depmod', ['-b', work, release], { stdio: 'ignore' });
  });
  return path.join(root, 'lib/modules', release);
}

async function fromImage(
  spec: string,
  file: string,
  moduleCandidates: string[],
  configs: string[],
  options: ResolveOptions & { treeModules?: string },
): Promise<GuestKernel> {
  const bytes = fs.readFileSync(file);
  const image = identifyImage(bytes);
  if (image.kind === 'none') throw new UsageError(`--kernel ${spec}: ${file} is no kernel image: ${image.why}`);
  const release = image.release;
  let folder = moduleCandidates.map((candidate) => moduleFolder(candidate, release)).find((candidate) => candidate !== undefined);
  if (folder === undefined && options.treeModules) folder = await treeModules(options.treeModules, release);
  if (folder === undefined && options.modules) throw new UsageError(`--modules ${options.modules}: holds no modules of ${release}`);
  const modules = folder === undefined ? undefined : readModuleTree(folder);
  const config = readConfig(configs, bytes, image.kind === 'bzImage' ? image.payload : undefined);
  const { boot, imageKind, imageWhy } = await bootable(file, bytes, image);
  const kernel: GuestKernel = {
    spec,
    release,
    image: boot,
    imageKind,
    digest: digestOf(bytes, modules ? moduleStamp(modules) : 'no modules'),
    ...(imageWhy === undefined ? {} : { imageWhy }),
    ...(image.kind === 'vmlinux' ? { symbols: file } : {}),
    ...(modules === undefined ? {} : { modules }),
    ...(config === undefined ? {} : { config }),
  };
  if (options.check !== false) checkKernel(kernel);
  return kernel;
}

/** Modules are identified by name, size and time of their files: reading hundreds of megabytes would cost seconds. */
function moduleStamp(tree: ModuleTree): string {
  return [...tree.paths.values()]
    .map((file) => {
      const stat = fs.statSync(path.join(tree.folder, file), { throwIfNoEntry: false });
      return `${file} ${stat?.size ?? 0} ${stat?.mtimeMs ?? 0}`;
    })
    .join('\n');
}

function moduleFolder(candidate: string, release: string): string | undefined {
  if (candidate === '') return undefined;
  const places = [candidate, path.join(candidate, release), path.join(candidate, 'lib/modules', release), path.join(candidate, 'usr/lib/modules', release)];
  return places.find((place) => path.basename(place) === release && fs.existsSync(place) && fs.statSync(place).isDirectory()) ??
    places.find((place) => fs.existsSync(path.join(place, 'modules.dep')));
}

function modulesBeside(image: string): string[] {
  const folder = path.dirname(image);
  return [path.resolve(folder, '..'), folder, '/'];
}

function configsBeside(image: string): string[] {
  const folder = path.dirname(image);
  const suffix = /-(.*)$/.exec(path.basename(image))?.[1];
  return [...(suffix === undefined ? [] : [path.join(folder, `config-${suffix}`)]), path.join(folder, '.config'), path.join(folder, 'config')];
}

/** The configuration beside an image, or the copy that CONFIG_IKCONFIG keeps inside it. */
function readConfig(files: string[], image: Buffer, payload: Uint8Array | undefined): string | undefined {
  const file = files.find((candidate) => fs.existsSync(candidate) && fs.statSync(candidate).isFile());
  if (file !== undefined) return fs.readFileSync(file, 'utf8');
  if (payload !== undefined) return undefined;
  const start = image.indexOf('IKCFG_ST');
  return start < 0 ? undefined : zlib.gunzipSync(image.subarray(start + 8, image.indexOf('IKCFG_ED'))).toString();
}

async function bootable(file: string, bytes: Buffer, image: ReturnType<typeof identifyImage>): Promise<{ boot: string; imageKind: GuestKernel['imageKind']; imageWhy?: string }> {
  if (image.kind === 'vmlinux') {
    if (!image.pvh) throw new UsageError(`${file}: this vmlinux has no PVH entry (CONFIG_PVH), so QEMU cannot start it; name the bzImage`);
    return { boot: file, imageKind: 'vmlinux' };
  }
  if (image.kind === 'none') throw new UsageError(`${file}: ${image.why}`);
  const payload = image.payload;
  const folder = await cached('vmlinux', digestOf(bytes), (work) => {
    const result = extractVmlinux(payload);
    if ('why' in result) fs.writeFileSync(path.join(work, 'why'), result.why);
    else fs.writeFileSync(path.join(work, 'vmlinux'), result.vmlinux);
  });
  const vmlinux = path.join(folder, 'vmlinux');
  if (fs.existsSync(vmlinux)) return { boot: vmlinux, imageKind: 'vmlinux' };
  return { boot: file, imageKind: 'bzImage', imageWhy: fs.readFileSync(path.join(folder, 'why'), 'utf8') };
}

/** Options without which no pmem can be carved from RAM, or no memory failed: refused before anything starts. */
function checkKernel(kernel: GuestKernel): void {
  const { spec, release, config, modules } = kernel;
  if (!modules && config === undefined)
    throw new UsageError(`--kernel ${spec}: no modules of ${release} beside it; name them by --modules DIR (a build tree with all code built in needs its .config)`);
  const isSet = (option: string): boolean => new RegExp(`^CONFIG_${option}=[ym]$`, 'm').test(config ?? '');
  const modular = (option: string): boolean => new RegExp(`^CONFIG_${option}=m$`, 'm').test(config ?? '');
  if (config !== undefined && !modules && modular('X86_PMEM_LEGACY'))
    throw new UsageError(`--kernel ${spec}: ${release} has nd_e820 as a module, and no modules are beside it; name them by --modules DIR`);
  const legacy = modules ? hasModule(modules, 'nd_e820') || isSet('X86_PMEM_LEGACY') : isSet('X86_PMEM_LEGACY');
  if (!legacy) throw new UsageError(`--kernel ${spec}: ${release} lacks nd_e820 (CONFIG_X86_PMEM_LEGACY): it cannot make pmem of RAM`);
  if (config !== undefined && !isSet('MEMORY_FAILURE'))
    throw new UsageError(`--kernel ${spec}: ${release} lacks CONFIG_MEMORY_FAILURE${/cloud/.test(release) ? ' (Debian\'s cloud kernels do)' : ''}: no memory failure can be tested on it`);
}
