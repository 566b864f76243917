// Reads /proc/iomem: nested resources, and the ones that matter for persistent memory.
import { UsageError } from '../errors.js';

export interface Resource {
  start: number;
  /** Last byte. */
  end: number;
  name: string;
  children: Resource[];
}

const LINE = /^( *)([0-9a-f]+)-([0-9a-f]+) : (.*)$/;

/** The resource tree of a /proc/iomem text. Throws UsageError when it is none, or was read without root. */
export function parseIomem(text: string): Resource[] {
  const roots: Resource[] = [];
  const path: Resource[] = [];
  let seen = 0;
  let hidden = 0;
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const match = LINE.exec(line.replace(/\r$/, ''));
    if (match === null) throw new UsageError(`iomem line ${index + 1}: "${line.slice(0, 60)}" is no line of /proc/iomem`);
    const depth = Math.min(match[1]!.length / 2, path.length);
    const resource: Resource = { start: Number.parseInt(match[2]!, 16), end: Number.parseInt(match[3]!, 16), name: match[4]!.trim(), children: [] };
    seen++;
    if (resource.start === 0 && resource.end === 0) hidden++;
    path.length = Math.floor(depth);
    (path.at(-1)?.children ?? roots).push(resource);
    path.push(resource);
  }
  if (seen > 1 && hidden === seen) throw new UsageError('iomem: every address is zero; read /proc/iomem as root');
  return roots;
}

/** All resources of a tree, parents before children. */
export function* allResources(resources: readonly Resource[]): Generator<Resource> {
  for (const resource of resources) {
    yield resource;
    yield* allResources(resource.children);
  }
}

const named = (resources: readonly Resource[], name: RegExp): Resource[] => [...allResources(resources)].filter((resource) => name.test(resource.name));

export const systemRam = (resources: readonly Resource[]): Resource[] => named(resources, /^System RAM\b/);

/** Firmware-described ("Persistent Memory") and emulated ("Persistent Memory (legacy)") ranges. */
export const pmemRanges = (resources: readonly Resource[]): Resource[] => named(resources, /^Persistent Memory\b/);

/** Emulated ranges alone. */
export const legacyPmem = (resources: readonly Resource[]): Resource[] => named(resources, /^Persistent Memory \(legacy\)/);

/** Ranges that drivers have claimed inside them: namespaceX.Y, pfnX.Y, daxX.Y, bttX.Y. */
export const claimedRanges = (resources: readonly Resource[]): Resource[] => named(resources, /^(?:namespace|dax|pfn|btt)\d+\.\d+$/);

/** Memory that firmware set aside for a purpose ("Soft Reserved"): devdax by hmem. */
export const softReserved = (resources: readonly Resource[]): Resource[] => named(resources, /^Soft Reserved\b/);
