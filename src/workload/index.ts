// Every workload, in the order in which they run and are listed. A new one is a file beside this and a line here.
import type { Workload } from './types.js';
import devdaxDirectIo from './devdax/direct-io.js';
import devdaxFault from './devdax/fault.js';
import devdaxPoison from './devdax/poison.js';
import devdaxRemap from './devdax/remap.js';
import devdaxVerify from './devdax/verify.js';
import fsdaxDaxActive from './fsdax/dax-active.js';
import fsdaxDirectIo from './fsdax/direct-io.js';
import fsdaxInodeFlag from './fsdax/inode-flag.js';
import fsdaxMapSync from './fsdax/map-sync.js';
import fsdaxMmapMatrix from './fsdax/mmap-matrix.js';
import fsdaxPartialOps from './fsdax/partial-ops.js';
import fsdaxPmdFault from './fsdax/pmd-fault.js';
import fsdaxPoisonTail from './fsdax/poison-tail.js';
import fsdaxPoison from './fsdax/poison.js';
import fsdaxPteFault from './fsdax/pte-fault.js';
import fsdaxRemap from './fsdax/remap.js';
import fsdaxVerify from './fsdax/verify.js';
import kpageflagsWalk from './kpageflags/walk.js';
import nodaxMount from './nodax/mount.js';

export const workloads: readonly Workload[] = [
  fsdaxDaxActive,
  fsdaxVerify,
  fsdaxInodeFlag,
  fsdaxPteFault,
  fsdaxPmdFault,
  fsdaxMmapMatrix,
  fsdaxDirectIo,
  fsdaxRemap,
  fsdaxPartialOps,
  fsdaxMapSync,
  fsdaxPoison,
  fsdaxPoisonTail,
  devdaxFault,
  devdaxVerify,
  devdaxDirectIo,
  devdaxRemap,
  devdaxPoison,
  kpageflagsWalk,
  nodaxMount,
];
