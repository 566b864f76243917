// Parts of the contract that are not built yet answer so, with exit 2; never with silence.
import type { CommandModule } from 'yargs';
import { UsageError } from '../errors.js';

export function notYet(what: string): never {
  throw new UsageError(`${what}: not available yet`);
}

const planned = (name: string, describe: string): CommandModule => ({
  command: `${name} [args..]`,
  describe: `${describe} (not available yet)`,
  builder: (yargs) => yargs.strict(false),
  handler: () => notYet(name),
});

export const plannedCommands: readonly CommandModule[] = [
  planned('inject', 'one memory failure by hand'),
  planned('report', 'HTML report'),
  planned('drill', 'load a known kernel fault and see whether a run notices'),
];
