// A block device without DAX: a loop device over a file of ours.
import fs from 'node:fs';
import path from 'node:path';
import { tool } from './tool.js';

/** Makes a loop device of `bytes` over a sparse file in `folder`. `remove` detaches it and deletes the file. */
export async function makeLoopDevice(folder: string, bytes: number): Promise<{ device: string; remove: () => Promise<void> }> {
  const file = path.join(folder, `loop-${process.pid}-${Math.random().toString(36).slice(2, 8)}`);
  fs.writeFileSync(file, '');
  fs.truncateSync(file, bytes);
  const device = (await tool('losetup', ['--find', '--show', file])).trim();
  return {
    device,
    remove: async () => {
      await tool('losetup', ['--detach', device]);
      fs.rmSync(file, { force: true });
    },
  };
}
