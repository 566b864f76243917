// The detectors alone: series in, verdicts out, one JSON document per line, as they come.
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import type { CommandModule } from 'yargs';
import { codeOf, messageOf, UsageError } from '../errors.js';
import { adjust, checkCompareInput, checkHistoryInput, compare, type Comparison, history, type HistoryResult } from '../regress/index.js';

export const DETECTORS = ['compare', 'history'] as const;
export type Detector = (typeof DETECTORS)[number];

export interface StatsOptions {
  /** Report a bad line as `{id, line, error}` among the verdicts and go on. */
  keepGoing?: boolean | undefined;
  /** compare: judge all lines as one set, with at most this share of the shifts called being false. */
  fdr?: number | undefined;
}

/** What stands for a bad line under --keep-going. */
interface BadLine {
  id: string | number | null;
  line: number;
  error: string;
}

type Result = Comparison | HistoryResult | BadLine;

const JUDGES: Record<Detector, (value: unknown) => Comparison | HistoryResult> = {
  compare: (value) => compare(checkCompareInput(value)),
  history: (value) => history(checkHistoryInput(value)),
};

/** Judges every line in order and gives each verdict to `write`; returns the exit code. Blank lines are skipped. */
export async function judgeLines(
  detector: Detector,
  lines: AsyncIterable<string>,
  write: (line: string) => Promise<void>,
  { keepGoing = false, fdr }: StatsOptions = {},
): Promise<number> {
  if (fdr !== undefined && !(fdr > 0 && fdr < 1)) throw new UsageError(`--fdr is ${fdr}, not a fraction such as 0.01`);
  if (fdr !== undefined && detector !== 'compare') throw new UsageError('--fdr is for stats compare only');
  let number = 0;
  let judged = 0;
  let bad = 0;
  let regressed = false;
  const report = async (result: Result): Promise<void> => {
    if ('verdict' in result && result.verdict === 'regressed') regressed = true;
    await write(JSON.stringify(result));
  };
  const held: (Comparison | BadLine)[] = [];
  for await (const line of lines) {
    number++;
    if (line.trim() === '') continue;
    judged++;
    let value: unknown;
    let result: Result;
    try {
      value = parse(number === 1 ? line.replace(/^\ufeff/, '') : line);
      result = JUDGES[detector](value);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      if (!keepGoing) throw new UsageError(`line ${number}: ${error.message}`, { cause: error });
      bad++;
      result = { id: idOf(value), line: number, error: error.message };
    }
    if (fdr === undefined) await report(result);
    else held.push(result as Comparison | BadLine);
  }
  if (judged === 0) throw new UsageError('no series in the input: write one JSON object per line');
  const family = adjust(held.filter((result) => 'verdict' in result), fdr);
  for (const result of held) await report('verdict' in result ? family.shift()! : result);
  return bad > 0 ? 2 : regressed ? 1 : 0;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    const hint = /\b(NaN|Infinity)\b/.test(line) ? '; JSON has no NaN and no Infinity, leave such samples out' : '';
    throw new UsageError(`not JSON: ${messageOf(error).replaceAll('\n', ' ')}${hint}`);
  }
}

function idOf(value: unknown): string | number | null {
  const id = typeof value === 'object' && value !== null && 'id' in value ? value.id : null;
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}

/** Lines of a stream of text, without their ends; what follows the last end is a line if it is not empty. */
export async function* linesOf(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let parts: string[] = [];
  for await (const chunk of chunks) {
    const pieces = chunk.split('\n');
    for (const piece of pieces.slice(0, -1)) {
      parts.push(piece);
      yield parts.join('').replace(/\r$/, '');
      parts = [];
    }
    parts.push(pieces.at(-1)!);
  }
  const last = parts.join('');
  if (last !== '') yield last;
}

interface Arguments extends StatsOptions {
  detector: Detector;
  file?: string | undefined;
}

export const command: CommandModule<object, Arguments> = {
  command: 'stats <detector> [file]',
  describe: 'the detectors alone: NDJSON series in, NDJSON verdicts out',
  builder: (yargs) =>
    yargs
      .positional('detector', {
        describe: 'compare: is B slower than A, block beside block; history: is the newest session like the stored ones',
        choices: DETECTORS,
        demandOption: true,
      })
      .positional('file', { describe: 'series, one JSON object per line; standard input if left out or -', type: 'string' })
      .option('keep-going', {
        describe: 'report a bad line as {id, line, error} among the verdicts and go on; the exit code is still 2',
        type: 'boolean',
        default: false,
      })
      .option('fdr', {
        describe: 'compare: judge all lines as one set, at most this share of the calls being false (Benjamini-Hochberg)',
        type: 'number',
      })
      .example('$0 stats compare series.ndjson', 'lines {id, clock?, delta?, a: [[block 1], ...], b: [[block 1], ...]}')
      .example('$0 stats history < series.ndjson', 'lines {id, sessions: [[...], ...], candidate: [...]}')
      .epilogue('Exit code: 1 if a line regressed, 2 if a line is bad input (verdicts before it have been written), else 0.'),
  handler: async ({ detector, file, keepGoing, fdr }) => {
    const fromFile = file !== undefined && file !== '-';
    const input = fromFile ? createReadStream(file) : process.stdin;
    input.setEncoding('utf8');
    // Whoever reads the verdicts may have seen enough, as head does.
    let unread = false;
    process.stdout.on('error', (error) => {
      if (codeOf(error) !== 'EPIPE') throw error;
      unread = true;
      input.destroy();
    });
    try {
      process.exitCode = await judgeLines(detector, linesOf(input), writeLine, { keepGoing, fdr });
    } catch (error) {
      if (unread) return;
      if (fromFile && codeOf(error) !== undefined) throw new UsageError(`${file}: cannot be read: ${messageOf(error)}`);
      throw error;
    } finally {
      input.destroy();
    }
  },
};

async function writeLine(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}
