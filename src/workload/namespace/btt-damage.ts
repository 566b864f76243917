// Guards the block translation table against what a crash or broken media leave of it (drivers/nvdimm/btt.c: discover_arenas,
// btt_freelist_init, btt_read_pg, btt_write_pg, arena_clear_freelist_error): a write that was logged and not mapped is finished when
// the table is read, a sector marked bad gives EIO until it is written, a lost info block is found out and can be put back from its
// copy; no sector ever shows another one's bytes.
import fs from 'node:fs';
import path from 'node:path';
import { ndFolder, ndNumber } from '../../device/nd.js';
import { codeOf, messageOf } from '../../errors.js';
import { Mapping, patternBytes } from '../../native.js';
import { tool } from '../../device/tool.js';
import { badRanges, covers, makeBad, noBadBlocks } from '../shared/bad-blocks.js';
import { readBytes, withBlockDevice, writeBytes } from '../shared/block.js';
import { BTT_INFO_LENGTH, BTT_INFO_OFFSETS, LOG_GROUP, mapWord, newestLogEntry, parseBttInfo, readMapEntry, type BttInfo, type LogEntry } from '../shared/btt.js';
import { expectOnlyLog } from '../shared/log.js';
import { asRawBytes, spareNamespace, type Spare } from '../shared/namespaces.js';
import { defineWorkload, type Context } from '../types.js';

const SECTOR = 4096;
const SECTORS = 40;

export default defineWorkload({
  name: 'namespace/btt-damage',
  about: 'a sector namespace after a torn write, with a sector marked bad, without its info block, with media lost below a sector: finished, EIO, or found out; never other bytes',
  guards: ['ndctl btt-check.sh, btt-errors.sh', 'kernel btt_freelist_init, btt_read_pg, arena_clear_freelist_error, discover_arenas'],
  needs: { guest: true, tools: ['ndctl'], files: ['/sys/bus/nd/devices'] },
  params: { damage: ['crash', 'media'] },
  expectsLog: ['mce', 'dax-off', 'warning'],
  async run(ctx: Context) {
    const spare = await spareNamespace(ctx);
    const lacking = ctx.params.damage === 'media' ? await noBadBlocks(spare.region) : undefined;
    if (lacking !== undefined) return ctx.skip(lacking);
    const { path: device } = await spare.remake({ mode: 'sector', sectorSize: SECTOR });
    const disk = new Sectors(ctx, device);
    for (let round = 0; round < 2; round++) disk.write(...Array.from({ length: SECTORS }, (_, sector) => sector));
    disk.verify('as written');

    const arena = await raw(spare, (bytes) => {
      const at = BTT_INFO_OFFSETS.find((offset) => parseBttInfo(bytes.read(offset, BTT_INFO_LENGTH)) !== undefined);
      ctx.expect(at !== undefined, 'the raw namespace should begin with a whole info block of the table');
      return { at, info: parseBttInfo(bytes.read(at, BTT_INFO_LENGTH))! };
    });
    ctx.prove('arena', arena);
    ctx.expect(arena.info.sectorSize === SECTOR, 'the info block should tell the size of a sector', arena.info);

    if (ctx.params.damage === 'media') await lostMedia(ctx, spare, device, disk, arena);
    else await lostInfoBlock(ctx, spare, device, disk, arena, await damagedMap(ctx, spare, device, disk, arena));
    expectOnlyLog(ctx, /^nd_pmem: io error in (READ|WRITE) |^machine check$|^DAX turned off/);
  },
});

interface Arena {
  /** Of the info block in the raw namespace; everything in it counts from there. */
  at: number;
  info: BttInfo;
}

/** Sectors that were written, each with the number of its last write. */
class Sectors {
  readonly #last = new Map<number, number>();
  #writes = 0;

  constructor(
    private readonly ctx: Context,
    readonly device: string,
  ) {}

  write(...sectors: readonly number[]): void {
    withBlockDevice(this.device, (fd) => {
      using buffer = Mapping.anonymous({ length: SECTOR });
      for (const sector of sectors) {
        const n = ++this.#writes;
        buffer.fill(0, SECTOR, { kind: 'words', seed: n, base: sector * SECTOR });
        buffer.writeTo(fd, sector * SECTOR, 0, SECTOR);
        this.#last.set(sector, n);
      }
    });
  }

  /** The same where it may be refused, on another thread: a write that never ends is a failure, and no reason to wait for the watchdog. */
  async tryWrite(sector: number): Promise<'taken' | 'EIO'> {
    const n = ++this.#writes;
    const file = await fs.promises.open(this.device, fs.constants.O_RDWR | fs.constants.O_SYNC);
    const written = file.write(patternBytes(SECTOR, { kind: 'words', seed: n, base: sector * SECTOR }), 0, SECTOR, sector * SECTOR).then(() => 'taken' as const, (error: unknown) => {
      if (codeOf(error) !== 'EIO') throw error;
      return 'EIO' as const;
    });
    const ended = await Promise.race([written, new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 5000))]);
    this.ctx.expect(ended !== undefined, 'a write to a sector should end, be it with EIO, when its spare block is lost');
    await file.close();
    if (ended === 'taken') this.#last.set(sector, n);
    return ended;
  }

  /** Every sector holds its last write; those of `but` are left out. */
  verify(when: string, but: readonly number[] = []): void {
    withBlockDevice(this.device, (fd) => {
      using buffer = Mapping.anonymous({ length: SECTOR });
      for (const [sector, n] of this.#last) {
        if (but.includes(sector)) continue;
        buffer.readFrom(fd, sector * SECTOR, 0, SECTOR);
        const check = buffer.verify(0, SECTOR, { kind: 'words', seed: n, base: sector * SECTOR });
        this.ctx.expect(check.ok, `${when}: sector ${sector} should hold its last write`, check);
      }
    });
  }

  readOne(sector: number): Promise<string> {
    return this.ctx.expectError(`reading sector ${sector}, which is lost`, ['EIO'], () =>
      withBlockDevice(this.device, (fd) => {
        using buffer = Mapping.anonymous({ length: SECTOR });
        buffer.readFrom(fd, sector * SECTOR, 0, SECTOR);
      }),
    );
  }
}

/** The raw bytes of a namespace. */
interface RawBytes {
  read(offset: number, length: number): Buffer;
  write(offset: number, bytes: Buffer): void;
}

/** The namespace's raw bytes for `work`; it is disabled afterwards. */
const raw = <Result>(spare: Spare, work: (bytes: RawBytes) => Result): Promise<Result> =>
  asRawBytes(spare, (device) =>
    withBlockDevice(device, (fd) =>
      work({
        read: (offset, length) => readBytes(fd, offset, length),
        write: (offset, bytes) => writeBytes(fd, offset, bytes),
      }),
    ),
  );

/** Changes one word of the map, through the 4 KiB that it lies in. */
function setMapWord(bytes: RawBytes, { at, info }: Arena, sector: number, change: (word: number) => number): { was: number; is: number } {
  const position = at + info.mapAt + sector * 4;
  const start = Math.floor(position / 4096) * 4096;
  const page = bytes.read(start, 4096);
  const was = page.readUInt32LE(position - start);
  const is = change(was);
  page.writeUInt32LE(is, position - start);
  bytes.write(start, page);
  return { was, is };
}

/** Sectors below are written again while the damage is looked at; the torn write is one of the others. */
const REWRITTEN = 20;
const BAD = 7;
const ZERO = 9;

/**
 * A crash between log and map, which still has the old block: reading the table must finish the write. A sector that the map
 * marks as bad: EIO until it is written again. One that it calls zero: zeros. Gives the torn write.
 */
async function damagedMap(ctx: Context, spare: Spare, device: string, disk: Sectors, arena: Arena): Promise<LogEntry> {
  ctx.step('a torn write, a sector marked bad, one called zero');
  const torn = await raw(spare, (bytes) => {
    const log = bytes.read(arena.at + arena.info.logAt, Math.ceil((arena.info.spare * LOG_GROUP) / 4096) * 4096);
    const entries = Array.from({ length: arena.info.spare }, (_, i) => newestLogEntry(log.subarray(i * LOG_GROUP, (i + 1) * LOG_GROUP)));
    const entry = entries.find((one) => one !== undefined && one.sector >= REWRITTEN && one.sector < SECTORS);
    ctx.expect(entry !== undefined, 'the log should have the last writes', entries.filter((one) => one !== undefined));
    const word = setMapWord(bytes, arena, entry.sector, () => mapWord({ block: entry.before, state: 'normal' }));
    ctx.expect(readMapEntry(word.was).block === entry.after, 'the map should have the block that the log wrote last', { entry, map: readMapEntry(word.was) });
    for (const [sector, state] of [[BAD, 'error'], [ZERO, 'zero']] as const) setMapWord(bytes, arena, sector, (was) => mapWord({ ...readMapEntry(was), state }));
    return entry;
  });
  ctx.prove('torn write', torn);
  await spare.enable(device);
  disk.verify('after a torn write, beside a sector marked bad', [BAD, ZERO]);
  ctx.prove('a sector marked bad', await disk.readOne(BAD));
  withBlockDevice(device, (fd) => {
    using buffer = Mapping.anonymous({ length: SECTOR });
    buffer.readFrom(fd, ZERO * SECTOR, 0, SECTOR);
    const check = buffer.verify(0, SECTOR, { kind: 'byte', value: 0 });
    ctx.expect(check.ok, 'a sector that the map calls zero should read as zeros', check);
  });
  ctx.step('written again');
  disk.write(BAD, ZERO);
  disk.verify('written again');
  // The block that was marked is now a spare one: it has to be cleared before the next writes use it.
  for (let n = 0; n < 8; n++) disk.write(BAD + 3 + (n % 4));
  disk.verify('with the marked block in use again');
  return torn;
}

/** Media lost below a sector: EIO for it alone; what is written later is right, or refused where the loss cannot be cleared. */
async function lostMedia(ctx: Context, spare: Spare, device: string, disk: Sectors, arena: Arena): Promise<void> {
  ctx.step('lost media below a sector');
  const sector = 20;
  const { block } = await raw(spare, (bytes) => readMapEntry(setMapWord(bytes, arena, sector, (word) => word).was));
  await spare.enable(device);
  const offset = arena.at + arena.info.dataAt + block * arena.info.blockSize;
  const region = path.join(ndFolder(spare.region), 'badblocks');
  const address = ndNumber(spare.dev, 'resource') + offset;
  await makeBad(ctx, address, region, (address - ndNumber(spare.region, 'resource')) / 512);
  await spare.disable();
  await spare.enable(device);
  ctx.prove('lost media', await disk.readOne(sector));
  disk.verify('beside lost media', [sector]);
  // The lost block becomes a spare one with the first write: the next ones have to clear it, or be refused.
  const writes: string[] = [];
  for (const one of [sector, 30, 31, 32, 33]) writes.push(await disk.tryWrite(one));
  ctx.prove('writes after lost media', writes);
  disk.verify('after lost media', writes[0] === 'taken' ? [] : [sector]);
  ctx.prove('bad blocks', covers(badRanges(region), (address - ndNumber(spare.region, 'resource')) / 512) ? 'still' : 'cleared');
}

/** Without its first info block the table must not be guessed at; ndctl puts it back from the copy at the end. */
async function lostInfoBlock(ctx: Context, spare: Spare, device: string, disk: Sectors, arena: Arena, torn: LogEntry): Promise<void> {
  ctx.step('a lost info block');
  await raw(spare, (bytes) => {
    const now = readMapEntry(setMapWord(bytes, arena, torn.sector, (word) => word).was);
    ctx.expect(now.block === torn.after, 'reading the table should have finished the torn write in the map', { now, torn });
    const copy = parseBttInfo(bytes.read(arena.at + arena.info.backupAt, BTT_INFO_LENGTH));
    ctx.expect(JSON.stringify(copy) === JSON.stringify(arena.info), 'the copy of the info block should say the same', { copy, info: arena.info });
    bytes.write(arena.at, Buffer.alloc(BTT_INFO_LENGTH));
  });
  const became = await spare.enable().then(() => spare.look(), () => undefined);
  const holder = became?.blockdev === undefined ? 'nothing' : path.basename(fs.realpathSync(`/sys/block/${became.blockdev}/device`));
  ctx.prove('without its info block', holder);
  ctx.expect(!holder.startsWith('btt'), 'without its info block the table should not come up', { holder });

  ctx.step('repaired by ndctl');
  await spare.disable();
  const found = await tool('ndctl', ['check-namespace', spare.dev]).then(() => 'nothing wrong', (error: unknown) => messageOf(error));
  ctx.prove('ndctl check-namespace', found);
  await tool('ndctl', ['check-namespace', '--repair', '--force', spare.dev]);
  await spare.disable();
  await spare.enable(device);
  disk.verify('repaired');
}
