// Regions and namespaces by ndctl, in its JSON (ndctl-list(1), ndctl-create-namespace(1)).
import { BrokenError } from '../errors.js';
import { tool } from './tool.js';

export interface Region {
  dev: string;
  size: number;
  align?: number;
  available_size: number;
  type?: string;
  numa_node?: number;
  state?: string;
  namespaces?: Namespace[];
}

export interface Namespace {
  dev: string;
  mode: 'raw' | 'fsdax' | 'devdax' | 'sector' | 'system-ram';
  map?: 'mem' | 'dev';
  size: number;
  uuid?: string;
  name?: string;
  align?: number;
  blockdev?: string;
  chardev?: string;
  state?: string;
  daxregion?: { devices?: { chardev: string; size: number; align?: number; mode?: string }[] };
  badblock_count?: number;
}

const list = (text: string): unknown[] => {
  if (text.trim() === '') return [];
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? value : [value];
};

export const regions = async (): Promise<Region[]> => list(await tool('ndctl', ['list', '-R', '-i'])) as Region[];

/** Namespaces, the idle ones with `all`. */
export const namespaces = async (all = false): Promise<Namespace[]> => list(await tool('ndctl', ['list', '-N', '-X', ...(all ? ['-i'] : [])])) as Namespace[];

export interface NamespaceRequest {
  mode: 'raw' | 'fsdax' | 'devdax' | 'sector';
  map?: string;
  align?: string | number;
  uuid?: string;
  name?: string;
  /** Of a sector namespace, bytes. */
  sectorSize?: number;
  /** Bytes, of one made in a region with labels; default: all that is free. */
  size?: number;
}

/** Reconfigures one namespace (or makes one in `region`) and gives what it became. Destroys its content. */
export async function createNamespace(target: { namespace: string } | { region: string }, request: NamespaceRequest): Promise<Namespace> {
  const where = 'namespace' in target ? ['-f', '-e', target.namespace] : ['-r', target.region];
  const details = request.mode === 'raw' || request.mode === 'sector' ? [] : [...(request.map ? ['-M', request.map] : []), ...(request.align ? ['-a', String(request.align)] : [])];
  const identity = [...(request.size ? ['-s', String(request.size)] : []), ...(request.sectorSize ? ['-l', String(request.sectorSize)] : []), ...(request.uuid ? ['-u', request.uuid] : []), ...(request.name ? ['-n', request.name] : [])];
  const text = await tool('ndctl', ['create-namespace', ...where, '-m', request.mode, ...details, ...identity]);
  const made = list(text)[0] as Namespace | undefined;
  if (!made) throw new BrokenError(`ndctl create-namespace said nothing about what it made (${where.join(' ')} -m ${request.mode})`);
  return made;
}

/** Takes the devices of a namespace away; what it holds stays. */
export const disableNamespace = async (dev: string): Promise<void> => void (await tool('ndctl', ['disable-namespace', dev]));

/** Takes a region's namespaces away, and with labels its DIMMs' memory; all of it stays on media. */
export const disableRegion = async (dev: string): Promise<void> => void (await tool('ndctl', ['disable-region', dev]));

export const enableRegion = async (dev: string): Promise<void> => void (await tool('ndctl', ['enable-region', dev]));

/** Destroys it with what it holds; its space is free in the region again. */
export const destroyNamespace = async (dev: string): Promise<void> => void (await tool('ndctl', ['destroy-namespace', '-f', dev]));

export const enableNamespace = async (dev: string): Promise<void> => void (await tool('ndctl', ['enable-namespace', dev]));

/** The character device of a devdax namespace, by name (dax0.0). */
export const chardevOf = (namespace: Namespace): string | undefined => namespace.chardev ?? namespace.daxregion?.devices?.[0]?.chardev;
