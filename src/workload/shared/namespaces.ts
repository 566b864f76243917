// A namespace that a workload may turn into anything, for what is about namespaces themselves. Guests only: on a machine
// with data on it nobody would lend one.
import { bindNamespace, ndAttribute, ndNumber, ndRegions, setNdAttribute, unbindNamespace, type NdNamespace, type NdRegion } from '../../device/nd.js';
import { chardevOf, createNamespace, disableNamespace, disableRegion, enableNamespace, enableRegion, namespaces, type Namespace, type NamespaceRequest } from '../../device/ndctl.js';
import { waitForFile } from '../../device/provision.js';
import { tool } from '../../device/tool.js';
import { BrokenError } from '../../errors.js';
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

/** The first namespace of a region, by default of the first one, made if there is none. Skips where there is no pmem. */
export async function spareNamespace(ctx: Context, region: NdRegion | undefined = ndRegions()[0]): Promise<Spare> {
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

/** The namespaces of all regions. */
export const allNamespaces = (): NdNamespace[] => ndRegions().flatMap(({ namespaces: found }) => found);

/** The block device that serves a namespace, itself or through what claims it, by name; undefined where none does. */
export const blockDeviceOf = (dev: string): string | undefined => allNamespaces().find((one) => one.dev === dev)?.blockdev;

/** Brings the namespace up as its raw bytes for `work`, and takes it down again. */
export async function asRawBytes<Result>(spare: Spare, work: (device: string) => Result): Promise<Result> {
  await spare.disable();
  setNdAttribute(spare.dev, 'force_raw', '1'); // it comes up as all its bytes
  try {
    bindNamespace(spare.dev);
    using _ = { [Symbol.dispose]: () => unbindNamespace(spare.dev) };
    const device = blockDeviceOf(spare.dev);
    if (device === undefined) throw new BrokenError(`${spare.dev}: forced raw, but no block device`);
    const node = `/dev/${device}`;
    await waitForFile(node);
    return work(node);
  } finally {
    setNdAttribute(spare.dev, 'force_raw', '0');
  }
}

export interface LabelledRegion {
  dev: string;
  size: number;
  /** Names of its DIMMs, nmem0 the first. */
  dimms: string[];
}

/** The first region whose DIMMs have label areas, with those made anew, so that it is empty. Skips where there is none. */
export async function labelledRegion(ctx: Context): Promise<LabelledRegion> {
  const dimmsOf = (dev: string): string[] => Array.from({ length: ndNumber(dev, 'mappings') }, (_, i) => ndAttribute(dev, `mapping${i}`).split(',')[0]!);
  const found = ndRegions().find(({ dev }) => dimmsOf(dev).length > 0 && dimmsOf(dev).every((dimm) => /\bset_data\b/.test(ndAttribute(dimm, 'commands'))));
  if (!found) return ctx.skip('needs a region with label areas, as NVDIMM devices have; try --layout nfit');
  const { dev, size } = found;
  const dimms = dimmsOf(dev);
  await disableRegion(dev);
  await tool('ndctl', ['init-labels', '-f', ...dimms]);
  await enableRegion(dev);
  const made = { type: ndAttribute(dev, 'nstype'), free: ndNumber(dev, 'available_size') };
  ctx.expect(made.type === LABELLED && made.free === size, 'a region with new label areas should be empty, and its namespaces described by labels', made);
  return { dev, size, dimms };
}

/** ND_DEVICE_NAMESPACE_PMEM (include/uapi/linux/ndctl.h): labels say what namespaces there are. */
const LABELLED = '5';

/** ND_DEVICE_NAMESPACE_IO: one namespace that takes the whole region, without labels; what memmap= gives. */
const UNLABELLED = '4';

/** All regions that are one namespace each. */
export const legacyRegions = (): NdRegion[] => ndRegions().filter(({ dev }) => ndAttribute(dev, 'nstype') === UNLABELLED);
