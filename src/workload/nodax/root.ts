// Guards report R2 as it was met: the root file system, on a device without DAX. It is mounted read-only, as the kernel and every
// initramfs do (init/do_mounts.c), moved to / in a mount namespace of its own as switch_root(8) does, made writable, lived in, made
// read-only again and left. An oops in the mount or the last put of such a root takes the machine's first process with it.
import fs from 'node:fs';
import path from 'node:path';
import { toolPath } from '../../device/tool.js';
import * as native from '../../native.js';
import { patternBytes, runProgram, verifyBytes, type Pattern } from '../../native.js';
import { MiB } from '../../units.js';
import { ordinaryFileSystem, whileAskingForDax, whileMounted } from '../shared/file-system.js';
import { defineWorkload, type Context } from '../types.js';

const pattern: Pattern = { kind: 'words', seed: 151, base: 0 };
/** Moves the folder that it is given to /, and goes on in there. */
const ENTER = 'cd "$1" && "$0" mount -o move . / && exec "$0" chroot . /bin/busybox sh -ec "$2"';

/** What is done there: programs are run from it, the old one and one just written, and a file is copied. */
const LIVE = `
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -o remount,rw /
/bin/busybox cp /bin/busybox /bin/busybox-copy
/bin/busybox-copy cp /data /copy
/bin/busybox-copy sync
if /bin/busybox-copy mount -o remount,dax / 2>/dev/null; then echo 'remount,dax taken'; else echo 'remount,dax refused'; fi
/bin/busybox mount -o remount,ro /
/bin/busybox-copy cmp /data /copy
if (: >/written) 2>/dev/null; then echo 'written while read-only'; fi
/bin/busybox grep ' / ' /proc/self/mounts
`;

export default defineWorkload({
  name: 'nodax/root',
  about: 'a file system without DAX as the root of processes: mounted read-only, moved to /, made writable and read-only, programs run from it; with -o dax too',
  guards: ['R2: fs_dax_release oops while the root file system is mounted'],
  needs: { tools: ['losetup', 'busybox', 'mke2fs', 'mkfs.xfs'] },
  params: { fs: ['ext4', 'xfs'] },
  thorough: { fs: ['xfs'] }, // its mounts: nodax/mount
  expectsLog: ['dax-off'],
  async run(ctx: Context) {
    const kind = String(ctx.params.fs);
    const fileSystem = await ordinaryFileSystem(ctx, kind);
    const root = fileSystem.folder;
    const readOnly = { flags: ['ro'] } as const;

    ctx.step('furnishing');
    await whileMounted(fileSystem, {}, async () => {
      for (const folder of ['bin', 'proc']) fs.mkdirSync(path.join(root, folder));
      fs.copyFileSync(toolPath('busybox')!, path.join(root, 'bin/busybox'));
      fs.writeFileSync(path.join(root, 'data'), patternBytes(MiB, pattern));
      const { status } = await runProgram(toolPath('busybox')!, ['chroot', root, '/bin/busybox', 'true']);
      if (status !== 0) ctx.skip('needs a busybox that runs without libraries; install the package busybox-static');
    });

    ctx.step('as root, without -o dax');
    await whileMounted(fileSystem, readOnly, () => live(ctx, kind, root, 'without -o dax'));
    ctx.step('as root, with -o dax');
    await whileAskingForDax(ctx, fileSystem, 'dax', readOnly, () => live(ctx, kind, root, '-o dax'));

    ctx.step('what is left of it');
    await whileMounted(fileSystem, readOnly, () => {
      const check = verifyBytes(fs.readFileSync(path.join(root, 'copy')), pattern);
      ctx.expect(check.ok, 'what was written when it was the root should be there after the next mount', check);
    });
  },
});

/** A first process of its own in there, to its end. */
async function live(ctx: Context, kind: string, root: string, how: string): Promise<void> {
  const busybox = toolPath('busybox')!;
  const { status, signal, stdout, stderr } = await runProgram(busybox, ['unshare', '-m', busybox, 'sh', '-c', ENTER, busybox, root, LIVE]);
  const lines = stdout.trim().split('\n');
  ctx.prove(how, lines);
  ctx.expect(status === 0, 'every program should do its work in there: remounting, copying, comparing', { status, signal, stderr, lines });
  const mount = lines.map((line) => line.split(' ')).find(([, place, type]) => place === '/' && type === kind);
  ctx.expect(mount !== undefined, `inside, / should be the ${kind} that was mounted`, lines);
  ctx.expect(mount[3]!.split(',').includes('ro'), 'inside, / should be read-only at the end', mount);
  ctx.expect(!lines.includes('written while read-only'), 'a root made read-only should take no file', lines);
  const { dax } = native.statx(path.join(root, 'data'));
  ctx.expect(dax !== true, `${kind}: a file on a device without DAX should not claim STATX_ATTR_DAX`, lines);
}
