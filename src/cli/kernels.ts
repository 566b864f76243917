// daxrig kernels: what guests can be started with, and what of it is cached.
import fs from 'node:fs';
import path from 'node:path';
import type { CommandModule } from 'yargs';
import { UsageError, messageOf } from '../errors.js';
import { cacheEntries, cacheRoot, diskUsage } from '../guest/cache.js';
import { KNOWN_SUITES, cachedDebianKernels, isCloud, kernelsOf, namesKernel } from '../guest/debian.js';
import { humanSize } from '../units.js';

interface KernelsArguments {
  pattern: string | undefined;
  prune: boolean;
  update: boolean;
  json: boolean;
}

interface Row {
  spec: string;
  release: string;
  version: string;
  suite: string;
  cached: boolean;
  /** Bytes on disk when cached, else to download. */
  bytes: number;
}

/** How --kernel names it: flavours of one version differ in the release only. */
const specOf = (suite: string, release: string, version: string): string => `debian:${suite}/${isCloud({ release }) ? release : version}`;

async function rows(pattern: string | undefined, update: boolean): Promise<Row[]> {
  const cached = new Map(cachedDebianKernels().map(({ folder, origin }) => [`${origin.release} ${origin.version}`, { folder, origin }]));
  const found: Row[] = [];
  const seen = new Set<string>();
  for (const suite of KNOWN_SUITES) {
    try {
      for (const { release, version, size } of await kernelsOf(suite, update)) {
        const here = cached.get(`${release} ${version}`);
        seen.add(`${release} ${version}`);
        found.push({ spec: specOf(suite, release, version), release, version, suite, cached: here !== undefined, bytes: here ? diskUsage(here.folder) : size });
      }
    } catch (error) {
      // A suite that this archive does not carry is no news; anything else is.
      if (!(error instanceof UsageError)) process.stderr.write(`daxrig: ${messageOf(error)}\n`);
    }
  }
  for (const [key, { folder, origin }] of cached) if (!seen.has(key)) found.push({ spec: specOf(origin.suite, origin.release, origin.version), release: origin.release, version: origin.version, suite: origin.suite, cached: true, bytes: diskUsage(folder) });
  const wanted = found.filter((row) => pattern === undefined || row.suite === pattern || namesKernel(pattern, row));
  if (wanted.length === 0) throw new UsageError(`no kernel ${pattern ?? ''}; name a suite, a version or a glob, for example trixie or '6.12*'`);
  return wanted;
}

/** Removes unpacked kernels and all that was made from them; --prune with a pattern removes those kernels only. */
function prune(pattern: string | undefined): { path: string; bytes: number }[] {
  const gone: { path: string; bytes: number }[] = [];
  const remove = (entry: string): void => {
    gone.push({ path: entry, bytes: diskUsage(entry) });
    fs.rmSync(entry, { recursive: true, force: true });
  };
  if (pattern !== undefined) {
    const named = cachedDebianKernels().filter(({ origin }) => origin.suite === pattern || namesKernel(pattern, origin));
    if (named.length === 0) throw new UsageError(`no cached kernel ${pattern}; see "daxrig kernels"`);
    named.forEach(({ folder }) => remove(folder));
    return gone;
  }
  for (const kind of ['kernels', 'vmlinux', 'images', 'states']) cacheEntries(kind).forEach((entry) => remove(entry.path));
  for (const kind of ['apt', 'accel']) if (fs.existsSync(path.join(cacheRoot(), kind))) remove(path.join(cacheRoot(), kind));
  return gone;
}

export const command: CommandModule<object, KernelsArguments> = {
  command: 'kernels [pattern]',
  describe: 'Debian kernels that guests can run: available and cached',
  builder: (yargs) =>
    yargs
      .positional('pattern', { type: 'string', describe: 'suite, release, version or glob' })
      .option('prune', { type: 'boolean', default: false, describe: 'remove cached kernels (all, with images and saved states, or those of the pattern)' })
      .option('update', { type: 'boolean', default: false, describe: 'ask the archive anew' })
      .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
      .example("$0 kernels '6.1*'", 'what there is of 6.1')
      .example('$0 run --kernel debian:bullseye --kernel debian:trixie', 'use two'),
  handler: async ({ pattern, prune: pruning, update, json }) => {
    if (pruning) {
      const gone = prune(pattern);
      const bytes = gone.reduce((sum, entry) => sum + entry.bytes, 0);
      if (json) process.stdout.write(`${JSON.stringify({ removed: gone, bytes }, null, 1)}\n`);
      else process.stdout.write(`removed ${gone.length} entries, ${humanSize(bytes)}\n`);
      return;
    }
    const found = await rows(pattern, update);
    if (json) {
      process.stdout.write(`${JSON.stringify({ kernels: found }, null, 1)}\n`);
      return;
    }
    const width = Math.max(...found.map(({ spec }) => spec.length));
    for (const { spec, release, cached, bytes } of found) process.stdout.write(`${spec.padEnd(width)}  ${release.padEnd(26)} ${cached ? `cached, ${humanSize(bytes)}` : `${humanSize(bytes)} to download`}\n`);
  },
};
