// daxrig history: trends over stored runs, and whether the newest session is like the others.
import { once } from 'node:events';
import fs from 'node:fs';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UsageError, codeOf } from '../errors.js';
import { nearest, parseParam } from '../run/plan.js';
import {
  accept, change, checkJson, checkSeries, checkText, csvHeader, csvLines, defaultDatabase, findSeries, metricNames, read, SessionReader, trendJson, trendsOf, trendText,
  type Better, type Database, type Series, type TrendOptions,
} from '../store/index.js';
import { workloads } from '../workload/index.js';

const builder = (yargs: Argv) =>
  yargs
    .positional('metrics', { type: 'string', array: true, default: [] as string[], describe: 'names or globs of WORKLOAD/METRIC; default: all' })
    .option('check', { type: 'boolean', default: false, describe: 'judge the newest session of each series by those before it' })
    .option('accept', { type: 'boolean', default: false, describe: 'accept the newest level of each series that --check calls shifted: later sessions are judged by it' })
    .option('since', { type: 'string', describe: 'sessions from a date on (2026-11-20), or of the last 12h, 30d, 8w; with --check only what is judged' })
    .option('kernel', { type: 'string', array: true, nargs: 1, describe: 'only kernels whose release fits the glob; repeatable' })
    .option('param', { type: 'string', array: true, nargs: 1, default: [] as string[], describe: 'only series with KEY=VALUE[,VALUE]; repeatable' })
    .option('per-kernel', { type: 'boolean', describe: 'each kernel line (6.1, 6.18) as a trend of its own (default: where one run measured several)' })
    .option('limit', { type: 'number', describe: 'newest sessions of each trend, 0 for all (default 20; all with --json and --csv)' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .option('csv', { type: 'boolean', default: false, describe: 'CSV on stdout, one line per session' })
    .option('samples', { type: 'boolean', default: false, describe: 'with --json or --csv: every sample' })
    .option('db', { type: 'string', default: defaultDatabase(), defaultDescription: '$XDG_DATA_HOME/daxrig/timings.db', describe: 'database file' })
    .option('wait', { type: 'number', default: 10, describe: 'seconds to wait while another process locks the database' })
    .example("$0 history '*fault*' --kernel '6.*'", 'how faults went over the 6.x kernels')
    .example("$0 history 'fsdax/*' --check --since 1d", 'is what was measured today like before')
    .example("$0 history 'fsdax/*' --accept", 'the new levels are meant: judge by them from now on')
    .example('$0 history --csv --samples > samples.csv', 'everything, for other programs')
    .epilogue('Exit code: 1 if --check finds a regression, else 0; 2 if no such metric is recorded.');

type HistoryArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

async function handler(args: HistoryArguments): Promise<void> {
  const { metrics, db, wait, check, json, csv, samples } = args;
  if (!(wait >= 0)) throw new UsageError(`--wait ${wait}: a number of seconds`);
  if (args.limit !== undefined && (!Number.isInteger(args.limit) || args.limit < 0)) throw new UsageError(`--limit ${args.limit}: a whole number from 0 up`);
  if (json && csv) throw new UsageError('--json and --csv both want stdout; choose one');
  if (args.accept && (check || csv || samples)) throw new UsageError('--accept: shows what it accepts; leave --check, --csv and --samples out');
  if (check && csv) throw new UsageError('--check: verdicts come as text or --json, not as --csv');
  if (samples && !json && !csv) throw new UsageError('--samples: say in what form, --json or --csv');
  if (samples && check) throw new UsageError('--samples: a verdict has none; leave --check out');
  const limit = args.limit === 0 ? undefined : (args.limit ?? (json || csv ? undefined : 20));
  const options: TrendOptions = {
    ...(args.since === undefined ? {} : { since: parseSince(args.since) }),
    ...(args.kernel === undefined ? {} : { kernels: args.kernel }),
    ...(args.perKernel === undefined ? {} : { perKernel: args.perKernel }),
    ...(limit === undefined ? {} : { limit }),
    changes: !csv,
  };
  const params = args.param.map(parseParam);
  const note = (line: string): void => void process.stderr.write(`daxrig: ${line}\n`);
  if (args.accept) return acceptNewest(args, params, options, note);

  const found = await read(db, { wait, note }, (database) => {
    const series = chooseSeries(database, metrics, params);
    const reader = new SessionReader(database);
    // All is read before a line is written: whoever reads the output slowly holds up no importer.
    if (check) {
      const checks = series.flatMap((one) => checkSeries(reader, one, { ...options, better: betterOf }));
      return { checks, lines: checkLines(checks, json, db), count: checks.length };
    }
    const trends = series.flatMap((one) => trendsOf(reader, one, options));
    const values = samples ? ({ series: one }: { series: Series }, session: Parameters<SessionReader['samples']>[1]) => reader.samples(one, session) : undefined;
    const lines = json
      ? [JSON.stringify({ db, series: trends.map((trend) => ({ ...trendJson(trend, values), better: betterOf(trend.series) })) }, null, samples ? 0 : 1)]
      : csv
        ? [csvHeader(samples), ...trends.flatMap((trend) => [...csvLines(trend, values)])]
        : [trends.map(trendText).join('\n\n')];
    return { checks: [], lines, count: trends.length };
  });
  if (found === undefined) throw new UsageError(`${db}: no timings are recorded yet; import runs with: daxrig import DIR...`);
  if (found.count === 0) throw new UsageError(`no session fits ${['since', 'kernel'].filter((name) => args[name] !== undefined).map((name) => `--${name} ${String(args[name])}`).join(' and ') || 'that passed'}`);
  await write(found.lines);
  process.exitCode = found.checks.some(({ regressed }) => regressed) ? 1 : 0;
}

/** Accepts the level of the newest sessions that differ from those before them; a database that is not there is not made. */
async function acceptNewest({ metrics, db, wait, json }: HistoryArguments, params: [string, string[]][], options: TrendOptions, note: (line: string) => void): Promise<void> {
  if (!fs.existsSync(db)) throw new UsageError(`${db}: no timings are recorded yet; import runs with: daxrig import DIR...`);
  const shifted = await change(db, { wait, note }, (database) => {
    const reader = new SessionReader(database);
    const checks = chooseSeries(database, metrics, params).flatMap((series) => checkSeries(reader, series, { ...options, better: betterOf }));
    const found = checks.filter(({ verdict, accepted }) => (verdict === 'regressed' || verdict === 'improved') && !accepted);
    accept(database, found.map(({ series, candidate }) => ({ series, session: candidate })));
    return found.map((one) => ({ ...one, accepted: true, regressed: false }));
  });
  await write(json ? [JSON.stringify({ db, accepted: shifted.map(checkJson) }, null, 1)] : shifted.length === 0 ? ['nothing to accept: no newest session differs from those before it'] : [checkText(shifted)]);
}

function checkLines(checks: Parameters<typeof checkText>[0], json: boolean, db: string): string[] {
  return json ? [JSON.stringify({ db, metrics: checks.map(checkJson) }, null, 1)] : [checkText(checks)];
}

/** The series of the globs, each of which must fit one. */
function chooseSeries(database: Database, globs: readonly string[], params: readonly (readonly [string, string[]])[]): Series[] {
  const names = metricNames(database);
  if (names.length === 0) throw new UsageError(`${database.file}: no timings are recorded yet; import runs that measured something: daxrig import DIR...`);
  for (const glob of globs) {
    if (findSeries(database, [glob]).length > 0) continue;
    const near = nearest(glob, names) ?? names.find((name) => name.includes(glob.replaceAll('*', '')));
    throw new UsageError(`no metric "${glob}" is recorded${near === undefined ? '.' : `; did you mean "${near}"?`} ${names.length === 1 ? `There is "${names[0]}"` : `There are ${names.length}: "daxrig history --csv" lists them`}`);
  }
  const series = findSeries(database, globs).filter((one) => params.every(([key, values]) => values.includes(String(one.params[key]))));
  if (series.length === 0) throw new UsageError(`no series with --param ${params.map(([key, values]) => `${key}=${values.join(',')}`).join(' --param ')} is recorded`);
  return series;
}

const UNITS: Record<string, number> = { h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** Milliseconds since 1970 of a date, or of a span before now. */
function parseSince(text: string): number {
  const span = /^(\d+)([hdw])$/.exec(text);
  const time = span ? Date.now() - Number(span[1]) * UNITS[span[2]!]! : /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) throw new UsageError(`--since ${text}: write a date such as 2026-11-20, or a span such as 12h, 30d or 8w`);
  return time;
}

/** As the workload declares it; of one that is not built in, less is better, as for any duration. */
function betterOf({ workload, metric }: Series): Better {
  return workloads.find(({ name }) => name === workload)?.metrics?.find(({ name }) => name === metric)?.better ?? 'lower';
}

/** Line by line; whoever reads may have seen enough, as head does. */
async function write(lines: readonly string[]): Promise<void> {
  let unread = false;
  process.stdout.on('error', (error) => {
    if (codeOf(error) !== 'EPIPE') throw error;
    unread = true;
  });
  for (let at = 0; at < lines.length && !unread; at += 1000) {
    if (!process.stdout.write(`${lines.slice(at, at + 1000).join('\n')}\n`) && !unread) await Promise.race([once(process.stdout, 'drain'), once(process.stdout, 'close')]).catch(() => {});
  }
}

export const command: CommandModule<object, HistoryArguments> = {
  command: 'history [metrics..]',
  describe: 'trends over stored runs',
  builder: builder as unknown as (yargs: Argv) => Argv<HistoryArguments>,
  handler,
};
