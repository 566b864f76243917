// Which kernel modules a guest needs, in the order to load them, read from modules.dep and modules.softdep.
// Names are compared with - and _ made equal, as modprobe does; modprobe itself is not asked, because a host's
// modprobe.d (ndctl's `install libnvdimm` line) would change its answer.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { BrokenError, codeOf, messageOf } from '../errors.js';

/** The folder of one kernel's modules: lib/modules/RELEASE. */
export interface ModuleTree {
  folder: string;
  /** Normalised name -> path relative to `folder`. */
  paths: Map<string, string>;
  /** Normalised name -> names it needs, nearest first (modules.dep). */
  needs: Map<string, string[]>;
  /** Normalised name -> names to load before it (modules.softdep, "pre:"). */
  softNeeds: Map<string, string[]>;
  /** Code that the kernel has built in (modules.builtin). */
  builtin: Set<string>;
}

const normal = (name: string): string => path.basename(name).replace(/\.ko(\.(gz|xz|zst))?$/, '').replace(/-/g, '_');

/** Reads the lists of lib/modules/RELEASE; undefined when the folder has neither modules.dep nor modules. */
export function readModuleTree(folder: string): ModuleTree | undefined {
  const tree: ModuleTree = { folder, paths: new Map(), needs: new Map(), softNeeds: new Map(), builtin: new Set() };
  const list = (name: string): string[] => {
    try {
      return fs.readFileSync(path.join(folder, name), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  };
  if (!fs.existsSync(path.join(folder, 'modules.dep'))) {
    if (!fs.existsSync(path.join(folder, 'kernel')) && !fs.existsSync(path.join(folder, 'modules.order'))) return undefined;
    runDepmod(folder);
  }
  for (const line of list('modules.dep')) {
    const [file, rest] = line.split(':');
    const name = normal(file!);
    tree.paths.set(name, file!);
    tree.needs.set(name, (rest ?? '').trim().split(/\s+/).filter(Boolean).map(normal));
  }
  for (const line of list('modules.softdep')) {
    const match = /^softdep\s+(\S+)\s+(.*)$/.exec(line);
    const pre = match && /pre:\s*((?:(?!post:)\S+\s*)*)/.exec(match[2]!);
    if (match && pre) tree.softNeeds.set(normal(match[1]!), pre[1]!.trim().split(/\s+/).filter(Boolean).map(normal));
  }
  for (const line of list('modules.builtin')) tree.builtin.add(normal(line));
  return tree;
}

/** Makes modules.dep and its likes in lib/modules/RELEASE, for a tree that was unpacked but never installed. */
export function runDepmod(folder: string): void {
  const base = path.resolve(folder, '../../..');
  try {
    execFileSync('depmod', ['-b', base, path.basename(folder)], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    throw new BrokenError(`${folder}: depmod could not make modules.dep (${messageOf(error).split('\n')[0]}); install kmod`);
  }
}

export interface ModulePlan {
  /** Names in loading order; each can be loaded when those before it are. */
  order: string[];
  /** Asked for, but neither a module nor built in. */
  absent: string[];
}

/** The modules to load for `wanted`, with all that they need, soft dependencies included. */
export function planModules(tree: ModuleTree, wanted: readonly string[]): ModulePlan {
  const order: string[] = [];
  const absent: string[] = [];
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const soft of tree.softNeeds.get(name) ?? []) if (tree.paths.has(soft)) visit(soft);
    // modules.dep lists everything below a module, the farthest last.
    for (const need of [...(tree.needs.get(name) ?? [])].reverse()) visit(need);
    if (tree.paths.has(name)) order.push(name);
  };
  for (const name of wanted.map(normal)) {
    if (tree.paths.has(name)) visit(name);
    else if (!tree.builtin.has(name)) absent.push(name);
  }
  return { order, absent };
}

/** True when the kernel has this code, as a module or built in. */
export function hasModule(tree: ModuleTree, name: string): boolean {
  return tree.paths.has(normal(name)) || tree.builtin.has(normal(name));
}

/** A module's bytes, uncompressed: the guest then needs no decompressor. */
export function readModule(tree: ModuleTree, name: string): Buffer {
  const file = path.join(tree.folder, tree.paths.get(normal(name))!);
  const bytes = fs.readFileSync(file);
  if (file.endsWith('.ko')) return bytes;
  if (file.endsWith('.gz')) return zlib.gunzipSync(bytes);
  return decompress(file.endsWith('.zst') ? 'zstd' : 'xz', bytes, file);
}

/** Runs an uncompressor over `bytes`; throws BrokenError that names the tool when it is missing or fails. */
export function decompress(tool: string, bytes: Uint8Array, what: string): Buffer {
  try {
    return execFileSync(tool, ['-dc'], { input: bytes, maxBuffer: 1 << 30, stdio: ['pipe', 'pipe', 'pipe'] });
  } catch (error) {
    throw new BrokenError(
      codeOf(error) === 'ENOENT'
        ? `${what}: compressed with ${tool}, which is not installed; install ${tool === 'xz' ? 'xz-utils' : tool}`
        : `${what}: ${tool} cannot uncompress it (${messageOf(error).split('\n').slice(0, 2).join(' ')})`,
    );
  }
}
