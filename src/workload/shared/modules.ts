// Kernel modules loaded and unloaded by a workload.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { tool } from '../../device/tool.js';
import { coverAgain } from '../../measure/coverage.js';

export const isLoaded = (name: string): boolean => fs.existsSync(`/sys/module/${name}`);

/** The name by which the kernel lists a module's file. */
const nameOf = (file: string): string => path.basename(file).replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');

/** Files of a module and of what it needs, in loading order; undefined where modules.dep does not know it. */
export function moduleFiles(name: string, modulesDep: string): string[] | undefined {
  for (const line of modulesDep.split('\n')) {
    const [file, needs = ''] = line.split(':');
    // The farthest need stands last.
    if (file && nameOf(file) === name.replaceAll('-', '_')) return [...needs.trim().split(/\s+/).filter(Boolean).reverse(), file];
  }
  return undefined;
}

/** Loads a module; false where this kernel has none of that name. */
export async function loadModule(name: string): Promise<boolean> {
  if (isLoaded(name)) return true;
  const root = `/lib/modules/${os.release()}`;
  const dep = path.join(root, 'modules.dep');
  const files = fs.existsSync(dep) ? moduleFiles(name, fs.readFileSync(dep, 'utf8')) : undefined;
  if (files === undefined) return false;
  files.map(nameOf).filter((one) => !isLoaded(one)).forEach(coverAgain);
  await tool('modprobe', [name]);
  return true;
}
