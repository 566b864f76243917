// Throws random arguments at every function of the addon; run in a process of its own by abuse.test.ts.
//
//   node fuzz.mjs ADDON FOLDER SEED CALLS [--trace]
//
// Prints {calls, returned, threw} as JSON at the end. Any way to die before that is a defect of the addon: the same seed
// repeats it, and --trace names each call on stderr before it is made.
import { chmodSync, closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { MessageChannel } from 'node:worker_threads';

const [, , path, folder, seedText, callsText, trace] = process.argv;
const addon = createRequire(import.meta.url)(path);

// Everything that could harm the machine needs privileges, which are given up first; these are left out even so; askCompanion would
// talk to whoever is at the other end of standard error, and wait for an answer.
const LEFT_OUT = new Set(['reboot', 'setRealtime', 'deleteModule', 'finitModule', 'mount', 'umount', 'addEntropy', 'writeSecondSerialPort', 'askCompanion']);
chmodSync(folder, 0o755); // it is read again without privileges
const file = openSync(join(folder, 'fuzz'), 'w+');
ftruncateSync(file, 1 << 20);
const readOnly = openSync(join(folder, 'fuzz'), 'r');
const closed = openSync('/dev/null', 'r');
closeSync(closed);
if (process.getuid() === 0) {
  process.setgroups([]);
  process.setgid(65534);
  process.setuid(65534);
}

let state = BigInt(seedText);
/** A whole number below `below`, from splitmix64. */
function random(below) {
  state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
  let z = state;
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return Number((z ^ (z >> 31n)) % BigInt(below));
}
const pick = (list) => list[random(list.length)];

function detached() {
  const buffer = new ArrayBuffer(64);
  const view = new Uint8Array(buffer);
  new MessageChannel().port1.postMessage(null, [buffer]);
  return view;
}
const hostile = () => {
  throw new Error('hostile');
};

const handles = [];
// Sizes are small, or so large that nothing can be had: what lies between would only wear out the machine.
const numbers = [
  0, 1, 2, 7, 8, 16, 100, 4095, 4096, 4097, 8192, 65536, 1 << 20, (1 << 20) - 8, -1, -4096, 0.5, -0, NaN, Infinity, -Infinity,
  2 ** 47, 2 ** 47 + 4096, 2 ** 48, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64, 1e300, -(2 ** 53), 2147483647.5,
];
const texts = [
  'read', 'write', 'rmw', 'raw', 'monotonic', 'tsc', 'none', 'r', 'rw', 'shared', 'private', 'sync', 'async', 'invalidate',
  'normal', 'random', 'dontneed', 'free', 'remove', 'dontfork', 'dofork', 'hugepage', 'nohugepage', 'cold', 'pageout', 'collapse',
  'populate-read', 'populate-write', 'wipeonfork', 'guard-install', 'guard-remove', 'allocate', 'keep-size', 'punch-hole', 'zero-range',
  'collapse-range', 'insert-range', 'early', 'default', 'dax', 'noatime', '', '\0', 'a\0b', '\ud800', '/', '/dev/null',
  '/proc/self/maps', '/nonexistent', 'x'.repeat(5000), 'power-on',
];
const others = [
  () => undefined, () => null, () => true, () => false, () => Symbol('s'), () => ({}), () => [], () => hostile, () => new Date(0),
  () => [1], () => ['dax'], () => ['x\0'], () => new Array(5), () => new Proxy([], { get: hostile }), () => new Proxy({}, { get: hostile }),
  () => Object.defineProperty(['dax'], 0, { get: hostile }), () => ({ valueOf: hostile, toString: hostile, [Symbol.toPrimitive]: hostile }),
  () => new ArrayBuffer(8), () => new Uint8Array(0), () => new Uint8Array(100), () => Buffer.alloc(4096, 1), detached, () => new Float64Array(8),
  () => new DataView(new ArrayBuffer(8)), () => new Uint8Array(new SharedArrayBuffer(64)), () => new Uint8Array(new ArrayBuffer(16, { maxByteLength: 64 })),
];
const words = [0n, 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, -1n, 2n ** 200n, 4096n];

function value() {
  switch (random(9)) {
    case 0:
      return pick(others)();
    case 1:
    case 2:
      return pick(texts);
    case 3:
      return pick(words);
    case 4:
      return pick([file, file, readOnly, closed, -1, 0, 99999]);
    case 5:
      return handles.length > 0 ? pick(handles) : 1;
    case 6:
      return random(2) === 0;
    default:
      return pick(numbers);
  }
}

// Shapes that get past the first checks, so that the deeper ones are reached as well; some arguments are then spoiled.
const size = () => pick([0, 8, 16, 4096, 8192, 12288, 65536, 1 << 20]);
const handle = () => (handles.length > 0 ? pick(handles) : 1);
const span = () => [handle(), size(), size()];
const pattern = () => [pick([-1, 0, 255]), pick([0n, 5n]), size()];
const fd = () => pick([file, file, readOnly, closed]);
const shapes = {
  map: () => [
    pick([-1, file, readOnly]), size(), pick([0, 4096]), pick(['rw', 'r', 'none']), pick(['shared', 'private', 'sync']),
    pick([0, 4096, 1 << 21, 1 << 30]), pick([0, 4096]), pick([0, 0, 0, 21]), random(2) === 0, random(2) === 0,
  ],
  close: () => [handle()],
  touch: () => [
    handle(), size(), pick([0, 1, 5, 300]), pick([0, 8, 4096]), pick(['read', 'write', 'rmw']), pick([0n, 7n]),
    pick(['none', 'raw', 'monotonic', 'tsc']), random(2) === 0, 3n,
  ],
  read: span,
  write: () => [handle(), size(), Buffer.alloc(pick([0, 1, 4096, 9000]), 1)],
  fill: () => [...span(), ...pattern()],
  verify: () => [...span(), ...pattern()],
  forkVerify: () => [...span(), ...pattern()],
  forkWrite: () => [...span(), ...pattern()],
  patternBytes: () => [size(), ...pattern()],
  verifyBytes: () => [Buffer.alloc(pick([0, 8, 9, 4096])), ...pattern()],
  madvise: () => [...span(), pick(texts)],
  msync: () => [...span(), pick(['sync', 'async', 'invalidate'])],
  mprotect: () => [...span(), pick(['r', 'rw', 'none'])],
  mlock: span,
  munlock: span,
  bindToNode: () => [...span(), pick([0, 1, 63, 64, 1023])],
  unmap: span,
  pagemapScan: span,
  remapOnto: () => [...span(), handle(), size()],
  readFrom: () => [handle(), fd(), size(), size(), size()],
  writeTo: () => [handle(), fd(), pick([0, 4096]), size(), size()],
  fallocate: () => [fd(), pick(['allocate', 'keep-size', 'punch-hole', 'zero-range', 'collapse-range', 'insert-range']), size(), size()],
  measure: () => {
    const step = (op, ...flags) => [
      op, random(2) === 0, random(2) === 0, pick([0, handle()]), pick([0, 8, 4096]), pick([8, 4096, 65536]), pick([0, 8, 4096]), pick([0, 0, 4096]),
      /^(map|fsync|fallocate|pread|pwrite)$/.test(op) ? fd() : -1, pick([0, 4096]), flags.length > 0 ? pick(flags) : '', pick(['read', 'write']), pick([1, 1, 3]),
    ];
    const steps = [
      step('map', 'shared', 'private', 'sync'), step(pick(['touch', 'load', 'store', 'store-past', 'copy', 'chain', 'move', 'fork', 'fsync', 'pread', 'pwrite'])),
      step(...pick([['madvise', 'normal', 'dontneed'], ['msync', 'sync', 'async'], ['fallocate', 'allocate', 'punch-hole'], ['flush', 'clflush', 'clwb'], ['unmap']])),
    ].slice(random(3));
    return [pick([1, 2, 5]), steps.length, ...steps.flat()];
  },
  copyFileRange: () => [fd(), size(), fd(), size(), size()],
  processVmRead: () => [process.pid, pick([0n, 4096n, 2n ** 47n]), size()],
  kpageScan: () => [join(folder, 'fuzz'), 0, size(), pick([1, 8, 4096]), random(2) === 0],
};

const names = Object.keys(addon).filter((name) => typeof addon[name] === 'function' && !LEFT_OUT.has(name));
const count = { calls: 0, returned: 0, threw: 0 };
let running = [];

function note(error) {
  if (error instanceof Error) count.threw++;
  else throw new Error(`thrown without being an Error: ${String(error)}`);
}

/** Handles that a call of close() has taken already stay in the list on purpose. */
function closeOldest() {
  try {
    addon.close(handles.shift());
  } catch (error) {
    note(error);
  }
}

for (let i = 0; i < Number(callsText); i++) {
  const name = pick(names);
  let args = random(3) > 0 && name in shapes ? shapes[name]() : Array.from({ length: random(11) }, value);
  if (random(3) === 0) args = args.map((arg) => (random(4) === 0 ? value() : arg));
  // Read ahead of use: closing twice and using after closing are part of the game.
  const call = random(4) === 0 && addon.async[name] !== undefined ? addon.async[name] : addon[name];
  if (trace !== undefined)
    writeSync(2, `${i} ${call === addon[name] ? '' : 'async '}${name}(${args.map((arg) => { try { return String(arg).slice(0, 40); } catch { return '?'; } }).join(', ')})\n`);
  count.calls++;
  try {
    const result = call(...args);
    count.returned++;
    if (name === 'map') handles.push(result.handle);
    if (result instanceof Promise) running.push(result.catch(note));
  } catch (error) {
    note(error);
  }
  if (handles.length > 12) closeOldest();
  // A test that shrinks the file under its mappings, so that accesses meet SIGBUS.
  if (random(200) === 0) ftruncateSync(file, pick([0, 4096, 1 << 20]));
  if (running.length > 20) {
    await Promise.all(running);
    running = [];
  }
}
await Promise.all(running);
process.stdout.write(`${JSON.stringify(count)}\n`);
