// The program of a peer (peer.ts): one mapping, one request per line.
import fs from 'node:fs';
import readline from 'node:readline';
import { messageOf } from '../../errors.js';
import { Mapping, drainSignals, prctlMceKill, processVmRead, verifyBytes } from '../../native.js';
import type { PeerAnswer, PeerRequest } from './peer.js';

let mapping: Mapping | undefined;

const mapped = (): Mapping => {
  if (!mapping) throw new Error('nothing is mapped');
  return mapping;
};

function obey(request: PeerRequest): PeerAnswer {
  switch (request.do) {
    case 'map': {
      const fd = fs.openSync(request.path, request.options.prot === 'r' ? 'r' : 'r+');
      mapping = Mapping.map({ ...request.options, fd });
      fs.closeSync(fd);
      return { address: String(mapping.address) };
    }
    case 'unmap':
      mapped().close();
      mapping = undefined;
      return {};
    case 'touch': {
      const { samples: _samples, ...touched } = mapped().touch(request.options);
      return touched;
    }
    case 'fill':
      return { ...mapped().fill(request.offset, request.length, request.pattern) };
    case 'verify':
      return { ...mapped().verify(request.offset, request.length, request.pattern) };
    case 'drain': {
      const { signals, lost } = drainSignals();
      return { lost, signals: signals.map(({ address, ...rest }) => ({ ...rest, ...(mapping ? { offset: Number(address - mapping.address) } : {}) })) };
    }
    case 'mce-kill':
      prctlMceKill(request.policy);
      return {};
    case 'vm-verify': {
      const bytes = processVmRead(request.pid, BigInt(request.address), request.length);
      return { read: bytes.length, ...verifyBytes(bytes, request.pattern) };
    }
  }
}

const say = (answer: PeerAnswer): void => {
  process.stdout.write(`${JSON.stringify(answer, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}\n`);
};

drainSignals(); // loads the addon, and with it the signal handlers
say({});
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  try {
    say(obey(JSON.parse(line) as PeerRequest));
  } catch (error) {
    say({ error: messageOf(error) });
  }
});
