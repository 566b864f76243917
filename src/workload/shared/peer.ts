// A second process with a mapping of its own, for what happens between processes: a small program (native/peer.cc), which obeys
// one line of words at a time. The workload's own process is never forked for it: the fork would have its mappings, too.
import path from 'node:path';
import { BrokenError, messageOf } from '../../errors.js';
import { Companion, addonFolder, signalName, type FaultSignal, type MceKillPolicy, type Pattern } from '../../native.js';
import type { Context } from '../types.js';

type Words = Extract<Pattern, { kind: 'words' }>;

/** What a peer can be asked to do. Offsets and lengths are bytes, those of all but `map` in its mapping. */
export type PeerRequest =
  | { do: 'map'; path: string; offset?: number; length: number; align?: number; alignSkew?: number }
  | { do: 'touch'; offset?: number; count: number; stride?: number; access: 'read' | 'rmw' }
  | { do: 'fill' | 'verify'; offset: number; length: number; pattern: Words }
  | { do: 'drain' }
  | { do: 'mce-kill'; policy: MceKillPolicy }
  | { do: 'vm-verify'; pid: number; address: bigint; length: number; pattern: Words };

export interface PeerAnswer {
  error?: string;
  /** Of a comparison. */
  ok?: boolean;
  /** What ended an access. */
  signal?: FaultSignal;
  /** Of drain: the action-optional ones, where they are in the mapping, and log2 of the bytes lost. */
  signals?: { offset?: number; lsb: number }[];
  [more: string]: unknown;
}

export interface Peer {
  readonly pid: number;
  /** Throws BrokenError when it refuses, or has ended. */
  ask(request: PeerRequest): Promise<PeerAnswer>;
  /** Ends it and waits until it is gone, with its mapping. */
  end(): Promise<void>;
}

/** The request as native/peer.cc reads it. */
export function lineOf(request: PeerRequest): string {
  const patternOf = ({ seed, base = 0 }: Words): string => `${seed} ${base}`;
  switch (request.do) {
    case 'map':
      return `map ${request.offset ?? 0} ${request.length} ${request.align ?? 0} ${request.alignSkew ?? 0} ${request.path}`;
    case 'touch':
      return `touch ${request.offset ?? 0} ${request.count} ${request.stride ?? 8} ${request.access}`;
    case 'fill':
    case 'verify':
      return `${request.do} ${request.offset} ${request.length} ${patternOf(request.pattern)}`;
    case 'drain':
      return 'drain';
    case 'mce-kill':
      return `mce-kill ${request.policy}`;
    case 'vm-verify':
      return `vm-verify ${request.pid} ${request.address} ${request.length} ${patternOf(request.pattern)}`;
  }
}

/** Starts a peer, which ends with the workload at the latest. */
export function startPeer(ctx: Context): Peer {
  const companion = start(path.join(addonFolder(), 'daxrig-peer'));
  ctx.cleanup(async () => void (await companion.end()));
  return {
    pid: companion.pid,
    async ask(request) {
      const line = await companion.ask(lineOf(request));
      if (line === undefined) {
        const { status, signal } = await companion.end();
        throw new BrokenError(`a second process, asked to ${request.do}, ended (${signal === undefined ? `status ${status}` : signalName(signal)})`);
      }
      const answer = JSON.parse(line) as PeerAnswer;
      if (answer.error !== undefined) throw new BrokenError(`a second process, asked to ${request.do}${request.do === 'map' ? ` ${request.path}` : ''}: ${answer.error}`);
      return answer;
    },
    end: async () => void (await companion.end()),
  };
}

/** Its action-optional signals, which come a moment after the failure: once there are any, or none within three seconds. */
export async function signalsOf(peer: Peer): Promise<NonNullable<PeerAnswer['signals']>> {
  for (const deadline = Date.now() + 3000; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
    const { signals = [] } = await peer.ask({ do: 'drain' });
    if (signals.length > 0 || Date.now() >= deadline) return signals;
  }
}

function start(program: string): Companion {
  try {
    return new Companion(program);
  } catch (error) {
    throw new BrokenError(`a second process does not start (${messageOf(error)}); build it with: node scripts/build-addon.mjs --force`, { cause: error });
  }
}
