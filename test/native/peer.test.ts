// The second process of the workloads, and the calls that start, ask and end it.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Companion, Mapping, forkExec } from '../../src/native.js';
import { lineOf, startPeer, type PeerRequest } from '../../src/workload/shared/peer.js';
import type { Context } from '../../src/workload/types.js';
import { codeThrown, root, scratchFile } from './support.js';

const PAGE = 4096;
const words = (seed: number, base = 0) => ({ kind: 'words', seed, base }) as const;
const exists = (pid: number): boolean => existsSync(`/proc/${pid}`);
const addonPath = process.env['DAXRIG_ADDON'] ?? join(root, 'build/Release/daxrig.node');
const peerProgram = join(dirname(addonPath), 'daxrig-peer');

/** As a workload starts it: the context takes the clean-ups alone. */
async function withPeer(work: (peer: ReturnType<typeof startPeer>) => Promise<void>): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  const peer = startPeer({ cleanup: (step: () => unknown) => cleanups.push(step) } as unknown as Context);
  try {
    await work(peer);
  } finally {
    for (const step of cleanups) await step();
  }
  expect(exists(peer.pid)).toBe(false);
}

describe('Companion', () => {
  it('answers lines, and is gone after its end', async () => {
    const cat = new Companion('/bin/cat');
    expect(await cat.ask('a line')).toBe('a line');
    expect(await cat.ask(`long ${'x'.repeat(100_000)}`)).toHaveLength(100_005);
    expect(exists(cat.pid)).toBe(true);
    expect(await cat.end()).toEqual({ signal: 9 });
    expect(exists(cat.pid)).toBe(false);
  });
  it('tells its end from an answer, and how it ended', async () => {
    const failing = new Companion('/bin/sh', ['-c', 'read line; exit 7']);
    expect(await failing.ask('go')).toBeUndefined();
    // It may have closed its socket and be still there: the kill comes first then.
    expect([{ status: 7 }, { signal: 9 }]).toContainEqual(await failing.end());
  });
  it('ends none but children of its own', async () => {
    await new Companion('/bin/cat').end();
    const { async } = createRequire(import.meta.url)(addonPath) as { async: { killCompanion(pid: number): Promise<unknown> } };
    for (const pid of [1, process.ppid]) await expect(async.killCompanion(pid)).rejects.toMatchObject({ code: 'ECHILD' });
  });
  it('has nothing to say after its end, which is the same every time', async () => {
    const cat = new Companion('/bin/cat');
    const asked = [cat.ask('one')];
    expect(await Promise.all(asked)).toEqual(['one']);
    expect(await Promise.all([cat.end(), cat.end()])).toEqual([{ signal: 9 }, { signal: 9 }]);
    expect(await cat.ask('two')).toBeUndefined();
    await expect(cat.ask('a\nb')).rejects.toThrow('one line');
  });
  it('is ended while it is asked, be the pool full of questions', async () => {
    const silent = Array.from({ length: 6 }, () => new Companion('/bin/sleep', ['60']));
    const answers = silent.map((one) => one.ask('well?'));
    await Promise.all(silent.map((one) => one.end()));
    expect(await Promise.all(answers)).toEqual(silent.map(() => undefined));
  });
  it('does not start what is not there', () => {
    expect(codeThrown(() => new Companion('/nonexistent/program'))).toBe('ENOENT');
  });
});

describe('forkExec', () => {
  it('gives the program\'s end', () => {
    expect(forkExec('/bin/true')).toEqual({ status: 0 });
    expect(forkExec('/bin/false')).toEqual({ status: 1 });
    expect(codeThrown(() => forkExec('/nonexistent/program'))).toBe('ENOENT');
  });
});

describe('a peer', () => {
  it('maps, stores, compares and reads from elsewhere', () =>
    withPeer(async (peer) => {
      using file = scratchFile(4 * PAGE);
      const { path } = file;
      using mapping = Mapping.map({ fd: file.fd, length: 4 * PAGE });
      mapping.fill(0, 4 * PAGE, words(1));
      await peer.ask({ do: 'map', path, offset: PAGE, length: 2 * PAGE });
      expect(await peer.ask({ do: 'verify', offset: 0, length: 2 * PAGE, pattern: words(1, PAGE) })).toEqual({ ok: true, compared: 2 * PAGE, mismatches: 0 });
      expect(await peer.ask({ do: 'verify', offset: 0, length: PAGE, pattern: words(1) })).toMatchObject({ ok: false, mismatches: PAGE / 8, firstOffset: 0 });
      expect(await peer.ask({ do: 'fill', offset: PAGE, length: PAGE, pattern: words(2) })).toEqual({ done: PAGE });
      expect(mapping.verify(2 * PAGE, PAGE, words(2)).ok).toBe(true);
      expect(await peer.ask({ do: 'touch', count: 2, stride: PAGE, access: 'rmw' })).toMatchObject({ done: 2 });
      const remote = { do: 'vm-verify', pid: process.pid, address: mapping.address, length: PAGE } as const;
      expect(await peer.ask({ ...remote, pattern: words(1) })).toMatchObject({ ok: true, read: PAGE });
      expect(await peer.ask({ ...remote, pattern: words(3) })).toMatchObject({ ok: false, read: PAGE });
      expect(await peer.ask({ do: 'drain' })).toEqual({ lost: 0, signals: [] });
    }));

  it('survives a fault, and tells it', () =>
    withPeer(async (peer) => {
      using file = scratchFile(PAGE);
      await peer.ask({ do: 'map', path: file.path, length: 2 * PAGE });
      expect(await peer.ask({ do: 'touch', count: 2, stride: PAGE, access: 'read' })).toMatchObject({ done: 1, signal: { signal: 'SIGBUS', code: 'BUS_ADRERR', offset: PAGE } });
      expect(await peer.ask({ do: 'verify', offset: 0, length: 2 * PAGE, pattern: words(1) })).toMatchObject({ ok: false, signal: { code: 'BUS_ADRERR' } });
      expect(await peer.ask({ do: 'drain' })).toEqual({ lost: 0, signals: [] });
    }));

  it('refuses what makes no sense, and goes on', () =>
    withPeer(async (peer) => {
      await expect(peer.ask({ do: 'touch', count: 1, access: 'read' })).rejects.toThrow('a second process, asked to touch: nothing is mapped');
      await expect(peer.ask({ do: 'map', path: '/nonexistent/file', length: PAGE })).rejects.toThrow('open: ENOENT');
      using file = scratchFile(PAGE);
      await peer.ask({ do: 'map', path: file.path, length: PAGE });
      await expect(peer.ask({ do: 'verify', offset: PAGE, length: PAGE, pattern: words(1) })).rejects.toThrow('asked to verify');
      await expect(peer.ask({ do: 'vm-verify', pid: 0x7ffffffe, address: 0n, length: 8, pattern: words(1) })).rejects.toThrow('process_vm_readv: ESRCH');
    }));

  it('is asked again after each line that is no request', async () => {
    using file = scratchFile(2 * PAGE);
    const peer = new Companion(peerProgram);
    expect(await peer.ask(`map 0 ${2 * PAGE} 0 0 ${file.path}`)).toBe('{}');
    for (const line of ['fill 4 8 1 0', 'fill 0 8 1 4', 'verify 0 12 1 0', 'touch 0 2 4097 read', 'touch 0 1 8 write', 'touch 0 3 9223372036854775808 read', `touch 8 2 ${2 * PAGE} read`, 'fill 0 8 5x 0', 'fill 0 -8 5 0', 'touch 18446744073709551608 1 8 read', '', 'nonsense', 'map', 'map x y', 'touch 0', 'fill -1 5 5 5', `verify ${'9'.repeat(40)} 1 1 1`, 'mce-kill sometimes', '"\\']) {
      const answer = JSON.parse((await peer.ask(line))!) as { error?: string };
      expect(answer.error, line).toBeTypeOf('string');
    }
    expect(await peer.ask('drain')).toBe('{"lost":0,"signals":[]}');
    await peer.end();
  });

  it('keeps spaces in a path', () => {
    const request: PeerRequest = { do: 'map', path: '/a path/with  spaces', length: PAGE };
    expect(lineOf(request)).toBe('map 0 4096 0 0 /a path/with  spaces');
  });
});
