// The boot judged: a pause made on purpose is found, with the lines on both sides; a kernel that dies is the kernel's fault.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { guestsOf, runJson, start, temporary, until } from './daxrig.js';

const folder = temporary('boot');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const cacheRoot = process.env.DAXRIG_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME ?? '/root', '.cache'), 'daxrig');

/** The saved guest whose kernel command line holds a mark. */
function stateWith(mark: string): string {
  const states = path.join(cacheRoot, 'states');
  const logs = fs.readdirSync(states).map((name) => path.join(states, name, 'console.log'));
  return path.dirname(logs.find((log) => fs.existsSync(log) && fs.readFileSync(log, 'utf8').includes(mark))!);
}

it('a kernel stalled on purpose: kernel/boot fails with the gap, and the next run boots anew', async () => {
  const mark = `daxrig.stalled=${Date.now()}`; // a boot of its own, never a cached one
  const args = ['kernel/boot', '--append', mark, '--guest-cpus', '1'];
  const started = start(['run', ...args, '--out', path.join(folder, 'stalled'), '--json']);
  // Stopped while its kernel boots, the guest's clock goes on without it; before its TSC is calibrated it would not.
  const pid = await until(() => guestsOf(mark).find((guest) => /states\/\w+\.new-/.test(fs.readFileSync(`/proc/${guest}/cmdline`, 'utf8'))), 'the boot');
  const log = /path=([^\0]*console\.log)/.exec(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8'))![1]!;
  await until(() => (fs.existsSync(log) && fs.readFileSync(log, 'utf8').includes('Switched to clocksource tsc-early') ? true : undefined), 'the kernel\'s clock to run');
  process.kill(pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 8000));
  process.kill(pid, 'SIGCONT');
  const { code, stdout } = await started.ended;
  const { results } = JSON.parse(stdout) as { results: { workload: string; outcome: string; reason: string }[] };
  expect(results.map(({ workload, outcome }) => `${workload} ${outcome}`)).toEqual(['kernel/boot fail']);
  expect(results[0]!.reason).toMatch(/should not pause: \d+\.\d s passed between ".+" and ".+"/);
  expect(Number(/(\d+\.\d) s passed/.exec(results[0]!.reason)![1])).toBeGreaterThan(6);
  expect(code).toBe(1);

  const again = await runJson([...args, '--out', path.join(folder, 'again')]);
  expect(again.document.results.map(({ outcome, reason }) => reason ?? outcome)).toEqual(['pass']);
  fs.rmSync(stateWith(mark), { recursive: true });
});

it('a kernel that panics before user space fails as the kernel\'s, with its title, and bisects', async () => {
  const { code, document } = await runJson(['kpageflags/*', '--append', 'rdinit=/nowhere init=/nowhere root=/dev/none', '--bisect', '--out', path.join(folder, 'panic')]);
  expect(document.results.map(({ workload, outcome }) => `${workload} ${outcome}`)).toEqual(['kernel/boot fail']);
  expect(document.results[0]!.reason).toMatch(/panic/i);
  expect(code).toBe(1);
  expect(fs.readFileSync(path.join(folder, 'panic', `console-boot-${document.results[0]!.kernel}-default.log`), 'utf8')).toMatch(/Kernel panic/);
});

it('a saved state that was damaged is noticed and made again', async () => {
  const args = ['kpageflags/walk', '--append', 'daxrig.damaged'];
  expect((await runJson([...args, '--out', path.join(folder, 'first')])).code).toBe(0);
  const mine = stateWith('daxrig.damaged');
  fs.truncateSync(path.join(mine, 'state'), 1000);
  const second = await runJson([...args, '--out', path.join(folder, 'second')]);
  expect(second.stderr).toMatch(/was changed after it was saved \(state\): booting it again/);
  expect(second.document.results.map(({ outcome, reason }) => reason ?? outcome)).toEqual(['pass']);
  fs.rmSync(mine, { recursive: true });
});
