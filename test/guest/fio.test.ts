// fio's engine for devdax devices in a guest, and that the workload around it can fail.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runJson, temporary } from './daxrig.js';

const folder = temporary('fio');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it('every block has its checksum', async () => {
  const { document } = await runJson(['devdax/fio', '--param', 'align=2M', '--out', path.join(folder, 'right')]);
  expect(document.results.map(({ outcome, reason }) => reason ?? outcome)).toEqual(['pass']);
});

it('blocks that nobody wrote have none: a failure, not a broken harness', async () => {
  const setup = path.join(folder, 'setup');
  fs.writeFileSync(setup, `mv /usr/sbin/fio /usr/sbin/fio.real
printf '#!/bin/sh\\nfor word do shift; case $word in --rw=*) word=--rw=read ;; esac; set -- "$@" "$word"; done\\nexec /usr/sbin/fio.real "$@"\\n' >/usr/sbin/fio
chmod 755 /usr/sbin/fio
`);
  const { code, document } = await runJson(['devdax/fio', '--param', 'align=2M', '--guest-setup', setup, '--out', path.join(folder, 'wrong')]);
  expect(document.results.map(({ outcome, reason }) => [outcome, reason])).toEqual([['fail', expect.stringContaining('every block should have its checksum')]]);
  expect(code).toBe(1);
});
