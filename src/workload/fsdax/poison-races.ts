// Guards memory failure against what changes a DAX page's owner meanwhile: report R4. The handler knows a page frame only,
// looks up the file that it belongs to, and may have to sleep on its entry (fs/dax.c: dax_lock_page): by then the entry may
// be another, of another size, or gone, and the inode with it. Failures are injected by page frame, as hardware reports them,
// while other threads truncate, unlink, unmount, or fault by both sizes.
import fs from 'node:fs';
import path from 'node:path';
import { Mapping, drainSignals, fallocate, patternBytes, type Pattern, type RaceActor, type RaceResult, type RaceStep } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile, mapped, type HugeFile } from '../shared/huge.js';
import { ownMount } from '../shared/own-mount.js';
import { startPeer } from '../shared/peer.js';
import { SLICED_TIMEOUT, allowOnly, quietConsole, raceMetrics, runSlices } from '../shared/race.js';
import { countBothSizes } from '../shared/trace.js';
import { defineWorkload, type Context } from '../types.js';

/** Takes a physical address and has its page fail, as MADV_HWPOISON does (drivers/base/memory.c). */
const OFFLINE = '/sys/devices/system/memory/hard_offline_page';
/** Failures in a slice: the kernel's log of 128 KiB holds the lines of three times as many. */
const FAILURES = 60;
const PAGES = PMD / PAGE;
const old: Pattern & { kind: 'words' } = { kind: 'words', seed: 131, base: 0 };

export default defineWorkload({
  name: 'fsdax/poison-races',
  about: 'memory failure against truncate and hole punch, unlink, umount, and faults of both sizes: no crash, every process told, nothing else lost',
  guards: ['R4: memory failure against truncate, unlink, drop of the inode', 'kernel dax_lock_page, mf_generic_kill_procs'],
  needs: { dax: 'fsdax', size: 64 * PMD, kconfig: ['MEMORY_FAILURE'], files: [OFFLINE] },
  params: { fs: ['ext4', 'xfs'], against: ['truncate', 'unlink', 'evict', 'fault'] },
  metrics: [...raceMetrics, { name: 'memory failures', unit: 'count', better: 'neither' }],
  expectsLog: ['memory-failure', 'mce', 'dax-off'],
  timeout: SLICED_TIMEOUT,
  async run(ctx: Context) {
    const offline = fs.openSync(OFFLINE, 'w');
    ctx.cleanup(() => fs.closeSync(offline));
    using _ = quietConsole();
    const race = { truncate: againstTruncate, unlink: againstUnlink, evict: againstEviction, fault: againstFaults }[String(ctx.params.against)];
    if (!race) throw new RangeError(`against=${String(ctx.params.against)}`);
    await race(ctx, offline);
  },
});

/** What a failure may meet when nobody has the page any more, or has it otherwise than the handler first saw. */
const GONE = ['EBUSY', 'ENXIO', 'EIO'];

/** The actor that injects: into a page that somebody located, a new one in every n-th round, and `again` times into the last one. */
const poisoner = (offline: number, { again = 0, every = 1 } = {}): RaceActor => ({
  name: 'memory',
  steps: [
    { op: 'await-located', every },
    { op: 'poke-located', fd: offline, every, group: 1 },
    ...Array.from({ length: again }, (): RaceStep => ({ op: 'poke-last', fd: offline, group: 1 })),
  ],
});

/** Shrinks and grows the file, and punches holes, while two mappings of it are written. */
async function againstTruncate(ctx: Context, offline: number): Promise<void> {
  const file = hugeFile(ctx, PMD);
  const huge = mapFile(ctx, file);
  const small = mapFile(ctx, file, { align: PMD, alignSkew: PAGE });
  const quarter = { base: file.offset, unit: PMD / 4, count: 4, random: true };
  const page = (a: number) => ({ unit: PAGE, count: PAGES, a });
  await racing(ctx, {
    rounds: FAILURES / 2,
    actors: [
      poisoner(offline, { again: 1 }),
      {
        name: 'owner',
        steps: [
          { op: 'truncate', fd: file.fd, fileAt: quarter, group: 2 },
          { op: 'fallocate', mode: 'allocate', fd: file.fd, fileAt: file.offset, length: PMD, group: 2 },
          { op: 'fallocate', mode: 'punch-hole', fd: file.fd, fileAt: { base: file.offset, unit: PAGE, count: PAGES, random: true }, length: PAGE, every: 2, group: 2 },
        ],
      },
      { name: 'huge', steps: [{ op: 'store', mapping: huge, at: page(7) }, { op: 'locate', mapping: huge, at: page(7) }] },
      { name: 'small', steps: [{ op: 'store', mapping: small, at: page(5) }, { op: 'locate', mapping: small, at: page(5) }] },
    ],
    met: { huge: ['BUS_ADRERR'], small: ['BUS_ADRERR'] },
    check: () => repair(ctx, file, [huge, small]),
  });
}

/** A file is made, mapped, written, let go and removed: its inode goes away with the last who has it. */
async function againstUnlink(ctx: Context, offline: number): Promise<void> {
  const name = path.join(ctx.fsdax.folder, 'short-lived');
  const visit = (): RaceStep => ({ op: 'visit', path: name, mapping: mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD })), at: { unit: PAGE, count: 4, random: true }, length: PAGE, value: 1, group: 2 });
  await racing(ctx, {
    rounds: FAILURES / 2,
    actors: [
      poisoner(offline, { again: 1 }),
      {
        name: 'owner',
        steps: [
          { op: 'create', path: name, length: 4 * PAGE, group: 2 },
          { op: 'nap', length: 50_000 },
          { op: 'unlink', path: name, group: 2 },
        ],
      },
      { name: 'visitor', steps: [visit()] },
      { name: 'second visitor', steps: [visit()] },
    ],
    met: { visitor: ['ENOENT', 'BUS_ADRERR'], 'second visitor': ['ENOENT', 'BUS_ADRERR'] },
    check: () => rewritten(ctx, name),
  });
}

/** The file system is unmounted and mounted: every inode is evicted, with the entries that its last visitor left. */
async function againstEviction(ctx: Context, offline: number): Promise<void> {
  const mount = ownMount(ctx);
  const name = path.join(ctx.fsdax.folder, 'evicted');
  rewritten(ctx, name);
  const visit: RaceStep = { op: 'visit', path: name, mapping: mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD })), at: { unit: PAGE, count: PAGES, random: true }, length: PAGE, value: 1 };
  await racing(ctx, {
    rounds: FAILURES / 4,
    actors: [
      // A page has no owner while nothing is mounted: it is hit again, whatever has become of it.
      poisoner(offline, { again: 4, every: 4 }),
      {
        name: 'owner',
        steps: [
          { op: 'umount', path: mount.mountPoint, group: 2 },
          { op: 'mount', path: mount.mountPoint, mount: { source: mount.device, type: mount.fs, data: mount.data }, group: 2 },
          { op: 'nap', length: 2_000_000 },
        ],
      },
      // It naps, or the kernel's own threads, which unmounting waits for, would never run.
      { name: 'visitor', steps: [visit, { op: 'nap', length: 500_000 }] },
    ],
    met: { owner: ['EBUSY'], visitor: ['ENOENT'] },
    check: async () => {
      await mount.ensure();
      rewritten(ctx, name);
    },
  });
}

/** Faults of 2 MiB and 4 KiB, and other processes that have the huge page mapped: each is told of its own first loss. */
async function againstFaults(ctx: Context, offline: number): Promise<void> {
  const file = hugeFile(ctx, PMD);
  const huge = mapFile(ctx, file);
  const small = mapFile(ctx, file, { align: PMD, alignSkew: PAGE });
  const slots = { huge: 0, small: 64 };
  const fresh = patternBytes(PMD, old);
  for (const slot of Object.values(slots)) for (let page = 0; page < PMD; page += PAGE) fresh.fill(0, page + slot, page + slot + 8);
  const peers = Array.from({ length: ctx.thorough ? 3 : 1 }, () => startPeer(ctx));
  for (const peer of peers) {
    await peer.ask({ do: 'map', path: file.path, offset: file.offset, length: PMD, align: PMD });
    await peer.ask({ do: 'mce-kill', policy: 'early' });
  }
  const prepare = async (): Promise<void> => {
    fallocate(file.fd, 'zero-range', file.offset, PMD); // its entries go: where a small page has been, no huge one is made
    fs.writeSync(file.fd, fresh, 0, PMD, file.offset);
    for (const peer of peers) {
      await peer.ask({ do: 'drain' });
      await peer.ask({ do: 'touch', count: 1, access: 'read' });
    }
  };
  await prepare();
  const told: number[] = [];
  const expectBothSizes = countBothSizes(ctx);
  const page = (slot: number, a: number) => ({ base: slot, unit: PAGE, count: PAGES, a });
  await racing(ctx, {
    actors: [
      poisoner(offline),
      {
        name: 'huge',
        steps: [
          // A page table, once made for small entries, stays: only a new mapping asks for a huge one.
          { op: 'map', mapping: huge, length: PMD, fd: file.fd, fileAt: file.offset, every: 4, group: 2 },
          { op: 'stamp', mapping: huge, at: page(slots.huge, 7), group: 2 },
          { op: 'locate', mapping: huge, at: page(slots.huge, 7) },
          { op: 'madvise', advice: 'dontneed', mapping: huge, length: PMD, every: 3, group: 2 },
        ],
      },
      {
        name: 'small',
        steps: [
          { op: 'stamp', mapping: small, at: page(slots.small, 5), group: 2 },
          { op: 'locate', mapping: small, at: page(slots.small, 5) },
          { op: 'madvise', advice: 'dontneed', mapping: small, length: PMD, every: 3, group: 2 },
        ],
      },
    ],
    met: {},
    check: async (result) => {
      const expected = Buffer.from(fresh);
      for (const [name, slot] of Object.entries(slots))
        result.actors.find((actor) => actor.name === name)!.steps.find(({ op }) => op === 'stamp')!.last!.forEach((word, i) => expected.writeBigUInt64LE(word, i * PAGE + slot));
      const read = Buffer.alloc(PMD);
      fs.readSync(file.fd, read, 0, PMD, file.offset);
      const wrong = read.equals(expected) ? -1 : expected.findIndex((byte, i) => byte !== read[i]);
      ctx.expect(wrong < 0, 'the file should hold what was stored last', { offset: wrong });
      for (const peer of peers) told.push((await peer.ask({ do: 'drain' })).signals!.length);
      await prepare();
    },
  });
  expectBothSizes();
  // Last, so that a kernel known not to tell others has been through all the rest.
  ctx.prove('signals of the other processes, by slice', told);
  ctx.expect(told.every((count) => count === 1), 'in each slice each other process that maps the page should get one signal', { told: told.slice(0, 20) });
}

interface Race {
  actors: RaceActor[];
  /** Rounds of the first actor in a slice. */
  rounds?: number;
  /** Errors and signals that are right for an actor. */
  met: Record<string, readonly string[]>;
  check: (result: RaceResult) => Promise<void> | void;
}

/** Races in slices, and takes the kernel's word on every single failure from its log. */
async function racing(ctx: Context, { actors, rounds = FAILURES, met, check }: Race): Promise<void> {
  const recovery = /recovery action for dax page: (\w+)/;
  // Of the file systems only what they say of mounts that went well: what is not taken is judged with the rest of the log.
  const chatter = /Memory failure: |Sending SIGBUS to|DAX enabled|Injecting memory failure|filesystem being (?:re)?mounted|EXT4-fs \(\w+\): (?:re-?mounted|mounted|unmounting) |XFS \(\w+\): (?:Mounting|Unmounting|Ending clean mount)/;
  let failures = 0;
  const sum = await runSlices(ctx, {
    actors,
    rounds,
    slices: 2,
    brief: 0.5,
    async between(result) {
      ctx.step('looking at what is left');
      drainSignals();
      const { runs, refused } = failing(result);
      const said = ctx.log.take(recovery).map((line) => recovery.exec(line)![1]!);
      ctx.log.take(chatter);
      const recovered = said.filter((word) => word === 'Recovered').length;
      failures += recovered;
      ctx.expect(said.length <= runs && recovered === said.length - refused, 'each failure should be told in the log: Recovered, or Failed where the call was refused', { runs, refused, said: said.length, recovered });
      await check(result);
    },
  });
  for (const actor of sum.actors) allowOnly(ctx, { ...sum, actors: [actor] }, actor.name === 'memory' ? GONE : (met[actor.name] ?? []), actor.name === 'memory' ? ['BUS_MCEERR_AR'] : (met[actor.name] ?? []));
  ctx.metric('memory failures', [failures]);
  ctx.expect(failures > 0, 'some memory failures should have met a page of the file', failing(sum));
}

/** How often the actor that injects did so, and was refused. */
function failing(result: RaceResult): { runs: number; refused: number } {
  const pokes = result.actors.find(({ name }) => name === 'memory')!.steps.filter(({ op }) => op.startsWith('poke'));
  const sum = (counts: number[]): number => counts.reduce((all, count) => all + count, 0);
  return { runs: sum(pokes.map(({ runs }) => runs)), refused: sum(pokes.flatMap(({ errors }) => Object.values(errors))) };
}

/** The file grown to its size, written anew and read back by every mapping: what was lost can be had again. */
function repair(ctx: Context, file: HugeFile, mappings: readonly Mapping[]): void {
  fallocate(file.fd, 'allocate', file.offset, PMD);
  fs.writeSync(file.fd, patternBytes(PMD, old), 0, PMD, file.offset);
  for (const mapping of mappings) {
    const check = mapping.verify(0, PMD, old);
    ctx.expect(check.ok, 'after a rewrite the file should hold the new data through every mapping', check);
  }
}

/** The same for a file by name, made anew if it is gone. */
function rewritten(ctx: Context, name: string): void {
  fs.writeFileSync(name, patternBytes(PMD, old));
  const fd = fs.openSync(name, 'r+');
  try {
    using mapping = Mapping.map({ fd, length: PMD });
    const check = mapping.verify(0, PMD, old);
    ctx.expect(check.ok, 'a file written anew should hold its data through a mapping', check);
  } finally {
    fs.closeSync(fd);
  }
}
