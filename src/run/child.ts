// The process that runs one instance on the local machine: isolated, so that a crash or a hang is the instance's own.
// The job comes as the only argument, events go out on file descriptor 3, one JSON object per line.
import fs from 'node:fs';
import { jsonText } from '../units.js';
import { executeInstance, type InstanceJob } from './execute.js';
import { loadWorkloads } from './load.js';

const EVENTS = 3;

const say = (message: object): void => {
  fs.writeSync(EVENTS, `${jsonText(message)}\n`);
};

const job = JSON.parse(process.argv[2]!) as InstanceJob;
const workload = (await loadWorkloads(job.load)).find(({ name }) => name === job.workload);
if (!workload) throw new Error(`no workload ${job.workload}`);
const result = await executeInstance(job, workload, say);
say({ type: 'result', result, time: process.hrtime.bigint().toString() });
