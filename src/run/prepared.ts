// Which place an instance asks for, and one that was made before the instance came: a guest in which it was made is saved, and
// copies of it serve all instances that ask for the same.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { PlaceRequest, Provisioned } from '../device/provision.js';
import type { Params } from './result.js';
import type { Workload } from '../workload/types.js';

/** The place that a workload asks for with these parameters; undefined when it asks for none. */
export function placeRequest({ needs }: Workload, { fs: kind, map, align, region }: Params): PlaceRequest | undefined {
  if (!needs.dax) return undefined;
  return {
    mode: needs.dax,
    ...(map === undefined ? {} : { map: String(map) }),
    ...(align === undefined ? {} : { align: String(align) }),
    ...(kind === undefined ? {} : { fs: String(kind) }),
    ...(region === undefined ? {} : { region: Number(region) }),
  };
}

export interface PreparedPlace {
  /** The instance's folder, which the place may lie in. */
  folder: string;
  /** Nothing, for an instance that asks for no place. */
  made: Provisioned | undefined;
}

export const temporaryFolder = (): string => fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-'));
