// daxrig workloads: what there is to run.
import type { CommandModule } from 'yargs';
import { loadWorkloads } from '../run/load.js';
import { chooseWorkloads, plan, quickOnes } from '../run/plan.js';

interface WorkloadsArguments {
  json: boolean;
  load: string[];
}

export const command: CommandModule<object, WorkloadsArguments> = {
  command: 'workloads',
  describe: 'every workload: what it does, guards, needs and measures',
  builder: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, describe: 'one JSON document on stdout' })
      .option('load', { type: 'string', array: true, nargs: 1, default: [], describe: 'file with workloads of your own (.mjs)' })
      .example('$0 workloads --json', 'for programs'),
  handler: async ({ json, load }) => {
    const workloads = await loadWorkloads(load);
    if (json) {
      const document = workloads.map(({ name, about, guards, needs, params, thorough, quick, metrics, timeout, onRequest }, i) => ({ name, about, guards, needs, params: params ?? {}, thorough: thorough ?? {}, quick: quick ?? false, instances: plan([workloads[i]!]).length, metrics: metrics ?? [], timeout, onRequest: onRequest ?? false }));
      process.stdout.write(`${JSON.stringify({ workloads: document }, null, 1)}\n`);
      return;
    }
    for (const { name, about, guards, needs, params, thorough, quick, metrics, onRequest } of workloads) {
      const wants = [needs.dax, ...(needs.tools ?? []), ...(needs.kconfig ?? []).map((option) => `CONFIG_${option}`), ...(needs.filesystems ?? []), ...(needs.files ?? [])].filter(Boolean);
      process.stdout.write(`${name}${onRequest ? ' (on request)' : ''}\n  ${about}\n  guards   ${guards.join('; ')}\n`);
      if (wants.length > 0) process.stdout.write(`  needs    ${wants.join(', ')}\n`);
      if (params) process.stdout.write(`  params   ${Object.entries(params).map(([key, values]) => `${key}=${values.join('|')}`).join('  ')}\n`);
      if (thorough) process.stdout.write(`  thorough ${Object.entries(thorough).map(([key, values]) => `${key}=${values.join('|')}`).join('  ')}\n`);
      if (quick) process.stdout.write('  quick    yes\n');
      if (metrics) process.stdout.write(`  metrics  ${metrics.map((metric) => `${metric.name} (${metric.unit})`).join(', ')}\n`);
    }
    process.stdout.write(`\n${workloads.length} workloads, ${plan(chooseWorkloads(workloads, []), { eachOnce: true }).length} instances in a run of everything, ${plan(chooseWorkloads(workloads, [])).length} by name, ${plan(chooseWorkloads(workloads, []), { extent: 'thorough' }).length} with --thorough, ${plan(workloads.filter(({ onRequest }) => onRequest)).length} on request, ${plan(quickOnes(workloads), { extent: 'quick' }).length} with --quick\n`);
  },
};
