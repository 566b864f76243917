// Bundles what starts inside a guest into one CommonJS file each, beside dist/: there Node runs emulated, and loading
// a hundred small modules takes three times as long as running what they hold. Run after the TypeScript build.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist');

for (const [input, output] of [['guest/agent.js', 'agent.cjs'], ['workload/shared/peer-main.js', 'peer.cjs']]) {
  const bundle = await rolldown({ input: join(dist, input), platform: 'node', logLevel: 'warn' });
  await bundle.write({ file: join(dist, output), format: 'cjs', codeSplitting: false });
  await bundle.close();
}
