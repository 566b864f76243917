// Makes the agent's startup snapshot: Node's heap with the bundle compiled and evaluated, which saves a guest half of what starting
// the agent takes. Run by scripts/bundle.mjs, as the builder that node --build-snapshot-config names. Node evaluates it as the body of a
// function, with a require() for what is built in.
const fs = require('node:fs');
const module_ = require('node:module');
const os = require('node:os');
const path = require('node:path');
const v8 = require('node:v8');
const vm = require('node:vm');

const dist = path.join(__dirname, '../dist');
// Where the program is in every guest: the snapshot is made here, for there.
const inGuest = '/daxrig/dist/agent.cjs';

const script = new vm.Script(module_.wrap(fs.readFileSync(path.join(dist, 'agent.cjs'), 'utf8')), { filename: inGuest, cachedData: fs.readFileSync(path.join(dist, 'agent.cache')) });
const agent = {};
script.runInThisContext()(agent, require, { exports: agent }, inGuest, path.dirname(inGuest));

v8.startupSnapshot.setDeserializeMainFunction(() => {
  forgetThisMachine();
  agent.main(module_.createRequire(inGuest)('./guest/import.cjs'));
});

/** What Node's own modules have looked up once, here, and would tell a guest; and what a child process must not start with. */
function forgetThisMachine() {
  process.execArgv = process.execArgv.filter((word, i, words) => word !== '--snapshot-blob' && words[i - 1] !== '--snapshot-blob');
  process.chdir('.'); // drops the working folder that was remembered
  const kernel = (name) => fs.readFileSync(`/proc/sys/kernel/${name}`, 'utf8').trim();
  const [type, release, version] = ['ostype', 'osrelease', 'version'].map(kernel);
  Object.assign(os, { type: () => type, release: () => release, version: () => version });
  module_.syncBuiltinESMExports();
}
