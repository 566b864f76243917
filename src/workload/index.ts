// Every workload, in the order in which they run and are listed. A new one is a file beside this and a line here.
import type { Workload } from './types.js';
import devdaxBeyondEnd from './devdax/beyond-end.js';
import devdaxCached from './devdax/cached.js';
import devdaxDirectIo from './devdax/direct-io.js';
import devdaxDisable from './devdax/disable.js';
import devdaxFault from './devdax/fault.js';
import devdaxFio from './devdax/fio.js';
import devdaxFileOps from './devdax/file-ops.js';
import devdaxKmem from './devdax/kmem.js';
import devdaxPagemapWalk from './devdax/pagemap-walk.js';
import devdaxPoison from './devdax/poison.js';
import devdaxReconfigure from './devdax/reconfigure.js';
import devdaxRemap from './devdax/remap.js';
import devdaxSubdivide from './devdax/subdivide.js';
import devdaxTwoProcesses from './devdax/two-processes.js';
import devdaxVerify from './devdax/verify.js';
import driverReload from './driver/reload.js';
import driverUnbindDevdax from './driver/unbind-devdax.js';
import driverUnbind from './driver/unbind.js';
import fsdaxFailedMount from './fsdax/failed-mount.js';
import fsdaxCached from './fsdax/cached.js';
import fsdaxDaxActive from './fsdax/dax-active.js';
import fsdaxDedupe from './fsdax/dedupe.js';
import fsdaxDeviceMapper from './fsdax/device-mapper.js';
import fsdaxDirectIo from './fsdax/direct-io.js';
import fsdaxIoUring from './fsdax/io-uring.js';
import fsdaxDmaTruncate from './fsdax/dma-truncate.js';
import fsdaxExternalLog from './fsdax/external-log.js';
import fsdaxGrow from './fsdax/grow.js';
import fsdaxInodeFlag from './fsdax/inode-flag.js';
import fsdaxMapSync from './fsdax/map-sync.js';
import fsdaxMmapMatrix from './fsdax/mmap-matrix.js';
import fsdaxPartialOps from './fsdax/partial-ops.js';
import fsdaxPmdFault from './fsdax/pmd-fault.js';
import fsdaxPoisonRaces from './fsdax/poison-races.js';
import fsdaxPoisonShared from './fsdax/poison-shared.js';
import fsdaxPoisonTail from './fsdax/poison-tail.js';
import fsdaxPoison from './fsdax/poison.js';
import fsdaxPteFault from './fsdax/pte-fault.js';
import fsdaxReflinkPoison from './fsdax/reflink-poison.js';
import fsdaxReflink from './fsdax/reflink.js';
import fsdaxPtePmdConflict from './fsdax/pte-pmd-conflict.js';
import fsdaxRemap from './fsdax/remap.js';
import fsdaxVerify from './fsdax/verify.js';
import kernelBoot from './kernel/boot.js';
import kernelHugetlb from './kernel/hugetlb.js';
import kernelPagemapWalk from './kernel/pagemap-walk.js';
import kernelRevokeDevmem from './kernel/revoke-devmem.js';
import kpageflagsWalk from './kpageflags/walk.js';
import namespaceAttributes from './namespace/attributes.js';
import namespaceBadBlocks from './namespace/bad-blocks.js';
import namespaceBttDamage from './namespace/btt-damage.js';
import namespaceInfoBlock from './namespace/info-block.js';
import namespaceLabels from './namespace/labels.js';
import namespaceOldStartPad from './namespace/old-start-pad.js';
import namespaceReadOnly from './namespace/read-only.js';
import namespaceRoundTrip from './namespace/round-trip.js';
import namespaceSector from './namespace/sector.js';
import namespaceStartPad from './namespace/start-pad.js';
import namespaceSubSection from './namespace/sub-section.js';
import nodaxExternalLog from './nodax/external-log.js';
import nodaxMount from './nodax/mount.js';
import nodaxRoot from './nodax/root.js';
import timingDirectIo from './timing/direct-io.js';
import timingFaults from './timing/faults.js';
import timingMappings from './timing/mappings.js';
import timingMemory from './timing/memory.js';
import timingNamespace from './timing/namespace.js';
import timingPoison from './timing/poison.js';
import timingSync from './timing/sync.js';

export const workloads: readonly Workload[] = [
  kernelBoot,
  fsdaxDaxActive,
  fsdaxVerify,
  fsdaxInodeFlag,
  fsdaxReflink,
  fsdaxDedupe,
  fsdaxPteFault,
  fsdaxPmdFault,
  fsdaxMmapMatrix,
  fsdaxDirectIo, fsdaxIoUring,
  fsdaxDmaTruncate,
  fsdaxRemap,
  fsdaxCached,
  fsdaxPartialOps,
  fsdaxGrow,
  fsdaxMapSync,
  fsdaxExternalLog,
  fsdaxDeviceMapper,
  fsdaxPoison,
  fsdaxPoisonTail,
  fsdaxPoisonShared,
  fsdaxReflinkPoison,
  fsdaxFailedMount,
  devdaxFault,
  fsdaxPtePmdConflict,
  fsdaxPoisonRaces,
  devdaxVerify,
  devdaxDirectIo,
  devdaxRemap,
  devdaxCached,
  devdaxBeyondEnd,
  devdaxFileOps,
  devdaxTwoProcesses,
  devdaxDisable,
  devdaxReconfigure,
  devdaxKmem,
  devdaxSubdivide,
  devdaxPoison,
  devdaxFio,
  namespaceRoundTrip,
  namespaceSector,
  namespaceBttDamage,
  namespaceInfoBlock,
  namespaceAttributes,
  namespaceLabels,
  namespaceStartPad,
  namespaceOldStartPad,
  namespaceSubSection,
  namespaceReadOnly,
  namespaceBadBlocks,
  kpageflagsWalk,
  kernelPagemapWalk,
  devdaxPagemapWalk,
  kernelRevokeDevmem,
  kernelHugetlb,
  nodaxMount,
  nodaxExternalLog,
  nodaxRoot,
  driverUnbind,
  driverUnbindDevdax,
  driverReload,
  timingFaults,
  timingMappings,
  timingSync,
  timingMemory,
  timingDirectIo,
  timingPoison,
  timingNamespace,
];
