// scripts/build-addon.mjs on copies of the sources: builds once, then does nothing, and fails with one clear line.
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root, scratchFolder } from './support.js';

/** A checkout with a source that compiles in an instant, and the real build script. */
function checkout(folder: string, source: string): void {
  mkdirSync(join(folder, 'scripts'));
  mkdirSync(join(folder, 'native'));
  cpSync(join(root, 'scripts/build-addon.mjs'), join(folder, 'scripts/build-addon.mjs'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'native/addon.cc'), source);
  writeFileSync(join(folder, 'native/peer.cc'), 'int main() {}\n');
  const peer = `{ "target_name": "daxrig-peer", "type": "executable", "sources": ["native/peer.cc"] }`;
  writeFileSync(join(folder, 'binding.gyp'), `{ "targets": [{ "target_name": "daxrig", "sources": ["native/addon.cc"] }, ${peer}] }\n`);
}

function build(folder: string, env: NodeJS.ProcessEnv = {}): { status: number | null; out: string; err: string; seconds: number } {
  const started = performance.now();
  const run = spawnSync(process.execPath, [join(folder, 'scripts/build-addon.mjs')], { encoding: 'utf8', env: { ...process.env, ...env } });
  return { status: run.status, out: run.stdout, err: run.stderr, seconds: (performance.now() - started) / 1000 };
}

const quiet = { status: 0, out: '', err: '' };

describe('the build script', () => {
  it('builds when something is newer, quietly, and else does nothing', () => {
    using folder = scratchFolder();
    checkout(folder.path, '#include <node_api.h>\nNAPI_MODULE_INIT() { (void)env; return exports; }\n');
    expect(build(folder.path)).toMatchObject(quiet);
    const addon = join(folder.path, 'build/Release/daxrig.node');
    expect(existsSync(addon)).toBe(true);

    const built = statSync(addon).mtimeMs;
    const again = build(folder.path);
    expect(again).toMatchObject(quiet);
    expect(again.seconds).toBeLessThan(2);
    expect(statSync(addon).mtimeMs).toBe(built);

    appendFileSync(join(folder.path, 'native/addon.cc'), '// changed\n');
    const later = new Date(built + 5000);
    utimesSync(join(folder.path, 'native/addon.cc'), later, later);
    expect(build(folder.path)).toMatchObject(quiet);
    expect(statSync(addon).mtimeMs).toBeGreaterThan(built);
  }, 30_000);

  it('shows what the compiler said, and then one line', () => {
    using folder = scratchFolder();
    checkout(folder.path, '#error deliberately broken\n');
    const failed = build(folder.path);
    expect(failed).toMatchObject({ status: 3, out: '' });
    expect(failed.err).toContain('deliberately broken');
    expect(failed.err.trimEnd().split('\n').at(-1)).toMatch(/^daxrig: the addon could not be built: .* needs a C\+\+17 compiler/);
    expect(existsSync(join(folder.path, 'build/.addon.lock'))).toBe(false);
  }, 30_000);

  it('is not stopped by a lock of the dead', () => {
    using folder = scratchFolder();
    checkout(folder.path, '');
    mkdirSync(join(folder.path, 'build'));
    writeFileSync(join(folder.path, 'build/.addon.lock'), '999999999');
    expect(build(folder.path)).toMatchObject(quiet);
  }, 30_000);

  it('says when node-gyp is missing', () => {
    const folder = mkdtempSync(join(tmpdir(), 'daxrig-build-')); // not below node_modules of ours
    try {
      checkout(folder, '');
      rmSync(join(folder, 'node_modules'));
      expect(build(folder)).toMatchObject({ status: 3, err: 'daxrig: node-gyp is not installed: run npm ci in the folder of daxrig\n' });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
