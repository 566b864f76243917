// Builds the addon with node-gyp, unless it is newer than all it is made of.
//
//   node scripts/build-addon.mjs [--sanitize] [--force]
//
// --sanitize builds the variant with ASan and UBSan into build/sanitize/, beside the normal one. Quiet unless it fails.
// Node's headers are those beside the node that runs; only where there are none does node-gyp fetch them.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sanitize = process.argv.includes('--sanitize');
const force = process.argv.includes('--force');
const folder = sanitize ? join(root, 'build', 'sanitize') : root;
const addon = join(folder, 'build', 'Release', 'daxrig.node');
const peer = join(folder, 'build', 'Release', 'daxrig-peer');

function fail(message, output = '') {
  if (output !== '') process.stderr.write(output.endsWith('\n') ? output : `${output}\n`);
  process.stderr.write(`daxrig: ${message}\n`);
  process.exit(3);
}

function upToDate() {
  if (force || ![addon, peer].every((file) => existsSync(file))) return false;
  const sources = readdirSync(join(root, 'native')).map((name) => join('native', name));
  const built = Math.min(statSync(addon).mtimeMs, statSync(peer).mtimeMs);
  return [...sources, 'binding.gyp', 'scripts/build-addon.mjs'].every((path) => statSync(join(root, path)).mtimeMs < built);
}

/** Node's installation folder, if it brought its headers along; they always fit the node that runs. */
function headers() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? prefix : undefined;
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** One build at a time in one checkout: a second one waits, and then mostly finds nothing left to do. */
function lock() {
  mkdirSync(join(root, 'build'), { recursive: true });
  const path = join(root, 'build', '.addon.lock');
  for (let waited = 0; ; waited += 100) {
    try {
      const fd = openSync(path, 'wx');
      writeSync(fd, String(process.pid));
      closeSync(fd);
      process.on('exit', () => rmSync(path, { force: true }));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') fail(`cannot build the addon: ${path} cannot be written (${error.code})`);
    }
    let owner = NaN;
    try {
      owner = Number.parseInt(readFileSync(path, 'utf8'), 10);
    } catch {
      continue; // it was just released
    }
    // No number yet: its owner is about to write it; a second later it died before it could.
    if (Number.isNaN(owner) ? waited > 1000 : !alive(owner)) rmSync(path, { force: true });
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
}

function gyp(command, definitions = []) {
  const require = createRequire(import.meta.url);
  let script;
  try {
    script = require.resolve('node-gyp/bin/node-gyp.js');
  } catch {
    fail('node-gyp is not installed: run npm ci in the folder of daxrig');
  }
  const nodedir = headers();
  const result = spawnSync(
    process.execPath,
    [
      script, command, '--directory', folder, '--jobs', 'max', ...(nodedir === undefined ? [] : ['--nodedir', nodedir]),
      ...(definitions.length === 0 ? [] : ['--', ...definitions]),
    ],
    { cwd: folder, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  );
  if (result.error !== undefined) fail(`node-gyp could not be run: ${result.error.message}`);
  if (result.status !== 0)
    fail(
      'the addon could not be built: see the output above; it needs a C++17 compiler, make and python3 (Debian: g++ make python3)',
      `${result.stdout}${result.stderr}`,
    );
}

if (!upToDate()) {
  lock();
  if (!upToDate()) {
    if (sanitize) {
      mkdirSync(folder, { recursive: true });
      for (const name of ['binding.gyp', 'native'])
        if (!existsSync(join(folder, name))) symlinkSync(join('..', '..', name), join(folder, name));
    }
    // Every time: a Makefile that makes itself anew, because binding.gyp is newer, leaves one whose paths lead nowhere.
    gyp('configure', sanitize ? ['-Dsanitize=1'] : []);
    gyp('build');
    // What make found no need to link again is as new as the rest.
    for (const file of [addon, peer]) utimesSync(file, new Date(), new Date());
  }
}
