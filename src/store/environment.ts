// What makes two sets of samples comparable. A series has one environment; where any field differs, it is another series.
// The kernel is no field: it is what a trend is drawn over. docs/database.md says why each field is, or is not, among them.
import crypto from 'node:crypto';
import fs from 'node:fs';

type RunClock = 'wall' | 'icount';

/** What run.json says about where a result came from. */
export interface Origin {
  host: Readonly<Record<string, unknown>>;
  /** The entry of run.guests that the result ran in. */
  guest: Readonly<Record<string, unknown>> | undefined;
  command: readonly string[];
  version: string;
  clock: RunClock;
  /** As the result says it: accelerator, then the reason in brackets. */
  accel: string | undefined;
  layout: string | undefined;
  /** Of a local target: the device that was worked on. */
  device: string | undefined;
}

export type Environment = Readonly<Record<string, string>>;

interface Field {
  name: string;
  /** Only for results of this clock: instructions under TCG are the same whatever machine counts them. */
  clock?: RunClock;
  of: (origin: Origin) => unknown;
}

const isGuest = ({ accel, guest }: Origin): boolean => accel !== undefined || guest !== undefined;

/** In this order in the stored text. Absent and empty values are left out. */
const FIELDS: readonly Field[] = [
  { name: 'clock', of: ({ clock }) => clock },
  { name: 'target', of: (origin) => (isGuest(origin) ? 'guest' : 'local') },
  { name: 'machine', clock: 'wall', of: ({ host }) => host.machine },
  { name: 'cpu', clock: 'wall', of: ({ host }) => host.cpu },
  { name: 'microcode', clock: 'wall', of: ({ host }) => host.microcode },
  { name: 'governor', clock: 'wall', of: ({ host }) => host.governor },
  { name: 'accel', of: ({ accel, guest }) => accel?.split(' ')[0] ?? guest?.accel },
  { name: 'qemu', of: ({ guest }) => guest?.qemu },
  { name: 'layout', of: ({ guest, layout }) => layoutName(guest?.layout) ?? layout },
  { name: 'cpus', of: (origin) => (isGuest(origin) ? origin.guest?.cpus : origin.host.cpus) },
  { name: 'device', of: ({ device }) => device },
  { name: 'append', of: ({ command }) => optionOf(command, '--append') },
  { name: 'setup', of: ({ command }) => optionOf(command, '--guest-setup') },
  { name: 'harness', of: ({ version }) => /^\d+\.\d+/.exec(version)?.[0] },
];

export const ENVIRONMENT_FIELDS: readonly string[] = FIELDS.map(({ name }) => name);

export function environmentOf(origin: Origin): Environment {
  const fields = FIELDS.filter(({ clock }) => clock === undefined || clock === origin.clock).map(({ name, of }) => [name, of(origin)] as const);
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined && value !== null && value !== '').map(([name, value]) => [name, String(value)]));
}

/** A layout by its name and a digest of its content: names stay while what they stand for may change. */
function layoutName(layout: unknown): string | undefined {
  if (typeof layout === 'string') return layout;
  if (typeof layout !== 'object' || layout === null) return undefined;
  const { name, about: _, ...content } = layout as Record<string, unknown>;
  return `${String(name)} ${crypto.createHash('sha256').update(canonical(content)).digest('hex').slice(0, 8)}`;
}

/** JSON with the keys of objects in alphabetical order: equal content, equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

function optionOf(command: readonly string[], option: string): string | undefined {
  const given = command.flatMap((word, i) => (word === option ? [command[i + 1] ?? ''] : word.startsWith(`${option}=`) ? [word.slice(option.length + 1)] : []));
  return given.length === 0 ? undefined : given.join(' ');
}

/** For people: without digests and the parts that a heading says already. */
export function describeEnvironment({ clock: _, target, layout, cpus, qemu, harness, append, ...rest }: Environment): string {
  const parts = [
    target,
    ...Object.values(rest),
    qemu === undefined ? '' : `QEMU ${qemu}`,
    layout === undefined ? '' : `layout ${layout.split(' ')[0]}`,
    cpus === undefined ? '' : `${cpus} CPU${cpus === '1' ? '' : 's'}`,
    append === undefined ? '' : `append "${append}"`,
    harness === undefined ? '' : `daxrig ${harness}`,
  ];
  return parts.filter(Boolean).join(', ');
}

/** Facts of this machine for run.json's `host`, beyond what Node tells; what is not there is left out. */
export function machineFacts(): Record<string, string> {
  const read = (file: string): string => {
    try {
      return fs.readFileSync(file, 'utf8');
    } catch {
      return ''; // virtual machines and containers have some of these, or none
    }
  };
  const dmi = ['sys_vendor', 'product_name'].map((name) => read(`/sys/class/dmi/id/${name}`).trim()).filter(Boolean);
  const facts = {
    machine: dmi.join(' '),
    microcode: /^microcode\s*:\s*(\S+)/m.exec(read('/proc/cpuinfo'))?.[1] ?? '',
    governor: read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor').trim(),
  };
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== ''));
}
