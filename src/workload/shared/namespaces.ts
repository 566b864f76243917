// A namespace that a workload may turn into anything, for what is about namespaces themselves. Guests only: on a machine
// with data on it nobody would lend one.
import fs from 'node:fs';
import { chardevOf, createNamespace, disableNamespace, enableNamespace, namespaces, type Namespace, type NamespaceRequest } from '../../device/ndctl.js';
import { ndRegions } from '../../device/nd.js';
import { waitForFile } from '../../device/provision.js';
import type { Context } from '../types.js';

export interface Spare {
  /** The name, for example namespace0.0; kept while the namespace is made into other modes. */
  dev: string;
  region: string;
  /** Makes it into another mode, and waits for its device. */
  remake(request: NamespaceRequest): Promise<Namespace & { path: string }>;
  disable(): Promise<void>;
  /** Enables it, and waits for its device where `node` names one. */
  enable(node?: string): Promise<void>;
  /** What ndctl says of it now. */
  look(): Promise<Namespace | undefined>;
}

/** The first namespace of the first region, made if there is none. Skips where there is no pmem. */
export async function spareNamespace(ctx: Context): Promise<Spare> {
  const [region] = ndRegions();
  if (!region) return ctx.skip('no pmem region on this machine; boot with memmap=nn!ss, or use a guest layout with pmem');
  const { dev } = region.namespaces[0] ?? (await createNamespace({ region: region.dev }, { mode: 'raw' }));
  return {
    dev,
    region: region.dev,
    async remake(request) {
      const made = await createNamespace({ namespace: dev }, request);
      const path = `/dev/${request.mode === 'devdax' ? chardevOf(made) : made.blockdev}`;
      await waitForFile(path);
      return { ...made, path };
    },
    disable: () => disableNamespace(dev),
    async enable(node) {
      await enableNamespace(dev);
      if (node !== undefined) await waitForFile(node);
    },
    look: async () => (await namespaces(true)).find((one) => one.dev === dev),
  };
}

/** A number that sysfs keeps of an nvdimm device. */
export const ndNumber = (dev: string, name: string): number => Number(fs.readFileSync(`/sys/bus/nd/devices/${dev}/${name}`, 'utf8'));
