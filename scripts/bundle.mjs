// Bundles what starts inside a guest into one CommonJS file each, beside dist/: there Node runs emulated, and loading
// a hundred small modules takes three times as long as running what they hold. Run after the TypeScript build.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');

for (const [input, output] of [['guest/agent.js', 'agent.cjs'], ['workload/shared/peer-main.js', 'peer.cjs']]) {
  const bundle = await rolldown({ input: join(dist, input), platform: 'node', logLevel: 'warn' });
  await bundle.write({ file: join(dist, output), format: 'cjs', codeSplitting: false });
  await bundle.close();
}
// Needs the addon, which a package that is being installed builds first; without the cache the agent only starts slower.
if (existsSync(join(root, 'build/Release/daxrig.node'))) execFileSync(process.execPath, ['--no-warnings', join(dist, 'guest/start.cjs'), '--make-cache']);
