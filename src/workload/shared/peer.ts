// A second process with mappings of its own, for what happens between processes: it obeys one JSON line at a time and
// answers with one. The workload's own process is never forked: Node's threads do not survive that.
import { BrokenError } from '../../errors.js';
import type { FaultSignal, MapOptions, MceKillPolicy, OptionalSignal, Pattern, TouchOptions } from '../../native.js';
import { programFile } from '../../paths.js';
import type { Context } from '../types.js';

/** What a peer can be asked to do. Numbers of 64 bits travel as strings. */
export type PeerRequest =
  | { do: 'map'; path: string; options: Omit<MapOptions, 'fd'> }
  | { do: 'unmap' }
  | { do: 'touch'; options: TouchOptions }
  | { do: 'fill' | 'verify'; offset: number; length: number; pattern: Pattern }
  | { do: 'drain' }
  | { do: 'mce-kill'; policy: MceKillPolicy }
  | { do: 'vm-verify'; pid: number; address: string; length: number; pattern: Pattern };

export interface PeerAnswer {
  error?: string;
  ok?: boolean;
  signal?: FaultSignal;
  signals?: (Omit<OptionalSignal, 'address'> & { offset?: number })[];
  [more: string]: unknown;
}

export interface Peer {
  readonly pid: number;
  ask(request: PeerRequest): Promise<PeerAnswer>;
  /** Ends it and waits until it is gone, with its mappings. */
  end(): Promise<void>;
}

/** Starts a peer, which ends with the workload at the latest. */
export async function startPeer(ctx: Context): Promise<Peer> {
  // Only here, since loading them is a good part of a guest's start.
  const { spawn } = process.getBuiltinModule('node:child_process');
  const readline = process.getBuiltinModule('node:readline');
  const child = spawn(process.execPath, ['--no-warnings', programFile('peer.cjs')], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
  const gone = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(signal ?? `status ${code}`));
  });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<PeerAnswer> => {
    const line = await lines.next();
    if (line.done !== true) return JSON.parse(line.value) as PeerAnswer;
    throw new BrokenError(`a second process ended (${await gone})${said ? `: ${said.trim().split('\n').at(-1)}` : ''}`);
  };
  const end = async (): Promise<void> => {
    child.stdin.end();
    child.kill('SIGKILL');
    await gone;
  };
  ctx.cleanup(end);
  child.stdin.on('error', () => {}); // a peer that is gone is told by its answer, which does not come
  await answer(); // it is ready
  return {
    pid: child.pid!,
    async ask(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const said = await answer();
      if (said.error !== undefined) throw new BrokenError(`a second process, asked to ${request.do}: ${said.error}`);
      return said;
    },
    end,
  };
}
