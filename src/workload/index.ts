// Every workload, in the order in which they run and are listed. A new one is a file beside this and a line here.
import type { Workload } from './types.js';
import devdaxDirectIo from './devdax/direct-io.js';
import devdaxPoison from './devdax/poison.js';
import devdaxRemap from './devdax/remap.js';
import devdaxVerify from './devdax/verify.js';
import fsdaxDaxActive from './fsdax/dax-active.js';
import fsdaxDirectIo from './fsdax/direct-io.js';
import fsdaxMapSync from './fsdax/map-sync.js';
import fsdaxPoisonTail from './fsdax/poison-tail.js';
import fsdaxPoison from './fsdax/poison.js';
import fsdaxPtePmdConflict from './fsdax/pte-pmd-conflict.js';
import fsdaxRemap from './fsdax/remap.js';
import kernelBoot from './kernel/boot.js';
import kpageflagsWalk from './kpageflags/walk.js';
import nodaxMount from './nodax/mount.js';

export const workloads: readonly Workload[] = [
  kernelBoot,
  fsdaxDaxActive,
  fsdaxDirectIo,
  fsdaxRemap,
  fsdaxMapSync,
  fsdaxPoison,
  fsdaxPoisonTail,
  fsdaxPtePmdConflict,
  devdaxVerify,
  devdaxDirectIo,
  devdaxRemap,
  devdaxPoison,
  kpageflagsWalk,
  nodaxMount,
];
