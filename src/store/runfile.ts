// Reads a run directory as the database needs it, and trusts nothing in it: files may be cut off, edited, or of another version.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { codeOf, messageOf } from '../errors.js';
import { OUTCOMES, type Outcome, type ParamValue } from '../run/result.js';
import { environmentOf, type Environment } from './environment.js';

/** complete: run.json was finished. unfinished: the run goes on, or was killed. recovered: from events.ndjson alone. */
export type RunSource = 'complete' | 'unfinished' | 'recovered';

export interface StoredMetric {
  name: string;
  unit: string;
  clock: string;
  samples: Float64Array;
}

export interface StoredResult {
  workload: string;
  params: Record<string, ParamValue>;
  kernel: string;
  outcome: Outcome;
  reason: string | null;
  seconds: number;
  seed: number | null;
  digest: string | null;
  environment: Environment;
  metrics: StoredMetric[];
}

export interface StoredRun {
  run: string;
  digest: string;
  folder: string;
  started: number;
  ended: number | null;
  source: RunSource;
  version: string;
  facts: Record<string, unknown>;
  results: StoredResult[];
  /** What the user should hear of it, one line each. */
  notes: string[];
  /** Metrics that had no usable samples, one line each. */
  leftOut: string[];
}

/** The directory holds no run that can be read; the message says why. */
export class DamagedRun extends Error {
  override name = 'DamagedRun';
}

const RUN_ID = /^\d{8}-\d{6}-[0-9a-f]{6}$/;
const SCHEMA = 'daxrig-run-1';
const CLOCKS = ['wall', 'icount', 'count'];

const isRunFile = (name: string): boolean => name === 'run.json' || name === 'events.ndjson' || /^console-.*\.log$/.test(name);

/** Whether the folder is a run's, be it damaged: then it has at least a console log. */
export function looksLikeRun(folder: string): boolean {
  try {
    return fs.readdirSync(folder).some(isRunFile);
  } catch {
    return false; // a file, or not ours to read: no run that could be imported
  }
}

/**
 * The run in a directory; `known` is given the digest of a run.json, and true ends the reading there with undefined.
 * Throws DamagedRun when nothing can be read of it.
 */
export function readRun(folder: string, known: (digest: string) => boolean = () => false): StoredRun | undefined {
  let text: Buffer | undefined;
  let why: string;
  try {
    text = readFile(folder, 'run.json');
    const digest = sha256(text);
    if (known(digest)) return undefined;
    return fromDocument(folder, parseDocument(text.toString('utf8')), digest);
  } catch (error) {
    if (!(error instanceof DamagedRun)) throw error;
    why = error.message;
  }
  const events = readEvents(folder);
  if (events.results.length === 0) throw new DamagedRun(`${why}${events.missing ? '; no events.ndjson either' : '; events.ndjson holds no result'}`);
  return fromEvents(folder, events, why);
}

const sha256 = (content: crypto.BinaryLike): string => crypto.createHash('sha256').update(content).digest('hex');

function readFile(folder: string, name: string): Buffer {
  const file = path.join(folder, name);
  try {
    // A pipe would be waited on for ever.
    if (!fs.statSync(file).isFile()) throw new DamagedRun(`${name} is no file`);
    return fs.readFileSync(file);
  } catch (error) {
    if (error instanceof DamagedRun) throw error;
    throw new DamagedRun(codeOf(error) === 'ENOENT' ? `no ${name}` : `${name} cannot be read (${codeOf(error) ?? messageOf(error)})`);
  }
}

type Fields = Record<string, unknown>;

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

interface Document {
  run: Fields & { id: string };
  started: number;
  results: Fields[];
}

function parseDocument(text: string): Document {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new DamagedRun(text.trim() === '' ? 'run.json is empty' : 'run.json is not JSON (cut off?)');
  }
  if (!isObject(value) || typeof value.schema !== 'string' || !isObject(value.run)) throw new DamagedRun('run.json is not of a run');
  if (value.schema !== SCHEMA) throw new DamagedRun(`run.json is "${value.schema}", where this daxrig knows "${SCHEMA}"`);
  const { run, results } = value;
  const started = Date.parse(String(run.startedAt));
  if (!textOf(run.id)) throw new DamagedRun('run.json: run.id is missing');
  if (Number.isNaN(started)) throw new DamagedRun('run.json: run.startedAt is no date');
  if (!Array.isArray(results) || !results.every(isObject)) throw new DamagedRun('run.json: results is no list of results');
  return { run: run as Document['run'], started, results };
}

/**
 * run.json of a finished or unfinished run with all its metrics sound, for who judges them, and what each of its results was measured
 * under. Throws DamagedRun, naming what is wrong.
 */
export function readSoundDocument(folder: string): { document: object; environments: Environment[] } {
  const document = parseDocument(readFile(folder, 'run.json').toString('utf8'));
  document.results.forEach(({ id, metrics }, i) => {
    const [refused] = metricsOf(metrics).refused;
    if (refused !== undefined) throw new DamagedRun(`run.json: results[${i}] ${textOf(id) ?? ''}: ${refused.replace(/; left out$/, '')}`);
    if (!textOf(id)) throw new DamagedRun(`run.json: results[${i}].id is missing`);
  });
  const { host, guests } = document.run;
  if (!isObject(host) || !Array.isArray(guests)) throw new DamagedRun('run.json: run.host or run.guests is missing');
  const { results } = document;
  const labels = results.some(({ accel }) => accel === undefined) ? labelsFor(results, readEvents(folder)) : [];
  const surroundings = surroundingsOf(document.run, textOf(document.run.version) ?? '');
  return { document: { schema: SCHEMA, run: document.run, results }, environments: results.map((result, i) => environmentIn(surroundings, result, labels[i])) };
}

interface EventLog {
  missing: boolean;
  digest: string;
  /** Of the first event. */
  started: number;
  /** Stable name for a run that has no other. */
  name: string;
  /** In the order of run.json. */
  results: { label: string | undefined; result: Fields }[];
  /** Unreadable lines before the last. */
  torn: number;
}

/** The results in events.ndjson: each line was written as a whole, but for the last one of a run that was killed. */
function readEvents(folder: string): EventLog {
  let content: Buffer;
  try {
    content = readFile(folder, 'events.ndjson');
  } catch (error) {
    if (!(error instanceof DamagedRun)) throw error;
    return { missing: true, digest: '', started: NaN, name: '', results: [], torn: 0 };
  }
  const lines = content.toString('utf8').split('\n');
  const found: { batch: number; index: number; label: string | undefined; result: Fields }[] = [];
  /** Labels of the present batch by index; a comparison runs batch after batch, each counting from 0. */
  let labels = new Map<number, string | undefined>();
  let batch = 0;
  let started = NaN;
  let torn = 0;
  lines.forEach((line, number) => {
    if (line === '' || (number > 0 && !/"type":"(?:result|begin)"/.test(line))) return;
    let event: unknown;
    try {
      event = JSON.parse(line);
    } catch {
      if (number < lines.length - 1) torn++;
      return;
    }
    if (!isObject(event)) return;
    if (number === 0) started = Date.parse(String(event.at));
    const { type, index, label, result } = event;
    if (type === 'begin' && typeof index === 'number') {
      if (labels.has(index)) {
        batch++;
        labels = new Map();
      }
      labels.set(index, textOf(label));
    }
    if (type !== 'result' || !isObject(result) || !textOf(result.workload)) return;
    // A boot that went wrong has no index: it stands between the batches, as in run.json.
    if (typeof index === 'number') found.push({ batch, index, label: labels.get(index), result });
    else found.push({ batch: labels.size === 0 ? -1 : batch, index: Infinity, label: undefined, result });
  });
  const results = found.sort((a, b) => a.batch - b.batch || (a.index === b.index ? 0 : a.index - b.index)).map(({ label, result }) => ({ label, result }));
  return { missing: false, digest: sha256(content), started, name: `events-${sha256(lines[0]!).slice(0, 12)}`, results, torn };
}

/** Labels of results, from the events of the same run; none where those are fewer or more. */
function labelsFor(results: readonly Fields[], events: EventLog | undefined): readonly (string | undefined)[] {
  return events?.results.length === results.length ? events.results.map(({ label }) => label) : [];
}

function fromDocument(folder: string, { run, started, results }: Document, digest: string): StoredRun {
  const finished = textOf(run.endedAt);
  const local = results.some(({ accel }) => accel === undefined);
  const events = finished === undefined || local ? readEvents(folder) : undefined;
  // The event of a result is written before run.json is.
  const late = finished === undefined && events !== undefined && events.results.length > results.length;
  const list = late ? events.results.map(({ result }) => result) : results;
  const labels = labelsFor(list, events);
  const base = emptyRun(folder, run.id, started, textOf(run.version) ?? '');
  const notes = late ? [`run.json lacked ${events.results.length - results.length} of ${events.results.length} results; taken from events.ndjson`] : [];
  const { id: _, startedAt: _s, endedAt: _e, folder: _f, version: _v, guests, ...rest } = run;
  return withResults(
    {
      ...base,
      digest: finished === undefined ? `${digest}+${events!.digest}` : digest,
      ended: finished === undefined ? null : Date.parse(finished) || null,
      source: finished === undefined ? 'unfinished' : 'complete',
      facts: { ...rest, guests: Array.isArray(guests) ? guests.filter(isObject).map(guestFacts) : [] },
      notes,
    },
    run,
    list,
    labels,
  );
}

/** What a boot logged stays in the run directory; what the guest was is kept. */
function guestFacts({ boot, facts, ...guest }: Fields): Fields {
  return { ...guest, ...(isObject(boot) ? { bootSeconds: boot.seconds } : {}), ...(isObject(facts) ? { cmdline: facts.cmdline } : {}) };
}

function fromEvents(folder: string, events: EventLog, why: string): StoredRun {
  const basename = path.basename(folder);
  const started = Number.isNaN(events.started) ? fs.statSync(path.join(folder, 'events.ndjson')).mtimeMs : events.started;
  const base = emptyRun(folder, RUN_ID.test(basename) ? basename : events.name, Math.round(started), '');
  const torn = events.torn === 0 ? '' : `; ${events.torn} unreadable line${events.torn === 1 ? '' : 's'}`;
  const notes = [`${why}; ${events.results.length} result${events.results.length === 1 ? '' : 's'} recovered from events.ndjson${torn}`];
  return withResults({ ...base, digest: `+${events.digest}`, source: 'recovered', notes }, {}, events.results.map(({ result }) => result), events.results.map(({ label }) => label));
}

const emptyRun = (folder: string, run: string, started: number, version: string): StoredRun => ({
  run,
  digest: '',
  folder,
  started,
  ended: null,
  source: 'complete',
  version,
  facts: {},
  results: [],
  notes: [],
  leftOut: [],
});

/** What a whole run was measured under. */
interface Surroundings {
  host: Fields;
  guests: Fields[];
  command: string[];
  version: string;
}

const surroundingsOf = (run: Fields, version: string): Surroundings => ({
  host: isObject(run.host) ? run.host : {},
  guests: Array.isArray(run.guests) ? run.guests.filter(isObject) : [],
  command: Array.isArray(run.command) ? run.command.map(String) : [],
  version,
});

/** What one of its results was measured under; `label` names the device of a local one. */
function environmentIn({ guests, ...run }: Surroundings, { kernel, accel, layout, clock }: Fields, label: string | undefined): Environment {
  return environmentOf({
    ...run,
    guest: guests.find((guest) => guest.kernel === kernel && (!isObject(guest.layout) || textOf(layout) === undefined || guest.layout.name === layout)),
    clock: clock === 'icount' ? 'icount' : 'wall',
    accel: textOf(accel),
    layout: textOf(layout),
    device: textOf(accel) === undefined ? label : undefined,
  });
}

function withResults(base: StoredRun, run: Fields, list: readonly Fields[], labels: readonly (string | undefined)[]): StoredRun {
  const surroundings = surroundingsOf(run, base.version);
  const leftOut: string[] = [];
  const results = list.map((result, i): StoredResult => {
    const { workload, kernel, outcome, params } = result;
    if (!textOf(workload)) throw new DamagedRun(`results[${i}].workload is missing`);
    if (typeof kernel !== 'string') throw new DamagedRun(`results[${i}].kernel is missing`);
    if (!OUTCOMES.includes(outcome as Outcome)) throw new DamagedRun(`results[${i}].outcome is ${JSON.stringify(outcome) ?? 'missing'}`);
    const { metrics, refused } = metricsOf(result.metrics);
    leftOut.push(...refused.map((reason) => `results[${i}] ${String(workload)}: ${reason}`));
    return {
      workload: workload as string,
      params: isObject(params) ? (params as Record<string, ParamValue>) : {},
      kernel,
      outcome: outcome as Outcome,
      reason: textOf(result.reason) ?? null,
      seconds: typeof result.seconds === 'number' ? result.seconds : 0,
      seed: Number.isSafeInteger(result.seed) ? (result.seed as number) : null,
      digest: textOf(result.digest) ?? null,
      environment: environmentIn(surroundings, result, labels[i]),
      metrics,
    };
  });
  return { ...base, results, leftOut };
}

/** The metrics that have samples; those of one name, unit and clock are one. `refused`: what is wrong with the others. */
function metricsOf(value: unknown): { metrics: StoredMetric[]; refused: string[] } {
  if (value === undefined) return { metrics: [], refused: [] };
  if (!Array.isArray(value)) return { metrics: [], refused: ['metrics is no list'] };
  const found = new Map<string, { name: string; unit: string; clock: string; samples: number[] }>();
  const refused: string[] = [];
  value.forEach((metric: unknown, i) => {
    const problem = problemOf(metric);
    if (problem !== undefined) {
      const name = isObject(metric) && textOf(metric.name) ? `metric "${String(metric.name)}"` : `metrics[${i}]`;
      refused.push(`${name}: ${problem}; left out`);
      return;
    }
    const { name, unit, clock, samples } = metric as { name: string; unit: string; clock: string; samples: number[] };
    const key = JSON.stringify([name, unit, clock]);
    const same = found.get(key);
    if (same) same.samples = [...same.samples, ...samples];
    else if (samples.length > 0) found.set(key, { name, unit, clock, samples });
  });
  return { metrics: [...found.values()].map((metric) => ({ ...metric, samples: Float64Array.from(metric.samples) })), refused };
}

function problemOf(metric: unknown): string | undefined {
  if (!isObject(metric)) return 'no metric';
  const { name, unit, clock, samples } = metric;
  if (!textOf(name)) return 'name is missing';
  if (typeof unit !== 'string') return 'unit is missing';
  if (!CLOCKS.includes(clock as string)) return `clock is ${JSON.stringify(clock) ?? 'missing'}, not ${CLOCKS.join(', ')}`;
  if (!Array.isArray(samples)) return 'samples is no list';
  const bad = samples.findIndex((sample) => typeof sample !== 'number' || !Number.isFinite(sample) || sample < 0);
  return bad < 0 ? undefined : `samples[${bad}] is ${JSON.stringify(samples[bad])}, no measurement`;
}
