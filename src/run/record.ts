// A finished run goes into the timings database by itself. The run directory is the truth and is complete by then: whatever is
// the matter with the database costs one line, and never the run.
import { messageOf } from '../errors.js';
import { record } from '../store/index.js';

/** Seconds that another process's writing is waited for at the end of a run. */
const WAIT = 5;

/** Records the run of a directory in the database file; `note` hears in one line why not, and how to do it later. */
export async function recordRun(folder: string, db: string, note: (line: string) => void): Promise<void> {
  const problems: string[] = [];
  try {
    const { damaged } = await record(db, [folder], { wait: WAIT, note: (line) => problems.push(line) });
    if (damaged === 0) return problems.forEach(note);
  } catch (error) {
    problems.push(messageOf(error).split('\n')[0]!.replace(/; (try again later|make it and its folder writable).*$/, ''));
  }
  note(`timings not recorded: ${problems.join('; ')}; the run is kept: daxrig import ${folder}`);
}
