// Guards memory failure on blocks that files share (kernel 6.0: fs/xfs/xfs_notify_failure.c, mf_dax_kill_procs): the page
// belongs to no one file, so the file system is asked who has it, by its reverse map, and all of them must be told.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../../native.js';
import { Mapping, patternBytes, type Pattern } from '../../native.js';
import { PAGE, PMD, hugeFile, mapFile } from '../shared/huge.js';
import { signalsOf, startPeer } from '../shared/peer.js';
import { reflinkFileSystem } from '../shared/reflink.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 113, base: 0 };

export default defineWorkload({
  name: 'fsdax/reflink-poison',
  about: 'memory failure on a block that two files share, mapped by two processes: both are told, the rest stays, both can be repaired',
  guards: ['R4: who maps the page', 'kernel xfs_dax_notify_failure, mf_dax_kill_procs (6.0)'],
  needs: { dax: 'fsdax', size: 128 * PMD, tools: ['mkfs.xfs'], kconfig: ['MEMORY_FAILURE'] },
  params: { fs: ['xfs'] },
  expectsLog: ['memory-failure', 'mce', 'dax-off'],
  async run(ctx: Context) {
    await reflinkFileSystem(ctx);
    const file = hugeFile(ctx, PMD);
    using mapping = mapFile(ctx, file);
    mapping.fill(0, PMD, pattern);
    fs.fsyncSync(file.fd);
    const clone = path.join(ctx.fsdax.folder, 'clone');
    const fd = fs.openSync(clone, 'wx+');
    ctx.cleanup(() => fs.closeSync(fd));
    native.reflink(fd, file.fd);
    mapping.madvise(0, PMD, 'dontneed');

    const peer = startPeer(ctx);
    await peer.ask({ do: 'map', path: clone, offset: file.offset, length: PMD, align: PMD });
    await peer.ask({ do: 'mce-kill', policy: 'early' });
    const at = 21 * PAGE;
    await peer.ask({ do: 'touch', offset: at, count: 1, access: 'read' });
    mapping.touch({ offset: at, count: 1, access: 'read' });

    ctx.step('poisoning a shared page');
    const { signal } = ctx.inject.hwpoison(mapping, at);
    ctx.prove('signal', signal ?? 'none');
    await ctx.log.waitFor(/recovery action for dax page: Recovered/, '"recovery action for dax page: Recovered"');
    ctx.expect(signal?.code === 'BUS_MCEERR_AR', 'the process that met the failure should get BUS_MCEERR_AR', signal);
    const told = await signalsOf(peer);
    ctx.prove('signals of the process that maps the clone', told);
    ctx.expect(told.length === 1, 'the process that maps the clone, and asked to be told early, should get one signal', told);
    await peer.end();

    ctx.step('neighbours and repair');
    using other = Mapping.map({ fd, offset: file.offset, length: PMD, align: PMD });
    for (const [name, one] of [['original', mapping], ['clone', other]] as const)
      for (const offset of [0, at - PAGE, at + PAGE, PMD - PAGE]) {
        const check = one.verify(offset, PAGE, { ...pattern, base: offset } as Pattern);
        ctx.expect(check.ok, `the page at ${offset} of the ${name}, beside the lost one, should stay readable`, check);
      }
    for (const [name, one, handle] of [['original', mapping, file.fd], ['clone', other, fd]] as const) {
      native.fallocate(handle, 'punch-hole', file.offset + at, PAGE);
      fs.writeSync(handle, patternBytes(PAGE, { ...pattern, base: at } as Pattern), 0, PAGE, file.offset + at);
      const check = one.verify(0, PMD, pattern);
      ctx.expect(check.ok, `the ${name} should be whole after hole punch and rewrite`, check);
    }
  },
});
