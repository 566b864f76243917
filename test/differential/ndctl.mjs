// ndctl's own DAX test programs as workloads, to be run beside ours on the same saved guest (differential.mjs). The
// programs come from an ndctl build that the caller has; nothing of ndctl is here.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** Where differential.mjs puts the build's files in the guest. */
const HOME = '/run/daxrig/ndctl';
/** Exit status of a test that skips, by Automake's convention. */
const SKIP = 77;
const MiB = 1 << 20;

/** Runs one program; its status decides, its last words explain. */
function judge(ctx, name, args, cwd) {
  const { status, signal, stdout, stderr, error } = spawnSync(path.join(HOME, 'test', name), args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (error) throw error;
  const words = `${stdout}\n${stderr}`.trim().split('\n').slice(-6).join(' | ').slice(-400);
  const call = [name, ...args.map((arg) => path.basename(arg))].join(' ');
  ctx.prove(call, { status, signal, words });
  if (status === SKIP) ctx.skip(`${call} skips: ${words || 'without a word'}`);
  ctx.expect(status === 0, `${call} should end with status 0`, { status, signal, words });
}

/** A file of up to 1 GiB, as dax.sh and mmap.sh make it. */
function bigFile(ctx) {
  const { bavail, bsize } = fs.statfsSync(ctx.fsdax.folder);
  const size = Math.min(1024 * MiB, Math.floor((bavail * bsize * 0.9) / (2 * MiB)) * 2 * MiB);
  const file = path.join(ctx.fsdax.folder, 'image');
  const fd = fs.openSync(file, 'w+');
  ctx.native.fallocate(fd, 'allocate', 0, size);
  fs.closeSync(fd);
  return file;
}

const declare = (name, more) => ({ name: `ndctl/${name}`, about: `ndctl's ${name}`, guards: [`ndctl ${name}`], timeout: 240, ...more });
const bare = (name, program = name) => declare(name, { needs: { guest: true, tools: ['ndctl'] }, run: (ctx) => judge(ctx, program, [], ctx.folder) });

/** What mmap.sh calls mmap with, combination by combination. */
const MMAP_FLAGS = ['Mrwps', 'Arwps', 'RMrps', 'rwps', 'Rrps', 'Mrws', 'RMrs', 'rws', 'Rrs', 'Mrwp', 'RMrp', 'rwp', 'Rrp', 'Mrw', 'RMr', 'MSr', 'rw', 'Rr'];

export default [
  declare('dax-pmd', {
    needs: { guest: true, dax: 'fsdax' },
    params: { fs: ['ext4', 'xfs'] },
    run: (ctx) => judge(ctx, 'dax-pmd', [bigFile(ctx)], ctx.fsdax.folder),
    // The program poisons memory.
    expectsLog: ['memory-failure', 'mce'],
  }),
  declare('mmap', {
    needs: { guest: true, dax: 'fsdax' },
    params: { fs: ['ext4', 'xfs'] },
    run(ctx) {
      const file = bigFile(ctx);
      for (const flags of MMAP_FLAGS) judge(ctx, 'mmap', [`-${flags}`, file], ctx.fsdax.folder);
    },
  }),
  bare('dax-dev'),
  { ...bare('device-dax'), expectsLog: ['memory-failure', 'mce'] },
  bare('revoke-devmem', 'revoke_devmem'),
  { ...bare('hugetlb'), expectsLog: ['memory-failure', 'mce'] },
];
