import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DamagedRun, readRun } from '../../src/store/runfile.js';
import { eventLines, program, result, runDocument, scratch, writeRun, type RunSpec } from './support.js';

function folderWith(files: Record<string, string>, name = 'run'): string {
  const folder = path.join(scratch(), name);
  fs.mkdirSync(folder);
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, file), text);
  return folder;
}

const read = (spec: RunSpec) => readRun(writeRun(scratch(), spec))!;
const environment = (spec: RunSpec) => read(spec).results[0]!.environment;

describe('a run directory', () => {
  it('is read as it was written', () => {
    const run = read({ id: '20260101-000000-aaaaaa', started: '2026-01-01T10:00:00.000Z', results: [result(), result({ outcome: 'fail', samples: {} })] });
    expect(run).toMatchObject({ run: '20260101-000000-aaaaaa', started: Date.UTC(2026, 0, 1, 10), source: 'complete', version: '0.1.0', notes: [], leftOut: [] });
    expect(run.results.map(({ outcome, reason, metrics }) => [outcome, reason, metrics.length])).toEqual([['pass', null, 1], ['fail', 'because', 0]]);
    expect([...run.results[0]!.metrics[0]!.samples]).toEqual([100, 110, 90]);
  });

  it('that is known by its digest is read no further', () => {
    const folder = writeRun(scratch());
    const digest = readRun(folder)!.digest;
    expect(readRun(folder, (given) => given === digest)).toBeUndefined();
  });

  it('joins what a workload gave in parts, and leaves out what is no measurement', () => {
    const twice = result();
    twice.metrics = [...twice.metrics, ...result().metrics, { name: 'empty', unit: 'ns', clock: 'wall', samples: [] }];
    const bad = result({ samples: { null: [1, null], negative: [-1], text: ['1'], fine: [0] } });
    bad.metrics.push({ name: 'clockless', unit: 'ns', clock: 'sundial' as 'wall', samples: [1] }, 7 as never);
    const run = read({ results: [twice, bad] });
    expect(run.results[0]!.metrics.map(({ name, samples }) => [name, samples.length])).toEqual([['first write', 6]]);
    expect(run.results[1]!.metrics.map(({ name }) => name)).toEqual(['fine']);
    expect(run.leftOut).toEqual([
      'results[1] fsdax/faults: metric "null": samples[1] is null, no measurement; left out',
      'results[1] fsdax/faults: metric "negative": samples[0] is -1, no measurement; left out',
      'results[1] fsdax/faults: metric "text": samples[0] is "1", no measurement; left out',
      'results[1] fsdax/faults: metric "clockless": clock is "sundial", not wall, icount, count; left out',
      'results[1] fsdax/faults: metrics[5]: no metric; left out',
    ]);
  });
});

describe('a damaged run directory', () => {
  const whole = JSON.stringify(runDocument());
  it.each<[string, Record<string, string>, string]>([
    ['nothing but a console', { 'console-1.log': 'x' }, 'no run.json; no events.ndjson either'],
    ['an empty run.json', { 'run.json': '' }, 'run.json is empty; no events.ndjson either'],
    ['a run.json cut off', { 'run.json': whole.slice(0, 200), 'events.ndjson': '' }, 'run.json is not JSON (cut off?); events.ndjson holds no result'],
    ['other JSON', { 'run.json': '[1]' }, 'run.json is not of a run; no events.ndjson either'],
    ['a later schema', { 'run.json': whole.replace('daxrig-run-1', 'daxrig-run-2') }, 'run.json is "daxrig-run-2", where this daxrig knows "daxrig-run-1"; no events.ndjson either'],
    ['no id', { 'run.json': whole.replace(/"id":"2026[^"]*"/, '"id":""') }, 'run.json: run.id is missing; no events.ndjson either'],
    ['no date', { 'run.json': whole.replace(/"startedAt":"[^"]*"/, '"startedAt":"once"') }, 'run.json: run.startedAt is no date; no events.ndjson either'],
    ['an unknown outcome', { 'run.json': whole.replace('"pass"', '"great"') }, 'results[0].outcome is "great"; no events.ndjson either'],
    ['a result without a kernel', { 'run.json': whole.replace(/"kernel":"6.1.0-40-amd64","outcome"/, '"outcome"') }, 'results[0].kernel is missing; no events.ndjson either'],
    ['events without a result', { 'events.ndjson': '{"at":"2026-01-01T00:00:00Z","type":"begin","index":0}\n' }, 'no run.json; events.ndjson holds no result'],
  ])('with %s is refused', (_, files, message) => {
    const folder = folderWith(files);
    expect(() => readRun(folder)).toThrow(DamagedRun);
    expect(() => readRun(folder)).toThrow(message);
  });

  it('whose run.json is a folder is refused', () => {
    const folder = folderWith({});
    fs.mkdirSync(path.join(folder, 'run.json'));
    expect(() => readRun(folder)).toThrow('run.json is no file');
  });
});

describe('a run that was killed', () => {
  const results = ['a/one', 'a/two', 'a/three'].map((workload) => result({ workload }));

  it('gives the results of its events when there is no run.json, but for a torn last line', () => {
    const text = eventLines(results);
    const run = readRun(folderWith({ 'events.ndjson': text.slice(0, -20) }, '20260102-030405-abcdef'))!;
    expect(run).toMatchObject({ run: '20260102-030405-abcdef', source: 'recovered', started: Date.UTC(2026, 0, 1) });
    expect(run.results.map(({ workload }) => workload)).toEqual(['a/one', 'a/two']);
    expect(run.notes).toEqual(['no run.json; 2 results recovered from events.ndjson']);
    // What it ran on is known to run.json alone: such samples are compared with none but their like.
    expect(run.results[0]!.environment).toEqual({ clock: 'wall', target: 'guest', accel: 'tcg', layout: 'default' });
  });

  it('has one name however often it is read, also in a folder of another name', () => {
    const text = eventLines(results);
    const names = [text, text, eventLines(results, '2026-01-02T00:00:00.000Z')].map((events) => readRun(folderWith({ 'events.ndjson': events }))!.run);
    expect(names[0]).toMatch(/^events-[0-9a-f]{12}$/);
    expect(names[1]).toBe(names[0]);
    expect(names[2]).not.toBe(names[0]);
  });

  it('gives the results that run.json lacks, a failed boot first', () => {
    const boot = result({ workload: 'kernel/boot', outcome: 'fail', samples: {} });
    const document = runDocument({ results: [boot, results[0]!], ended: false });
    const events = `${JSON.stringify({ at: 'x', type: 'result', result: boot })}\n${eventLines(results)}`;
    const run = readRun(folderWith({ 'run.json': JSON.stringify(document), 'events.ndjson': events }))!;
    expect(run.source).toBe('unfinished');
    expect(run.results.map(({ workload }) => workload)).toEqual(['kernel/boot', 'a/one', 'a/two', 'a/three']);
    expect(run.results[3]!.environment).toMatchObject({ cpu: 'Some CPU', qemu: '7.2.22' });
    expect(run.notes).toEqual(['run.json lacked 2 of 4 results; taken from events.ndjson']);
  });

  it('gives the results of all batches of a comparison', () => {
    const boot = result({ workload: 'kernel/boot', outcome: 'fail', samples: {} });
    const batch = (names: string[], order: number[]) => {
      const events = eventLines(names.map((workload) => result({ workload }))).trimEnd().split('\n');
      return [...events.filter((line) => line.includes('"begin"')), ...order.map((index) => events.filter((line) => line.includes('"result"'))[index]!)];
    };
    const events = [...batch(['a/one', 'a/two'], [1, 0]), JSON.stringify({ at: 'x', type: 'result', result: boot }), ...batch(['b/one', 'b/two'], [0, 1]), ''].join('\n');
    expect(readRun(folderWith({ 'events.ndjson': events }))!.results.map(({ workload }) => workload)).toEqual(['a/one', 'a/two', 'kernel/boot', 'b/one', 'b/two']);
  });

  it('loses no result that was written, whenever SIGKILL comes', async () => {
    const folder = path.join(scratch(), 'run');
    const script = `
      import { RunDirectory } from ${JSON.stringify(path.join(program(), 'dist/store/rundir.js'))};
      const document = ${JSON.stringify(runDocument({ results: [], ended: false }))};
      const directory = RunDirectory.create(${JSON.stringify(folder)});
      directory.save(document);
      for (let index = 0; ; index++) {
        const result = { ...${JSON.stringify(result())}, params: { index } };
        directory.event({ type: 'begin', index, label: 'x' });
        directory.event({ type: 'result', index, result });
        process.stdout.write(index + '\\n');
        document.results.push(result);
        directory.save(document);
      }`;
    for (const patience of [1, 40, 200]) {
      fs.rmSync(folder, { recursive: true, force: true });
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.split('\n').length > patience) child.kill('SIGKILL');
      });
      await once(child, 'close');
      const last = Number(said.trimEnd().split('\n').at(-1));
      const run = readRun(folder)!;
      expect(run.results.length).toBeGreaterThanOrEqual(last + 1);
      expect(run.results.map(({ params }) => params.index)).toEqual(run.results.map((_, i) => i));
    }
  });
});

describe('the environment of a result', () => {
  it('holds what makes samples comparable, and not the kernel', () => {
    expect(environment({ host: { microcode: '0x1', governor: 'performance', machine: 'Maker Model' }, command: ['run', '--append', 'mitigations=off'] })).toEqual({
      clock: 'wall', target: 'guest', machine: 'Maker Model', cpu: 'Some CPU', microcode: '0x1', governor: 'performance', accel: 'tcg', qemu: '7.2.22',
      layout: expect.stringMatching(/^default [0-9a-f]{8}$/) as string, cpus: '2', append: 'mitigations=off', harness: '0.1',
    });
  });

  it('of counted instructions leaves the machine out', () => {
    const counted = [result({ clock: 'icount' })];
    expect(environment({ results: counted, host: { cpu: 'One' } })).toEqual(environment({ results: counted, host: { cpu: 'Another', microcode: '0x2' } }));
    expect(environment({ host: { cpu: 'One' } })).not.toEqual(environment({ host: { cpu: 'Another' } }));
  });

  it('tells layouts of one name apart by what they are', () => {
    const layout = (memory: number, about: string) => environment({ guest: { layout: { name: 'default', about, memory } } }).layout;
    expect(layout(1, 'a')).toBe(layout(1, 'b'));
    expect(layout(1, 'a')).not.toBe(layout(2, 'a'));
  });

  it('follows the minor version of daxrig, not the patch', () => {
    expect(environment({ version: '0.1.7' }).harness).toBe('0.1');
  });

  it('of a local target has the device, and the CPUs of the machine', () => {
    expect(environment({ results: [result({ accel: null })] })).toEqual({ clock: 'wall', target: 'local', cpu: 'Some CPU', cpus: '8', device: '/dev/dax0.0', harness: '0.1' });
  });
});
