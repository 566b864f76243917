// Guards who is told of a memory failure when several processes map the page (mm/memory-failure.c: collect_procs,
// add_to_kill, kill_proc): the one that met it at once, those that asked to be told early by an action-optional signal
// of their own mapping's size, the others not before they touch it. An undisturbed process is one more success.
import { hugeFile, mapFile, proveLevel, PAGE, PMD } from '../shared/huge.js';
import { signalsOf, startPeer, type Peer } from '../shared/peer.js';
import { poisonOnce } from '../shared/poison.js';
import { defineWorkload, type Context } from '../types.js';

const pattern = { kind: 'words', seed: 111, base: 0 } as const;

export default defineWorkload({
  name: 'fsdax/poison-shared',
  about: 'memory failure on pages that four processes map, by huge and by small pages, told early or not: each gets just its signal',
  guards: ['R4: several processes mapping the page', 'kernel collect_procs, task_early_kill, kill_proc'],
  needs: { dax: 'fsdax', size: 64 * PMD, kconfig: ['MEMORY_FAILURE'] },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // what is told to whom is no file system's doing
  expectsLog: ['memory-failure', 'mce'],
  async run(ctx: Context) {
    const file = hugeFile(ctx, 2 * PMD);
    using mapping = mapFile(ctx, file);
    mapping.fill(0, file.length, pattern);
    for (const at of [0, PMD]) proveLevel(ctx, ctx.fsdax, mapping, at, 'pmd', `own, ${at}`);

    ctx.step('starting the others');
    const [huge, small, late] = [startPeer(ctx), startPeer(ctx), startPeer(ctx)] as const;
    for (const [peer, alignSkew] of [[huge, 0], [small, PAGE], [late, 0]] as const) await peer.ask({ do: 'map', path: file.path, offset: file.offset, length: file.length, align: PMD, alignSkew });
    for (const peer of [huge, small]) await peer.ask({ do: 'mce-kill', policy: 'early' });
    await late.ask({ do: 'mce-kill', policy: 'late' });
    for (const peer of [huge, late]) await peer.ask({ do: 'touch', count: 2, stride: PMD, access: 'rmw' });
    await small.ask({ do: 'touch', count: 1, access: 'rmw' }); // the first page alone

    await poisonOnce(ctx, mapping, 0, 21, 'the first page of a huge one');
    await told(ctx, huge, 'a process told early, by a huge page', 21, 0);
    await told(ctx, small, 'a process told early, by a small page', 12, 0);
    await untold(ctx, late, 'a process told late');

    await poisonOnce(ctx, mapping, PMD + 9 * PAGE, 21, 'the middle of a huge page');
    await told(ctx, huge, 'the middle: a process told early', 21, PMD + 9 * PAGE);
    await untold(ctx, small, 'the middle: a process that never touched it');
    await untold(ctx, late, 'the middle: a process told late');

    for (const [peer, what] of [[huge, 'huge'], [small, 'small'], [late, 'late']] as const)
      for (const offset of [PAGE, PMD, PMD + 10 * PAGE]) {
        const check = await peer.ask({ do: 'verify', offset, length: PAGE, pattern: { ...pattern, base: offset } });
        ctx.expect(check.ok === true, `the process "${what}" should still read the page at ${offset}, beside the lost ones`, check);
      }
    for (const peer of [huge, small, late]) await peer.end();
  },
});

async function told(ctx: Context, peer: Peer, what: string, lsb: number, offset: number): Promise<void> {
  const signals = await signalsOf(peer);
  ctx.prove(what, signals);
  ctx.expect(signals.length === 1, `${what}: one action-optional signal should come`, signals);
  const [signal] = signals;
  ctx.expect(signal!.lsb === lsb, `${what}: si_addr_lsb should be ${lsb}, the size of its own mapping`, signal);
  const block = 2 ** lsb;
  ctx.expect([offset, Math.floor(offset / block) * block].includes(signal!.offset!), `${what}: si_addr should be the lost page in its own mapping, or the start of its block`, signal);
}

async function untold(ctx: Context, peer: Peer, what: string): Promise<void> {
  const { signals } = await peer.ask({ do: 'drain' });
  ctx.prove(what, signals);
  ctx.expect(signals!.length === 0, `${what}: no signal should come`, signals);
}
