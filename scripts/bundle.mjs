// Bundles what starts often into one file each, below dist/: what runs in a guest, where Node is emulated and loading a
// hundred small modules takes three times as long as running what they hold, and the command line. Run after the TypeScript build.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');

const BUNDLES = [
  { input: 'guest/agent.js', output: 'agent.cjs', format: 'cjs' },
  // Packages stay outside: yargs reads its languages from its own folder, better-sqlite3 its addon.
  { input: 'cli/main.js', output: 'daxrig.js', format: 'esm', external: /^(better-sqlite3|yargs)/ },
];

for (const { input, output, format, external } of BUNDLES) {
  const bundle = await rolldown({ input: join(dist, input), platform: 'node', logLevel: 'warn', ...(external ? { external } : {}) });
  await bundle.write({ file: join(dist, output), format, codeSplitting: false });
  await bundle.close();
}
// The program's entry is where the TypeScript build puts it, bundled or not.
writeFileSync(join(dist, 'cli/main.js'), "#!/usr/bin/env node\nimport '../daxrig.js';\n");
/**
 * V8's options for guests: a copy lives for seconds on one emulated CPU, where compiling costs more than it brings. Loops that are hot by
 * any measure are still optimised. Only those that this Node knows, since it would not start with others.
 */
const FLAGS = ['--single-threaded', '--no-sparkplug', '--interrupt-budget=4000000'].filter((flag) => spawnSync(process.execPath, [flag, '-e', '0'], { stdio: 'ignore' }).status === 0);
writeFileSync(join(dist, 'agent.flags'), FLAGS.join(' '));
// Needs the addon, which a package that is being installed builds first; without the cache, which a V8 with other options would refuse,
// the agent only starts slower.
if (existsSync(join(root, 'build/Release/daxrig.node'))) execFileSync(process.execPath, ['--no-warnings', ...FLAGS, join(dist, 'guest/start.cjs'), '--make-cache']);
