// Kernel log fixtures: a few header lines say what has to be found, a blank line, then the raw log to its end.
// The format is described in docs/kernel-log.md.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseKernelLog, type Finding, type KernelReport } from '../../src/kernel/klog.js';

export const FIXTURES = fileURLToPath(new URL('../fixtures/klog/', import.meta.url));

/** What one finding has to be; fields that are left out are not looked at. */
export type ExpectedFinding = Record<string, string>;

export interface Expectation {
  about: string;
  findings: ExpectedFinding[];
  /** "seconds | start of the line before | start of the line after" */
  stalls: string[];
  pmem: string[];
  counts: Record<string, number>;
  boot?: string;
}

export interface Fixture {
  name: string;
  expected: Expectation;
  raw: Buffer;
}

const COUNTS = ['e820-bios', 'e820-user', 'nodes'] as const;

/** Takes a fixture file apart. Throws when its header is malformed: a typo must not weaken a fixture. */
export function parseFixture(name: string, content: Buffer): Fixture {
  const end = content.indexOf('\n\n');
  if (end < 0) throw new Error(`${name}: no blank line behind the header`);
  const expected: Expectation = { about: '', findings: [], stalls: [], pmem: [], counts: {} };
  for (const line of content.toString('utf8', 0, end).split('\n')) {
    const match = /^([\w-]+): (.*)$/.exec(line);
    if (match === null) throw new Error(`${name}: "${line}" is no header line`);
    const [, key = '', value = ''] = match;
    if (key === 'about') expected.about = value;
    else if (key === 'stall') expected.stalls.push(value);
    else if (key === 'pmem') expected.pmem.push(value);
    else if (key === 'boot') expected.boot = value;
    else if ((COUNTS as readonly string[]).includes(key)) expected.counts[key] = Number(value);
    else if (key === 'kind') expected.findings.push({ kind: value });
    else if (expected.findings.length > 0) expected.findings.at(-1)![key] = value;
    else throw new Error(`${name}: "${key}" before any "kind"`);
  }
  if (expected.about === '') throw new Error(`${name}: says not what it is about`);
  return { name, expected, raw: content.subarray(end + 2) };
}

export function loadFixtures(folder = FIXTURES): Fixture[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.log'))
    .sort()
    .map((name) => parseFixture(name, readFileSync(`${folder}/${name}`)));
}

/** A finding in the words of a fixture header, as far as `expected` names fields. */
function project(finding: Finding, expected: ExpectedFinding | undefined): ExpectedFinding {
  const fields: Record<string, unknown> = { ...finding };
  const out: ExpectedFinding = { kind: finding.kind, title: finding.title };
  // Unexpected doubt, and functions and tasks that came or went, always show.
  if (finding.corrupted === true) out['corrupted'] = 'yes';
  if (finding.informational === true) out['informational'] = 'yes';
  for (const key of Object.keys(expected ?? {})) {
    const value = fields[key];
    if (key in out) continue;
    out[key] = value === undefined ? '(none)' : String(value);
  }
  return out;
}

/** What was found in a fixture, in the shape of its expectation: the two are compared as a whole. */
export function observe({ expected, raw }: Fixture): Expectation {
  const report = parseKernelLog(raw);
  const observed: Expectation = {
    about: expected.about,
    findings: report.findings.map((finding, index) => project(finding, expected.findings[index])),
    stalls: report.stalls.map((stall, index) => stallText(stall, expected.stalls[index])),
    pmem: report.pmem.map(({ start, end }) => `${start}-${end}`),
    counts: {},
  };
  const counts: Record<string, number> = { 'e820-bios': report.e820.bios.length, 'e820-user': report.e820.user.length, nodes: report.nodes.length };
  for (const key of Object.keys(expected.counts)) observed.counts[key] = counts[key]!;
  if (expected.boot !== undefined) observed.boot = report.boot?.outcome ?? '(none)';
  return observed;
}

function stallText(stall: KernelReport['stalls'][number], expected: string | undefined): string {
  const [, before = stall.before, after = stall.after] = expected?.split(' | ') ?? [];
  return [String(stall.seconds), stall.before.slice(0, before.length), stall.after.slice(0, after.length)].join(' | ');
}

/** The header that describes what is found now, for a new or a changed fixture. */
export function headerOf(fixture: Fixture): string {
  const report = parseKernelLog(fixture.raw);
  const lines = [`about: ${fixture.expected.about}`];
  for (const [index, finding] of report.findings.entries()) {
    const keys = new Set(['kind', 'title', 'function', 'task', 'corrupted', 'informational', ...Object.keys(fixture.expected.findings[index] ?? {})]);
    for (const key of keys) {
      const value = (finding as unknown as Record<string, unknown>)[key];
      if (value !== undefined) lines.push(`${key}: ${value === true ? 'yes' : String(value)}`);
    }
  }
  for (const stall of report.stalls) lines.push(`stall: ${stall.seconds} | ${stall.before.slice(0, 60)} | ${stall.after.slice(0, 60)}`);
  for (const { start, end } of report.pmem) lines.push(`pmem: ${start}-${end}`);
  if (report.e820.bios.length > 0) lines.push(`e820-bios: ${report.e820.bios.length}`);
  if (report.e820.user.length > 0) lines.push(`e820-user: ${report.e820.user.length}`);
  if (report.nodes.length > 0) lines.push(`nodes: ${report.nodes.length}`);
  if (report.boot !== undefined) lines.push(`boot: ${report.boot.outcome}`);
  return lines.join('\n');
}
