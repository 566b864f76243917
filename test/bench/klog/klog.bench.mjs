// Figures of the kernel log reader: precision and recall over the fixtures, throughput, and memory over a large log.
//   npx tsc -p tsconfig.json && node --expose-gc test/bench/klog/klog.bench.mjs [--mb 256] [--memory-mb 2048] [--json]
// Throughput is by CPU time, so that a busy machine does not spoil it; what it asserts it exits 1 for.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { KernelLog, parseKernelLog } from '../../../dist/kernel/klog.js';

const { values } = parseArgs({ options: { mb: { type: 'string', default: '128' }, 'memory-mb': { type: 'string', default: '512' }, json: { type: 'boolean', default: false } } });
const folder = fileURLToPath(new URL('../../fixtures/klog/', import.meta.url));
const GOALS = { precision: 1, recall: 1, throughput: 100, memory: 100 };

// throughput: a machine's ordinary log, with a report now and then. throughputReportsOnly: every fixture behind the other,
// 250 wordings of crashes and nothing between them; it is shown, and no goal.

/** Expected findings of a fixture's header, and its log; test/kernel/fixture.ts checks the headers themselves. */
function readFixture(name) {
  const content = readFileSync(folder + name);
  const end = content.indexOf('\n\n');
  const expected = [];
  for (const line of content.toString('utf8', 0, end).split('\n')) {
    const [, key, value] = /^([\w-]+): (.*)$/.exec(line);
    if (key === 'kind') expected.push({ kind: value });
    else if (key === 'title' || key === 'function') expected.at(-1)[key] = value;
  }
  return { name, expected, raw: content.subarray(end + 2) };
}

const keyOf = ({ kind, title, function: name }) => `${kind} | ${title} | ${name ?? ''}`;

function accuracy(fixtures) {
  let found = 0, right = 0, wanted = 0;
  for (const { name, expected, raw } of fixtures) {
    const open = expected.map(keyOf);
    const { findings } = parseKernelLog(raw);
    for (const finding of findings) {
      // A header that names no function asks for none.
      const at = open.findIndex((key) => key === keyOf(finding) || key === keyOf({ ...finding, function: undefined }));
      if (at >= 0) {
        open.splice(at, 1);
        right++;
      } else if (!values.json) console.error(`${name}: unexpected ${keyOf(finding)}`);
    }
    for (const key of open) if (!values.json) console.error(`${name}: missed ${key}`);
    found += findings.length;
    wanted += expected.length;
  }
  return { fixtures: fixtures.length, healthy: fixtures.filter(({ expected }) => expected.length === 0).length, findings: wanted, precision: right / found, recall: right / wanted };
}

/** Megabytes per second of CPU time. */
function throughput(log, megabytes) {
  const start = process.cpuUsage();
  const bytes = feed(log, megabytes * 1e6);
  const { user, system } = process.cpuUsage(start);
  return bytes / (user + system);
}

function feed(log, least) {
  const reader = new KernelLog();
  let bytes = 0;
  while (bytes < least)
    for (let at = 0; at < log.length; at += 262_144) {
      const chunk = log.subarray(at, at + 262_144);
      reader.push(chunk);
      bytes += chunk.length;
    }
  reader.end();
  return bytes;
}

/** Days of a machine that works: chatter, now and then a report. */
function ordinaryLog(fixtures) {
  const chatter = ['usb 1-1: new high-speed USB device number 3 using xhci_hcd', 'audit: type=1400 audit(1528200000.123:45): apparmor="STATUS" operation="profile_load" profile="unconfined" name="lsb_release"', 'IPv6: ADDRCONF(NETDEV_CHANGE): ens3: link becomes ready', 'systemd[1]: Started Daily Cleanup of Temporary Directories.', 'EXT4-fs (pmem0): mounted filesystem with ordered data mode. Opts: dax', 'virtio_net virtio0 ens3: renamed from eth0', 'perf: interrupt took too long (2514 > 2500), lowering kernel.perf_event_max_sample_rate to 79500', 'device-mapper: ioctl: 4.39.0-ioctl (2018-04-03) initialised: dm-devel@redhat.com', 'random: crng init done', 'XFS (pmem1): Ending clean mount'];
  const reports = fixtures.filter(({ name }) => /^(?:null-deref|warning|kasan|page-fault)-/.test(name)).map(({ raw }) => raw.toString());
  const parts = [];
  for (let line = 0; line < 100_000; line++) {
    parts.push(`[${(line * 0.61).toFixed(6).padStart(12)}] ${chatter[(line * 7) % chatter.length]}\n`);
    if (line % 5000 === 4999) parts.push(reports[(line / 5000) % reports.length | 0]);
  }
  return Buffer.from(`[    0.000000] Linux version 5.10.0\n[    0.900000] Run /init as init process\n${parts.join('')}`);
}

const fixtures = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.log')).sort().map(readFixture);
const reportsOnly = Buffer.concat(fixtures.map(({ raw }) => raw));
const ordinary = ordinaryLog(fixtures);
// The first seconds are the compiler's.
feed(ordinary, 2e7);
feed(reportsOnly, 4e7);

const result = accuracy(fixtures);
result.throughput = throughput(ordinary, Number(values.mb));
result.throughputReportsOnly = throughput(reportsOnly, Number(values.mb));
globalThis.gc?.();
const before = process.memoryUsage().rss;
let peak = before;
const watch = new KernelLog();
for (let bytes = 0; bytes < Number(values['memory-mb']) * 1e6; )
  for (let at = 0; at < ordinary.length; at += 262_144) {
    const chunk = ordinary.subarray(at, at + 262_144);
    watch.push(chunk);
    bytes += chunk.length;
    if (at % (262_144 * 16) === 0) peak = Math.max(peak, process.memoryUsage().rss);
  }
watch.end();
result.memoryGrowth = (peak - before) / 1e6;
result.memoryPeak = peak / 1e6;

if (values.json) console.log(JSON.stringify(result, null, 1));
else
  for (const [name, value] of Object.entries(result)) console.log(`${name.padEnd(24)} ${Number.isInteger(value) ? value : value.toFixed(3)}`);
const failed = [result.precision < GOALS.precision, result.recall < GOALS.recall, result.throughput < GOALS.throughput, result.memoryGrowth > GOALS.memory];
process.exitCode = failed.some(Boolean) ? 1 : 0;
