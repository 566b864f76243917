// Kernels from Debian's archive, fetched through a private apt configuration: the machine's own package source and
// keys, but lists and cache of daxrig's own, so that neither root nor the machine's apt state is touched.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { BrokenError, UsageError, codeOf, messageOf } from '../errors.js';
import { cacheRoot, cached, makeCacheFolder, digestOf } from './cache.js';

const run = promisify(execFile);

/** Suites searched by `debian:VERSION` and globs, oldest first; names that the archive lacks are passed over. */
export const KNOWN_SUITES = [
  'bullseye', 'bookworm', 'bookworm-backports', 'trixie', 'trixie-backports', 'forky', 'sid', 'experimental',
] as const;

const ALIASES: Record<string, string> = { unstable: 'sid', stable: 'trixie', oldstable: 'bookworm', oldoldstable: 'bullseye' };

export interface DebianKernel {
  suite: string;
  /** Kernel release, for example 6.1.0-56-amd64. */
  release: string;
  /** Package version, for example 6.1.192-2. */
  version: string;
  /** Packages to unpack over one another. */
  packages: string[];
  /** Bytes to download. */
  size: number;
}

interface AptSource {
  uri: string;
  options: string;
  suites: string[];
  components: string;
}

/** The machine's own Debian archive entries, from both forms of sources that apt knows (sources.list(5)). */
function machineSources(): AptSource[] {
  const files = ['/etc/apt/sources.list'];
  const folder = '/etc/apt/sources.list.d';
  if (fs.existsSync(folder)) files.push(...fs.readdirSync(folder).sort().map((name) => path.join(folder, name)));
  const sources: AptSource[] = [];
  for (const file of files) {
    if (!/\.(list|sources)$/.test(file) || !fs.existsSync(file)) continue;
    const text = fs.readFileSync(file, 'utf8');
    sources.push(...(file.endsWith('.sources') ? parseDeb822(text) : parseOneLine(text)));
  }
  return sources.filter((source) => / main( |$)/.test(` ${source.components}`));
}

export function parseOneLine(text: string): AptSource[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)/.exec(line);
    return match ? [{ options: match[1]?.trim() ?? '', uri: match[2]!.replace(/\/+$/, ''), suites: [match[3]!], components: match[4]!.trim() }] : [];
  });
}

export function parseDeb822(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}:[ \\t]*(.*(?:\\n[ \\t].*)*)`, 'im').exec(stanza.replace(/^#.*\n?/gm, ''))?.[1]?.trim();
    const uris = field('URIs')?.split(/\s+/) ?? [];
    if (!field('Types')?.split(/\s+/).includes('deb') || /^no$/i.test(field('Enabled') ?? '')) return [];
    const key = field('Signed-By');
    return uris.map((uri) => ({
      uri: uri.replace(/\/+$/, ''),
      options: key !== undefined && !key.includes('\n') ? `signed-by=${key}` : '',
      suites: field('Suites')?.split(/\s+/) ?? [],
      components: field('Components')?.replace(/\s+/g, ' ') ?? '',
    }));
  });
}

/** The machine's Debian codename, or undefined where it runs something else. */
export function machineSuite(): string | undefined {
  const release = fs.existsSync('/etc/os-release') ? fs.readFileSync('/etc/os-release', 'utf8') : '';
  return /^ID=debian$/m.test(release) ? /^VERSION_CODENAME=(\w+)/m.exec(release)?.[1] : undefined;
}

/** The lines of a private sources.list for one suite, and whether its security suite is in it. */
function sourcesFor(suite: string, security: boolean): string[] {
  const sources = machineSources();
  const archive = sources.find((source) => /\/debian$/.test(source.uri)) ?? sources.find((source) => !/security/.test(source.uri));
  if (!archive)
    throw new BrokenError('no Debian archive among the machine\'s apt sources; name a kernel by --kernel with a release, an image, a .deb or a build tree');
  const line = (source: AptSource, name: string): string => `deb ${source.options ? `[${source.options}] ` : ''}${source.uri} ${name} main`;
  const lines = [line(archive, suite)];
  const secure = sources.find((source) => /security/.test(source.uri));
  if (security && secure && !/-|sid|experimental/.test(suite)) lines.push(line(secure, `${suite}-security`));
  return lines;
}

interface Apt {
  options: string[];
}

const prepared = new Map<string, Promise<Apt>>();

/** A private apt configuration for one suite with fresh lists (one update per suite and process). */
function aptFor(suite: string): Promise<Apt> {
  let apt = prepared.get(suite);
  if (!apt) prepared.set(suite, (apt = prepareApt(suite)));
  return apt;
}

async function prepareApt(suite: string): Promise<Apt> {
  const folder = path.join(cacheRoot(), 'apt', suite);
  for (const part of ['state/lists/partial', 'cache/archives/partial']) makeCacheFolder(path.join(folder, part));
  const list = path.join(folder, 'sources.list');
  const set = (name: string, value: string): string[] => ['-o', `${name}=${value}`];
  const options = [
    ...set('Dir::Etc::sourcelist', list),
    ...set('Dir::Etc::sourceparts', '-'),
    ...set('Dir::State', path.join(folder, 'state')),
    ...set('Dir::Cache', path.join(folder, 'cache')),
    // The package's signature chain is checked; its age is not: old suites are the point here.
    ...set('Acquire::Check-Valid-Until', 'false'),
    ...set('Acquire::Languages', 'none'),
    ...set('APT::Sandbox::User', ''),
    ...set('APT::Architecture', 'amd64'),
    ...set('APT::Architectures', 'amd64'),
    ...set('APT::Get::List-Cleanup', 'false'),
  ];
  let failure = '';
  for (const security of [true, false]) {
    fs.writeFileSync(list, `${sourcesFor(suite, security).join('\n')}\n`);
    try {
      await run('apt-get', [...options, '-qq', '-o', 'APT::Update::Error-Mode=any', 'update'], { timeout: 120_000 });
      return { options };
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw new BrokenError('apt-get is not on this machine; name a kernel by --kernel with a release, an image, a .deb or a build tree');
      failure = aptMessage(error);
    }
  }
  if (/does not have a Release file|404/.test(failure)) throw new UsageError(`debian:${suite}: the archive has no suite of that name; known: ${KNOWN_SUITES.join(', ')}`);
  throw new BrokenError(`debian:${suite}: apt-get update failed: ${failure}`);
}

function aptMessage(error: unknown): string {
  const text = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr) : messageOf(error);
  const lines = text.split('\n').filter((line) => /^[EW]:/.test(line));
  return (lines[0] ?? text.split('\n')[0] ?? '').replace(/\S+:\/\/[^/\s]+/g, '').trim();
}

const NAME = /^linux-(image|binary)-(\d[\w.+~-]*-amd64)$/;

/** An image package smaller than this is a metapackage, or the empty shell of a split one. */
const REAL_IMAGE = 1e6;

/** The release that the suite itself installs: what its linux-image-amd64 depends on, in its newest version. */
async function defaultRelease(options: string[]): Promise<string | undefined> {
  const shown = (await run('apt-cache', [...options, 'show', '--no-all-versions', 'linux-image-amd64'])).stdout;
  return /^Depends:.*?linux-(?:image|binary)-(\d[\w.+~-]*-amd64)/m.exec(shown)?.[1];
}

/** An answer of the archive is good for this long; `daxrig kernels --update` asks anew. */
const FRESH_MS = 24 * 3600 * 1000;

/**
 * Kernels that one suite offers, its default first, then the newest first; the archive is asked at most once a day.
 * Throws UsageError for a suite that the archive has not.
 */
export async function kernelsOf(suite: string, update = false): Promise<DebianKernel[]> {
  const index = path.join(cacheRoot(), 'apt', suite, 'kernels.json');
  const stat = fs.statSync(index, { throwIfNoEntry: false });
  if (stat && !update && Date.now() - stat.mtimeMs < FRESH_MS) return JSON.parse(fs.readFileSync(index, 'utf8')) as DebianKernel[];
  const kernels = await askArchive(suite);
  const fresh = `${index}.${process.pid}`;
  fs.writeFileSync(fresh, JSON.stringify(kernels));
  fs.renameSync(fresh, index);
  return kernels;
}

async function askArchive(suite: string): Promise<DebianKernel[]> {
  const { options } = await aptFor(suite);
  const names = (await run('apt-cache', [...options, 'pkgnames', 'linux-'], { maxBuffer: 64 << 20 })).stdout
    .split('\n')
    .filter((name) => NAME.test(name) && !/-rt-amd64$/.test(name));
  if (names.length === 0) return [];
  const releases = new Set(names.map((name) => NAME.exec(name)![2]!));
  const wanted = [...releases].flatMap((release) => [`linux-image-${release}`, `linux-binary-${release}`, `linux-modules-${release}`]);
  const shown = (await run('apt-cache', [...options, 'show', '--no-all-versions', ...wanted], { maxBuffer: 64 << 20 })).stdout;
  const byName = new Map<string, { version: string; size: number }>();
  for (const stanza of shown.split(/\n\n+/)) {
    const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1];
    const name = field('Package');
    if (name && !byName.has(name)) byName.set(name, { version: field('Version') ?? '', size: Number(field('Size') ?? 0) });
  }
  const kernels: DebianKernel[] = [];
  for (const release of releases) {
    // From 6.19 on linux-image-* is empty: the image is in linux-binary-*, the modules in linux-modules-*.
    const split = byName.has(`linux-binary-${release}`);
    const packages = split ? [`linux-binary-${release}`, `linux-modules-${release}`] : [`linux-image-${release}`];
    const found = packages.map((name) => byName.get(name));
    if (found.some((item) => !item) || found[0]!.size < REAL_IMAGE) continue;
    kernels.push({ suite, release, version: found[0]!.version, packages, size: found.reduce((sum, item) => sum + item!.size, 0) });
  }
  const preferred = await defaultRelease(options);
  const rank = (kernel: DebianKernel): number => Number(kernel.release !== preferred);
  return kernels.sort((a, b) => rank(a) - rank(b) || compareVersions(b.version, a.version));
}

/** Debian's version order (deb-version(7)): negative when a is older. */
export function compareVersions(a: string, b: string): number {
  const parts = (version: string): { epoch: number; rest: string } => {
    const match = /^(?:(\d+):)?(.*)$/.exec(version)!;
    return { epoch: Number(match[1] ?? 0), rest: match[2]! };
  };
  const left = parts(a);
  const right = parts(b);
  if (left.epoch !== right.epoch) return left.epoch - right.epoch;
  const order = (char: string | undefined): number =>
    char === '~' ? -1 : char === undefined || /\d/.test(char) ? 0 : /[A-Za-z]/.test(char) ? char.charCodeAt(0) : char.charCodeAt(0) + 256;
  let [x, y] = [left.rest, right.rest];
  while (x !== '' || y !== '') {
    const wordX = /^\D*/.exec(x)![0];
    const wordY = /^\D*/.exec(y)![0];
    for (let i = 0; i < Math.max(wordX.length, wordY.length); i++) {
      const difference = order(wordX[i]) - order(wordY[i]);
      if (difference !== 0) return difference;
    }
    [x, y] = [x.slice(wordX.length), y.slice(wordY.length)];
    const numberX = /^\d*/.exec(x)![0];
    const numberY = /^\d*/.exec(y)![0];
    const difference = Number(numberX || 0) - Number(numberY || 0);
    if (difference !== 0) return difference;
    [x, y] = [x.slice(numberX.length), y.slice(numberY.length)];
  }
  return 0;
}

const matches = (pattern: string, text: string): boolean =>
  new RegExp(`^${pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`).test(text);

/** True when a pattern (a version, its beginning up to a dot or dash, a glob, or the flavour "cloud") names this kernel. */
export function namesKernel(pattern: string, kernel: { release: string; version: string }): boolean {
  if (pattern === 'cloud') return isCloud(kernel);
  return [kernel.release, kernel.version].some((text) => matches(pattern, text) || (!pattern.includes('*') && (matches(`${pattern}.*`, text) || matches(`${pattern}-*`, text) || matches(`${pattern}+*`, text) || matches(`${pattern}~*`, text))));
}

/** Debian's cloud flavour: without MEMORY_FAILURE and most drivers. */
export const isCloud = ({ release }: { release: string }): boolean => /-cloud-/.test(release);

/**
 * Kernels named by the text after `debian:`: SUITE (the one it installs by itself), SUITE/VERSION, SUITE/cloud, VERSION in any suite, or globs in
 * either place (then all that match, the newest of each release). Throws UsageError when nothing has that name.
 */
export async function findDebianKernels(text: string): Promise<DebianKernel[]> {
  const [first, second] = text.split('/', 2) as [string, string?];
  const isSuite = /^[a-z*]/.test(first);
  const suiteName = ALIASES[first] ?? first;
  const suites = !isSuite ? [...KNOWN_SUITES] : first.includes('*') ? KNOWN_SUITES.filter((suite) => matches(first, suite)) : [suiteName];
  const pattern = isSuite ? second : first;
  const found: DebianKernel[] = [];
  let failure: unknown;
  for (const suite of suites) {
    try {
      // Debian's cloud kernels cannot fail memory: only who names them means them.
      const kernels = (await kernelsOf(suite)).filter((kernel) => /cloud/.test(pattern ?? '') || !isCloud(kernel));
      // Of the flavours, the one of the kernel that the suite itself installs comes first.
      const own = kernels[0]?.release.replace(/-amd64$/, '-cloud-amd64');
      const fitting = pattern === undefined ? kernels.slice(0, 1) : kernels.filter((kernel) => namesKernel(pattern, kernel)).sort((a, b) => Number(b.release === own) - Number(a.release === own));
      found.push(...(pattern?.includes('*') ? fitting : fitting.slice(0, 1)));
    } catch (error) {
      if (suites.length === 1) throw error;
      failure = error;
    }
  }
  const newest = [...new Map(found.map((kernel) => [kernel.release, kernel])).values()].sort((a, b) => compareVersions(a.version, b.version));
  if (newest.length === 0) {
    if (failure instanceof BrokenError) throw failure;
    throw new UsageError(`debian:${text}: no kernel of that name in ${suites.length === 0 ? `any suite called ${first}` : suites.join(', ')}; see "daxrig kernels"`);
  }
  const exact = pattern === undefined || pattern.includes('*') || first.includes('*');
  return exact ? newest : newest.slice(-1);
}

/** A cached, unpacked kernel; `origin` in its folder says which package it came from. */
export interface UnpackedKernel {
  folder: string;
  origin: DebianKernel;
}

/** Downloads and unpacks a kernel unless the cache has it. apt checks hash and signature on the way. */
export async function fetchKernel(kernel: DebianKernel, progress: (text: string) => void): Promise<string> {
  return cached('kernels', `${kernel.packages[0]}_${kernel.version.replace(/[^\w.+~-]/g, '_')}`, async (folder) => {
    const { options } = await aptFor(kernel.suite);
    const debs = path.join(folder, 'debs');
    fs.mkdirSync(debs);
    progress(`downloading ${kernel.packages.join(' and ')} ${kernel.version} (${Math.round(kernel.size / 1e6)} MB)`);
    try {
      await run('apt-get', [...options, '-qq', 'download', ...kernel.packages.map((name) => `${name}=${kernel.version}`)], { cwd: debs, timeout: 600_000 });
    } catch (error) {
      throw new BrokenError(`${kernel.packages.join(', ')}: download failed: ${aptMessage(error)}`);
    }
    progress(`unpacking ${kernel.release}`);
    for (const name of fs.readdirSync(debs)) await unpackDeb(path.join(debs, name), folder);
    fs.rmSync(debs, { recursive: true });
    fs.writeFileSync(path.join(folder, 'origin.json'), JSON.stringify(kernel));
  });
}

/** Kernels in the cache that came from Debian, whether the archive still has them or not. */
export function cachedDebianKernels(): UnpackedKernel[] {
  const base = path.join(cacheRoot(), 'kernels');
  if (!fs.existsSync(base)) return [];
  return fs.readdirSync(base).flatMap((name) => {
    const origin = path.join(base, name, 'origin.json');
    return fs.existsSync(origin) ? [{ folder: path.join(base, name), origin: JSON.parse(fs.readFileSync(origin, 'utf8')) as DebianKernel }] : [];
  });
}

/** Unpacks .deb files over one another into the cache; the key is their content. */
export async function unpackDebs(files: readonly string[]): Promise<string> {
  const key = digestOf(...files.map((file) => fs.readFileSync(file)));
  return cached('kernels', `deb-${key}`, async (folder) => {
    for (const file of files) await unpackDeb(file, folder);
  });
}

async function unpackDeb(file: string, folder: string): Promise<void> {
  try {
    await run('dpkg-deb', ['-x', file, folder]);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw new BrokenError('dpkg-deb is not on this machine; unpack the package elsewhere and name the folder');
    const text = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr) : messageOf(error);
    if (/No space left/.test(text)) throw Object.assign(new Error(text), { code: 'ENOSPC' });
    throw new UsageError(`${file}: not a package that dpkg-deb can unpack (${text.trim().split('\n')[0]})`);
  }
}
