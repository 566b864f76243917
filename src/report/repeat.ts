// The command line that runs one result's instance again, with its seed, on the same machine.
import { couldBeName } from '../run/plan.js';
import type { RunDocument } from '../run/runner.js';
import type { RunResult } from '../run/result.js';

/** Options of `daxrig run` that decide what is run on, by how many values they take. The others choose what and how often. */
const KEPT: Readonly<Record<string, 'none' | 'one' | 'many'>> = {
  'guest-file': 'many', memmap: 'many', device: 'many', 'destroy-data': 'many',
  load: 'one', modules: 'one', 'guest-mem': 'one', 'guest-cpus': 'one', numa: 'one', accel: 'one', clock: 'one', append: 'one', qemu: 'one',
  'guest-setup': 'one', target: 'one', timeout: 'one', profile: 'one', span: 'one',
  'no-snapshot': 'none', thorough: 'none', coverage: 'none',
};

/** The words of a command line that belong to options in KEPT, each as it was given. */
export function keptOptions(command: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < command.length; ) {
    const [, name = '', value] = /^--([^=]+)(=.*)?$/s.exec(command[at]!) ?? [];
    const takes = KEPT[name];
    const from = at++;
    if (takes === undefined) continue;
    if (value === undefined && takes !== 'none') {
      if (takes === 'one') at++;
      else while (at < command.length && !command[at]!.startsWith('-') && !couldBeName(command[at]!)) at++;
    }
    kept.push(...command.slice(from, at));
  }
  return kept;
}

/** For a shell: `run` tells what the run was started with, and which --kernel a release came from. Of several kernels and layouts it names one. */
export function repeatCommand({ workload, params, seed, kernel, layout }: Pick<RunResult, 'workload' | 'params' | 'seed' | 'kernel' | 'layout'>, run: Pick<RunDocument['run'], 'command' | 'guests'>): string {
  const spec = (run.guests as { kernel?: string; spec?: string }[]).find((guest) => guest.kernel === kernel)?.spec;
  const one = (option: string, value: string | undefined): string[] => (value !== undefined && run.command.some((word) => word === `--${option}` || word.startsWith(`--${option}=`)) ? [`--${option}`, value] : []);
  const values = Object.entries(params).flatMap(([key, value]) => ['--param', `${key}=${String(value)}`]);
  return ['daxrig', 'run', workload, ...values, '--seed', String(seed), ...one('kernel', spec), ...one('layout', layout), ...keptOptions(run.command)].map(quote).join(' ');
}

const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
