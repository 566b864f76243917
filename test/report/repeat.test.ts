// The command that repeats a failing seed: it must find the same workloads and the same machine again.
import { expect, it } from 'vitest';
import { keptOptions, repeatCommand } from '../../src/report/repeat.js';

const result = { workload: 'race/lost-update', params: { fs: 'xfs' }, seed: 17, kernel: '6.12.1' };

it('keeps what decides where it runs, and leaves what decides how often', () => {
  expect(keptOptions(['run', 'a/*', '--clock', 'icount', '--seeds', '1..9', '--load', 'x.mjs', 'a/b', '--load', 'y.mjs', '--jobs', '2', '--memmap=1G!4G', '--json', '--no-snapshot', '--out', 'there'])).toEqual([
    '--clock', 'icount', '--load', 'x.mjs', '--load', 'y.mjs', '--memmap=1G!4G', '--no-snapshot',
  ]);
});

it('an option of one value leaves the words behind it alone', () => {
  expect(keptOptions(['run', '--guest-mem', '8G', 'devdax/*', '--load', 'x.mjs', 'c/d'])).toEqual(['--guest-mem', '8G', '--load', 'x.mjs']);
});

it('a name behind an option of several values is no value', () => {
  expect(keptOptions(['run', '--memmap', '1G!4G', '512M!6G', 'fsdax/*', '--device', '/dev/dax0.0', 'devdax/poison'])).toEqual(['--memmap', '1G!4G', '512M!6G', '--device', '/dev/dax0.0']);
});

it('names of several kernels and layouts those that failed', () => {
  const run = { command: ['run', '--kernel', 'debian:trixie', 'debian:sid', '--layout=huge', '--layout', 'nfit', '--seeds', '1..9'], guests: [{ kernel: '6.11', spec: 'debian:x' }, { kernel: '6.12.1', spec: 'debian:trixie' }] };
  expect(repeatCommand({ ...result, layout: 'nfit' }, run)).toBe('daxrig run race/lost-update --param fs=xfs --seed 17 --kernel debian:trixie --layout nfit');
});

it('is quoted for a shell', () => {
  const run = { command: ['run', '--append', "a b'c", '--memmap', '1G!4G'], guests: [] };
  expect(repeatCommand({ ...result, params: {} }, run)).toBe("daxrig run race/lost-update --seed 17 --append 'a b'\\''c' --memmap '1G!4G'");
});
