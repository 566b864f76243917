// Guards devdax as fio's dev-dax engine uses it (libpmem over mmap): random and sequential reads and writes of several sizes, each
// block verified by its checksum (ndctl's device-dax-fio.sh).
import { tool, toolPath } from '../../device/tool.js';
import { BrokenError } from '../../errors.js';
import { runProgram, signalName } from '../../native.js';
import { PMD } from '../shared/huge.js';
import { defineWorkload, type Context } from '../types.js';

const SIZE = 16 * PMD;

/** What of fio's JSON is looked at (fio(1), --output-format=json). */
interface Report {
  jobs: { jobname: string; error: number; read: { io_bytes: number; total_ios: number }; write: { io_bytes: number; total_ios: number } }[];
}

export default defineWorkload({
  name: 'devdax/fio',
  about: "fio's dev-dax engine: verified random and sequential I/O",
  guards: ['ndctl device-dax-fio.sh'],
  needs: { dax: 'devdax', size: SIZE, tools: ['fio'] },
  params: { map: ['mem'], align: ['2M', '4K'] },
  thorough: { align: ['4K'] },
  // It measures fio as much as the kernel, and its libraries make a guest's image a third larger.
  onRequest: true,
  timeout: 180,
  async run(ctx: Context) {
    const engines = await tool('fio', ['--enghelp']);
    if (!/^\s*dev-dax\b/m.test(engines)) ctx.skip("needs fio's dev-dax engine, which this fio is built without; install one with libpmem");
    for (const [rw, bs] of [['write', '2m'], ['randwrite', '4k'], ['randrw', '64k']] as const) {
      ctx.step(`${rw} by ${bs}`);
      const words = ['--ioengine=dev-dax', `--filename=${ctx.devdax.path}`, `--name=${rw}`, `--rw=${rw}`, `--bs=${bs}`, `--size=${SIZE}`, '--iodepth=1', '--verify=crc32c', '--verify_fatal=1', `--randseed=${ctx.seed}`, '--output-format=json', `--aux-path=${ctx.folder}`];
      const { stdout, stderr, status, signal } = await runProgram(toolPath('fio')!, words);
      const begin = stdout.indexOf('{');
      const job = begin < 0 ? undefined : (JSON.parse(stdout.slice(begin)) as Report).jobs[0];
      ctx.prove(`${rw} ${bs}`, { status, signal, error: job?.error, written: job?.write.io_bytes, read: job?.read.io_bytes });
      // A signal is the device's answer to an access; words on the command line that fio does not take are ours.
      ctx.expect(signal === undefined, `${rw} by ${bs}: fio should end by itself`, signal === undefined ? undefined : signalName(signal));
      if (!job) throw new BrokenError(`fio ${words.join(' ')}: ${stderr.trim().split('\n')[0]}`);
      ctx.expect(job.error === 0, `${rw} by ${bs}: every block should have its checksum`, { error: job.error, said: stderr.trim().split('\n')[0] });
      ctx.expect(status === 0 && job.write.io_bytes > 0 && job.read.io_bytes > 0, `${rw} by ${bs}: blocks should have been written and verified`, { status, written: job.write.io_bytes, read: job.read.io_bytes });
    }
  },
});
