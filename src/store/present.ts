// Trends and verdicts as people read them, as JSON and as CSV.
import { UNBOUNDED } from '../regress/index.js';
import { formatValue } from '../units.js';
import { describeEnvironment, ENVIRONMENT_FIELDS } from './environment.js';
import type { Session } from './history.js';
import { seriesTitle, type Check, type Trend } from './trend.js';

const dateOf = ({ started }: Session): string => new Date(started).toISOString();
/** To the minute, UTC. */
const shortDate = (session: Session): string => dateOf(session).slice(0, 16).replace('T', ' ');

const percent = (share: number): string => `${(share * 100).toFixed(Math.abs(share) < 0.0995 ? 2 : 1)}%`;
const signedPercent = (share: number): string => (Math.abs(share) >= 10 ? `x${formatValue(1 + share)}` : `${share > 0 ? '+' : ''}${percent(share)}`);

const BARS = '▁▂▃▄▅▆▇█';

/** Heights between the least and the greatest value; one height for values that do not differ. */
export function sparkline(values: readonly number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return values.map((value) => BARS[high > low ? Math.round(((value - low) / (high - low)) * (BARS.length - 1)) : 0]).join('');
}

/** Columns of one width each; those named in `left` are text. */
function table(head: readonly string[], rows: readonly (readonly string[])[], left: readonly number[]): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  return [head, ...rows].map((row) => row.map((cell, i) => (left.includes(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd());
}

/** One series: what it is, its sessions, and a line of their medians. */
export function trendText({ series, line, sessions, older, changes }: Trend): string {
  const level = new Map(changes.map((change) => [change.index, change]));
  const rows = sessions.map((session, i) => {
    const { kernel, n, median, q1, q3 } = session;
    const previous = sessions[i - 1]?.median;
    const change = level.get(i);
    return [
      kernel,
      shortDate(session),
      String(n),
      formatValue(median),
      median === 0 ? '' : percent((q3 - q1) / median),
      previous === undefined || previous === 0 ? '' : previous === median ? '=' : signedPercent(median / previous - 1),
      change === undefined ? '' : `new level: ${formatValue(change.before)} -> ${formatValue(change.after)} (${signedPercent(change.shift)})`,
    ];
  });
  const out = [`${seriesTitle(series, line)}  (${series.unit}, ${series.clock})`, `  ${describeEnvironment(series.environment)}`];
  out.push(...table(['kernel', 'date (UTC)', 'n', 'median', 'spread', 'change', ''], rows, [0, 1, 6]).map((text) => `  ${text}`));
  if (older) out.push('  older sessions are not shown; --limit 0 shows all');
  if (sessions.length > 1) out.push(`  ${sparkline(sessions.map(({ median }) => median).slice(-100))}`);
  return out.join('\n');
}

/** One line per verdict, then the counts. */
export function checkText(checks: readonly Check[]): string {
  const order: Check['verdict'][] = ['regressed', 'improved', 'inconclusive', 'unchanged'];
  const sorted = [...checks].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict));
  const out = sorted.flatMap((check) => {
    const { verdict, series, line, candidate, a, b, shift, ci, sessions, minimumDetectable, better } = check;
    const bounded = ci[1] < UNBOUNDED;
    const word = check.accepted ? 'accepted' : better === 'neither' && (verdict === 'regressed' || verdict === 'improved') ? 'changed' : verdict;
    const facts = [
      sessions === 0 ? `${formatValue(b)} ${series.unit}, the first session` : `${formatValue(a)} -> ${formatValue(b)} ${series.unit}`,
      ...(sessions === 0 ? [] : [bounded ? `${signedPercent(shift)} (${signedPercent(ci[0])} to ${signedPercent(ci[1])})` : `${signedPercent(shift)}, too few sessions to judge`]),
      ...(verdict === 'inconclusive' && bounded ? [`would see ${signedPercent(minimumDetectable)}`] : []),
      `${candidate.kernel} of ${shortDate(candidate)} against ${sessions} session${sessions === 1 ? '' : 's'}`,
      describeEnvironment(series.environment),
    ];
    return [`${word.padEnd(12)} ${seriesTitle(series, line)}`, `             ${facts.join('; ')}`];
  });
  const known = checks.filter(({ accepted }) => accepted).length;
  const counts = [...order.map((verdict) => [verdict, checks.filter((check) => check.verdict === verdict && !check.accepted).length] as const), ['accepted', known] as const].filter(([, count]) => count > 0);
  out.push('', counts.map(([verdict, count]) => `${count} ${verdict}`).join(', '));
  if (checks.some(({ regressed }) => regressed)) out.push('sessions of different days see less than a comparison side by side: confirm with daxrig compare');
  return out.join('\n');
}

type Samples = (trend: Trend, session: Session) => Float64Array;

/** A trend as JSON carries it; with `samples`, every sample. */
export function trendJson(trend: Trend, samples?: Samples): object {
  const { series: { id: _, ...series }, line, sessions, older, changes } = trend;
  return {
    ...series,
    ...(line === undefined ? {} : { line }),
    sessions: sessions.map((session) => {
      const { run, folder, kernel, version, n, median, q1, q3 } = session;
      return { run, kernel, date: dateOf(session), version, folder, n, median, q1, q3, ...(samples ? { samples: [...samples(trend, session)] } : {}) };
    }),
    older,
    changes: changes.map(({ index, ...change }) => ({ run: sessions[index]!.run, kernel: sessions[index]!.kernel, date: dateOf(sessions[index]!), ...change })),
  };
}

export function checkJson({ series, line, candidate, regressed, level, id: _, since: _since, ...verdict }: Check): object {
  const { name, params, unit, environment } = series;
  return { metric: name, params, unit, environment, ...(line === undefined ? {} : { line }), run: candidate.run, kernel: candidate.kernel, date: dateOf(candidate), ...verdict, clock: series.clock, ...(level === undefined ? {} : { levelSince: level }), regressed };
}

const SERIES_COLUMNS = ['workload', 'metric', 'params', 'unit', 'clock', ...ENVIRONMENT_FIELDS.filter((name) => name !== 'clock')];
const SESSION_COLUMNS = ['kernel', 'run', 'date', 'version'];

export const csvHeader = (samples: boolean): string => csvLine([...SERIES_COLUMNS, ...SESSION_COLUMNS, ...(samples ? ['sample', 'value'] : ['n', 'median', 'q1', 'q3'])]);

/** One line per session, or with `samples` one per sample. */
export function* csvLines(trend: Trend, samples?: Samples): Generator<string> {
  const { series, sessions } = trend;
  const params = Object.entries(series.params).map(([key, value]) => `${key}=${String(value)}`).join(',');
  const fixed = [series.workload, series.metric, params, series.unit, series.clock, ...ENVIRONMENT_FIELDS.filter((name) => name !== 'clock').map((name) => series.environment[name] ?? '')];
  for (const session of sessions) {
    const { kernel, run, version, n, median, q1, q3 } = session;
    const start = csvLine([...fixed, kernel, run, dateOf(session), version]);
    if (samples) for (const [index, value] of samples(trend, session).entries()) yield `${start},${index},${value}`;
    else yield `${start},${n},${median},${q1},${q3}`;
  }
}

/** RFC 4180: quoted where a comma, a quote or a line end would be read otherwise. */
export function csvLine(cells: readonly (string | number)[]): string {
  return cells.map((cell) => (/[",\r\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell))).join(',');
}
