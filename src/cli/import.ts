// daxrig import: run directories into the timings database.
import fs from 'node:fs';
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { UsageError } from '../errors.js';
import { defaultDatabase, findRunFolders, record, recordedFolders, type ImportCounts } from '../store/index.js';
import { runsRoot } from '../store/rundir.js';
import { formatSeconds } from '../units.js';

const builder = (yargs: Argv) =>
  yargs
    .positional('dirs', { type: 'string', array: true, default: [] as string[], describe: 'run directories, or folders that hold them; default: where runs go without --out' })
    .option('db', { type: 'string', default: defaultDatabase(), defaultDescription: '$XDG_DATA_HOME/daxrig/timings.db', describe: 'database file' })
    .option('rebuild', { type: 'boolean', default: false, describe: 'read again every run that is recorded, from its directory' })
    .option('wait', { type: 'number', default: 10, describe: 'seconds to wait while another process writes the database' })
    .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
    .example('$0 import', 'every run in the default place; those known already cost nothing')
    .example('$0 import results/*', 'runs that --out put elsewhere, or another machine made')
    .example('$0 import --rebuild', 'make the index anew from the directories it knows')
    .epilogue('Exit code: 0 if all that was there is recorded, 3 if a directory or a metric was damaged and left out (one line each on stderr, the rest is recorded), 2 on wrong usage.');

type ImportArguments = ReturnType<typeof builder> extends Argv<infer T> ? ArgumentsCamelCase<T> : never;

async function handler({ dirs, db, rebuild, wait, json }: ImportArguments): Promise<void> {
  if (!(wait >= 0)) throw new UsageError(`--wait ${wait}: a number of seconds`);
  if (db === '') throw new UsageError('--db: name a file');
  const started = Date.now();
  const progress = progressOn(process.stderr);
  const problems: string[] = [];
  const note = (line: string): void => {
    problems.push(line);
    progress.clear();
    process.stderr.write(`daxrig: ${line}\n`);
  };
  const folders = findRunFolders(dirs.length > 0 || (rebuild && !fs.existsSync(runsRoot())) ? dirs : [runsRoot()]);
  if (rebuild) {
    const { there, gone } = await recordedFolders(db, { wait, note });
    for (const folder of gone) note(`${folder}: is gone; what is recorded of its run stays`);
    folders.push(...there.filter((folder) => !folders.includes(folder)));
  }
  const counts = await record(db, folders, { wait, note, again: rebuild, progress: progress.show });
  progress.clear();
  if (json) process.stdout.write(`${JSON.stringify({ db, ...counts, seconds: (Date.now() - started) / 1000, problems }, null, 1)}\n`);
  else process.stdout.write(`${summary(counts)} in ${formatSeconds((Date.now() - started) / 1000)}\n${db}\n`);
  process.exitCode = counts.damaged + counts.leftOut > 0 ? 3 : 0;
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

function summary({ imported, known, updated, recovered, damaged, leftOut, samples, results }: ImportCounts): string {
  const parts: [number, string][] = [
    [imported, `${plural(imported, 'run')} imported`],
    [updated, `${updated} updated`],
    [known, `${known} known already`],
    [recovered, `${recovered} recovered from events`],
    [damaged, `${damaged} damaged and skipped`],
    [leftOut, `${plural(leftOut, 'metric')} left out`],
  ];
  const words = parts.filter(([count]) => count > 0).map(([, text]) => text);
  return `${words.join(', ')}: ${plural(results, 'result')}, ${plural(samples, 'sample')}`;
}

/** A line that is rewritten, on a terminal only. */
function progressOn(out: NodeJS.WriteStream): { show: (done: number, total: number) => void; clear: () => void } {
  let shownAt = 0;
  const live = out.isTTY && process.env.TERM !== 'dumb';
  return {
    show: (done, total) => {
      if (!live || Date.now() - shownAt < 200) return;
      // Not for what is over at once.
      if (shownAt > 0) out.write(`\r\x1b[2K${done} of ${total} runs`);
      shownAt = Date.now();
    },
    clear: () => {
      if (live && shownAt > 0) out.write('\r\x1b[2K');
    },
  };
}

export const command: CommandModule<object, ImportArguments> = {
  command: 'import [dirs..]',
  describe: 'index run directories in the timings database',
  builder: builder as unknown as (yargs: Argv) => Argv<ImportArguments>,
  handler,
};
