// Which accelerator runs guests here. /dev/kvm may exist, open, and still run nothing (nested set-ups were seen where
// a guest hangs for ever or QEMU aborts), so KVM is asked to run a tiny guest to a known answer within a deadline.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BrokenError } from '../errors.js';
import { cacheRoot, digestOf } from './cache.js';
import type { Accel, Clock, Qemu } from './qemu.js';

export interface AccelChoice {
  accel: Accel;
  /** Why this one, for the result. */
  why: string;
}

/** What the tiny guest writes to the debug-exit port; QEMU then ends with status 2n+1. */
const ANSWER = 0x15;
const PROBE_MS = 2000;

/** A boot sector: mov dx,0x501; mov al,ANSWER; out dx,al; hlt; jmp -3. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(512);
  Buffer.from([0xba, 0x01, 0x05, 0xb0, ANSWER, 0xee, 0xf4, 0xeb, 0xfd]).copy(sector);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** Runs the tiny guest under KVM. Undefined: it gave the answer; else why not. */
export async function probeKvm(qemu: Qemu): Promise<string | undefined> {
  try {
    fs.accessSync('/dev/kvm', fs.constants.R_OK | fs.constants.W_OK);
  } catch {
    return fs.existsSync('/dev/kvm') ? '/dev/kvm may not be opened by this user' : 'there is no /dev/kvm';
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-kvm-'));
  try {
    const floppy = path.join(folder, 'boot');
    fs.writeFileSync(floppy, bootSector());
    const child = spawn(
      qemu.path,
      ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-accel', 'kvm', '-cpu', 'host', '-m', '16M', '-machine', 'pc',
        '-device', 'isa-debug-exit,iobase=0x501', '-drive', `if=floppy,format=raw,read-only=on,file=${floppy}`, '-boot', 'a'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    return await new Promise<string | undefined>((resolve) => {
      const deadline = setTimeout(() => {
        child.kill('SIGKILL');
        child.once('close', () => resolve(`a guest under KVM gave no answer within ${PROBE_MS / 1000} s`));
      }, PROBE_MS);
      child.once('error', (error) => {
        clearTimeout(deadline);
        resolve(error.message);
      });
      child.once('close', (code, signal) => {
        clearTimeout(deadline);
        const line = said.split('\n').find((text) => /error|assert|failed/i.test(text)) ?? '';
        resolve(code === 2 * ANSWER + 1 ? undefined : `QEMU under KVM ended with ${signal ?? code}${line ? `: ${line.trim()}` : ''}`);
      });
    });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** The probe's answer, kept per machine and QEMU. */
async function kvmWorks(qemu: Qemu): Promise<string | undefined> {
  const key = digestOf(os.hostname(), os.release(), os.cpus()[0]?.model ?? '', qemu.path, qemu.version, String(fs.statSync('/dev/kvm', { throwIfNoEntry: false })?.ctimeMs ?? 'none'));
  const file = path.join(cacheRoot(), 'accel', `${key}.json`);
  try {
    return (JSON.parse(fs.readFileSync(file, 'utf8')) as { why?: string }).why;
  } catch {
    // Not asked yet, or damaged: probing again costs two seconds at most.
  }
  const why = await probeKvm(qemu);
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const fresh = `${file}.${process.pid}`;
    fs.writeFileSync(fresh, JSON.stringify(why === undefined ? {} : { why }));
    fs.renameSync(fresh, file);
  } catch {
    // A cache that cannot be written costs the next run the probe; whoever needs to write there will say so.
  }
  return why;
}

/** Resolves --accel. Throws BrokenError when kvm was asked for and does not work here. */
export async function chooseAccel(asked: 'auto' | Accel, clock: Clock, qemu: Qemu): Promise<AccelChoice> {
  if (clock === 'icount') return { accel: 'tcg', why: 'instructions are counted by TCG only' };
  if (asked === 'tcg') return { accel: 'tcg', why: 'asked for' };
  const why = await kvmWorks(qemu);
  if (why === undefined) return { accel: 'kvm', why: 'a probe guest gave its answer' };
  if (asked === 'kvm') throw new BrokenError(`--accel kvm: KVM does not run a guest here: ${why}; use --accel tcg`);
  return { accel: 'tcg', why };
}
