// Starts the bundled agent with V8's code cache, made when the program was built: emulated, compiling what the agent
// loads takes as long as running it. A cache of another Node is refused by V8, and the agent starts without.
//
//   node start.cjs                in a guest
//   node start.cjs --make-cache   at build time
import fs = require('node:fs');
import module_ = require('node:module');
import path = require('node:path');
import vm = require('node:vm');
import importUrl = require('./import.cjs');

interface Agent {
  main(importUrl: (url: string) => Promise<unknown>): void;
  rehearse(): Promise<void>;
}

const bundle = path.join(__dirname, '../agent.cjs');
const cache = path.join(__dirname, '../agent.cache');
const make = process.argv.includes('--make-cache');

const script = new vm.Script(module_.wrap(fs.readFileSync(bundle, 'utf8')), {
  filename: bundle,
  ...(!make && fs.existsSync(cache) ? { cachedData: fs.readFileSync(cache) } : {}),
});
const exported = {} as Agent;
(script.runInThisContext() as (...args: unknown[]) => void)(exported, module_.createRequire(bundle), { exports: exported }, bundle, path.dirname(bundle));

if (make) {
  void exported.rehearse().then(() => fs.writeFileSync(cache, script.createCachedData()));
} else {
  exported.main(importUrl);
}
