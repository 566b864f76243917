#!/usr/bin/env node
// The command line: yargs to a call, errors to one line and an exit code.
import os from 'node:os';
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { DaxrigError, UsageError, messageOf } from '../errors.js';
import { version } from '../run/run.js';
import { command as compare } from './compare.js';
import { command as doctor } from './doctor.js';
import { command as history } from './history.js';
import { command as importRuns } from './import.js';
import { command as kernels } from './kernels.js';
import { command as klog } from './klog.js';
import { command as layouts } from './layouts.js';
import { command as list } from './list.js';
import { command as memmap } from './memmap.js';
import { plannedCommands } from './planned.js';
import { command as run } from './run.js';
import { command as stats } from './stats.js';
import { command as workloads } from './workloads.js';

const commands = [run, compare, doctor, list, workloads, layouts, kernels, klog, memmap, stats, importRuns, history, ...plannedCommands];

// Whoever read the output has had enough, as in "daxrig workloads | head": end as other programs do by SIGPIPE.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(128 + os.constants.signals.SIGPIPE);
  throw error;
});

try {
  let parser = yargs(hideBin(process.argv))
    .scriptName('daxrig')
    .usage('$0 COMMAND\n\nTests Linux persistent memory and DAX: on real devices, or in QEMU guests whose RAM is carved into pmem.')
    .version(version())
    .parserConfiguration({ 'parse-positional-numbers': false })
    .strict()
    .demandCommand(1, 'name a command; "daxrig --help" lists them')
    .recommendCommands()
    .help()
    .wrap(process.stdout.isTTY ? Math.min(process.stdout.columns, 120) : 100)
    .showHelpOnFail(false)
    .fail((message, error) => {
      throw error ?? new UsageError(message.split('\n').filter(Boolean).join(': '));
    });
  // Each module has argument types of its own; yargs joins them as one.
  for (const command of commands) parser = parser.command(command as never);
  await parser.parseAsync();
} catch (error) {
  process.stderr.write(`daxrig: ${messageOf(error).replace(/\n+/g, ' ')}\n`);
  if (process.env.DAXRIG_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  // To git bisect, all but 0, 1 and this would call the kernel bad.
  const skipped = 125;
  process.exitCode = process.argv.includes('--bisect') ? skipped : error instanceof DaxrigError ? error.exitCode : 3;
}
