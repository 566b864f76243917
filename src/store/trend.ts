// What stored sessions say: how a metric went, where its level changed, and whether the newest session is like the others.
// The judgements are those of src/regress; here is decided what is put before them.
import { changePoints, history, type HistoryResult } from '../regress/index.js';
import { kernelLine, type Series, type Session, type SessionFilter, type SessionReader } from './history.js';

export type Better = 'lower' | 'higher' | 'neither';

export interface TrendOptions extends SessionFilter {
  /** Each kernel line (6.1, 6.18) is a trend of its own. Default: where one run measured several lines. */
  perKernel?: boolean;
  /** Newest sessions wanted. Default: all. */
  limit?: number;
  /** Look for change points; default true. */
  changes?: boolean;
}

export interface Change {
  /** Index into `sessions` of the first session at the new level. */
  index: number;
  before: number;
  after: number;
  shift: number;
}

export interface Trend {
  series: Series;
  /** The kernel line, where it is one of several. */
  line?: string;
  /** Oldest first. */
  sessions: Session[];
  /** The limit left older ones out. */
  older: boolean;
  changes: Change[];
}

/** Sessions that change points are looked for in: more than are shown, so that the first shown stand in their context. */
const CONTEXT = 128;
/** Stored sessions that a new one is judged by; history() looks at no more. */
const REMEMBERED = 60;

/** The trends of a series that have sessions; none when the filter leaves nothing. */
export function trendsOf(reader: SessionReader, series: Series, { perKernel, limit = Infinity, changes: look = true, ...filter }: TrendOptions): Trend[] {
  const wanted = Math.max(limit, CONTEXT);
  return read(reader, series, filter, perKernel, wanted + 1).map(([line, sessions]) => {
    const shown = sessions.slice(-limit);
    const left = sessions.length - shown.length;
    const from = limit === Infinity ? 0 : Math.max(0, sessions.length - wanted);
    const changes = changePoints(look ? sessions.slice(from).map(({ median }) => [median]) : [])
      .map(({ index, ...change }) => ({ ...change, index: index + from - left }))
      .filter(({ index }) => index >= 0);
    return { series, ...(line === undefined ? {} : { line }), sessions: shown, older: left > 0, changes };
  });
}

/** At least the newest `count` sessions of every trend of the series. */
function read(reader: SessionReader, series: Series, filter: SessionFilter, perKernel: boolean | undefined, count: number): [line: string | undefined, sessions: Session[]][] {
  const newest = linesOf(reader.sessions(series, filter, count), perKernel);
  // Where there are several lines, the newest of all are not the newest of each.
  return newest.length === 1 && newest[0]![0] === undefined ? newest : linesOf(reader.sessions(series, filter), perKernel);
}

/** Sessions as one trend, or by kernel line. Lines measured side by side, again and again, are no steps of one trend. */
function linesOf(sessions: Session[], perKernel: boolean | undefined): [line: string | undefined, sessions: Session[]][] {
  const lines = new Map<string, Session[]>();
  const ofRun = new Map<string, string>();
  let mixed = false;
  for (const session of sessions) {
    const line = kernelLine(session.kernel);
    const list = lines.get(line);
    if (list) list.push(session);
    else lines.set(line, [session]);
    if ((ofRun.get(session.run) ?? line) !== line) mixed = true;
    ofRun.set(session.run, line);
  }
  if (sessions.length === 0) return [];
  return (perKernel ?? mixed) ? [...lines] : [[undefined, sessions]];
}

export interface Check extends HistoryResult {
  series: Series;
  line?: string;
  candidate: Session;
  better: Better;
  /** The run from which on the stored sessions are at their present level. */
  level: string | undefined;
  /** This session's level was accepted: later ones are judged by it. */
  accepted: boolean;
  /** The shift is for the worse, the metric has a worse, and nobody has accepted it. */
  regressed: boolean;
}

export interface CheckOptions extends TrendOptions {
  better: (series: Series) => Better;
}

/** The newest session of each trend against those before it. `since` leaves out trends without a session since then, nothing else. */
export function checkSeries(reader: SessionReader, series: Series, { better: betterOf, since, perKernel, kernels }: CheckOptions): Check[] {
  const better = betterOf(series);
  const trends = read(reader, series, kernels === undefined ? {} : { kernels }, perKernel, REMEMBERED + 1);
  return trends.flatMap(([line, sessions]) => {
    const candidate = sessions.at(-1)!;
    if (since !== undefined && candidate.started < since) return [];
    const stored = sessions.slice(-1 - REMEMBERED, -1);
    const isAccepted = reader.accepted(series);
    const accepted = stored.flatMap((session, i) => (isAccepted(session) ? [i] : []));
    const numbers = (session: Session): number[] => [...reader.samples(series, session)];
    const verdict = history({
      id: seriesTitle(series, line),
      // Counts, too, repeat exactly or have changed.
      clock: series.clock === 'wall' ? 'wall' : 'icount',
      sessions: stored.map(numbers),
      candidate: numbers(candidate),
      direction: better === 'higher' ? 'higher' : 'lower',
      accepted,
    });
    const known = isAccepted(candidate);
    return [{ ...verdict, level: stored[verdict.since]?.run, series, ...(line === undefined ? {} : { line }), candidate, better, accepted: known, regressed: verdict.verdict === 'regressed' && better !== 'neither' && !known }];
  });
}

/** Name, parameters and, where it is one of several, the kernel line. */
export function seriesTitle({ name, params }: Series, line?: string): string {
  const words = Object.entries(params).map(([key, value]) => `${key}=${String(value)}`);
  return [name, words.join(','), line].filter(Boolean).join(' ');
}
