// Profiles: a guest's set-up under a name, so that "the reporter's config" can be run again (report R1 ended with the
// maintainers asking for just that). A profile keeps the options, the kernel's configuration and QEMU's arguments.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UsageError, messageOf } from '../errors.js';
import { qemuArgs } from '../guest/qemu.js';
import { kconfigHash, parseKconfig } from '../kernel/kconfig.js';
import type { GuestOptions, Guests } from './guests.js';

/** Options that a profile decides; those given on the command line win. */
const KEPT = ['kernel', 'modules', 'layout', 'memmap', 'guestMem', 'guestCpus', 'numa', 'accel', 'clock', 'append', 'guestFile', 'guestSetup', 'load'] as const;

export interface Profile {
  name: string;
  savedAt: string;
  options: Partial<Pick<GuestOptions, (typeof KEPT)[number]>>;
  kernels: { release: string; configHash?: string; config?: string; qemuArgs: string[] }[];
}

/** $XDG_CONFIG_HOME/daxrig/profiles, else ~/.config/daxrig/profiles. */
export const profilesFolder = (): string => path.join(process.env.XDG_CONFIG_HOME || path.join(os.homedir(), '.config'), 'daxrig', 'profiles');

const fileOf = (name: string): string => {
  if (!/^[\w.-]+$/.test(name)) throw new UsageError(`--profile ${name}: a name of letters, digits, dots, dashes and underscores`);
  return path.join(profilesFolder(), `${name}.json`);
};

/** The profile of that name, or undefined when there is none yet. Throws UsageError when it cannot be read. */
export function readProfile(name: string): Profile | undefined {
  const file = fileOf(name);
  if (!fs.existsSync(file)) return undefined;
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as Profile;
  } catch (error) {
    throw new UsageError(`--profile ${name}: ${file} is damaged (${messageOf(error)}); remove it and save it again`);
  }
}

/** Options with the profile's in the place of those left at their defaults. */
export function applyProfile<T extends GuestOptions>(options: T, profile: Profile, given: ReadonlySet<string>): T {
  const kept = Object.fromEntries(Object.entries(profile.options).filter(([key]) => !given.has(key)));
  return { ...options, ...kept };
}

/** Saves what `guests` resolved to. Relative paths are made absolute: a profile is used from anywhere. */
export function saveProfile(name: string, options: GuestOptions, guests: Guests): string {
  const file = fileOf(name);
  const kept = Object.fromEntries(KEPT.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]]))) as Profile['options'];
  if (kept.kernel) kept.kernel = kept.kernel.map((spec) => (fs.existsSync(spec) ? path.resolve(spec) : spec));
  if (kept.load) kept.load = kept.load.map((one) => path.resolve(one));
  const { qemu, cpus, choice } = guests;
  const layout = guests.layouts[0]!;
  const profile: Profile = {
    name,
    savedAt: new Date().toISOString(),
    options: kept,
    kernels: guests.kernels.map((kernel) => ({
      release: kernel.release,
      ...(kernel.config === undefined ? {} : { configHash: kconfigHash(parseKconfig(kernel.config)), config: kernel.config }),
      qemuArgs: qemuArgs(
        { qemu, accel: choice.accel, clock: options.clock, cpus, layout, kernel, initramfs: 'INITRAMFS', ...(options.append === undefined ? {} : { append: options.append }) },
        { console: 'CONSOLE', events: 'EVENTS', job: 'JOB', ram: 'RAM' },
        { kind: 'boot', ram: 'own' },
      ),
    })),
  };
  fs.mkdirSync(profilesFolder(), { recursive: true });
  fs.writeFileSync(`${file}.new`, `${JSON.stringify(profile, null, 1)}\n`);
  fs.renameSync(`${file}.new`, file);
  return file;
}

/** A line for each kernel whose configuration is no longer the profile's. */
export function configChanges(profile: Profile, guests: Guests): string[] {
  return guests.kernels.flatMap((kernel) => {
    const then = profile.kernels.find(({ release }) => release === kernel.release)?.configHash;
    const now = kernel.config === undefined ? undefined : kconfigHash(parseKconfig(kernel.config));
    return then !== undefined && now !== undefined && then !== now ? [`profile ${profile.name}: the configuration of ${kernel.release} is no longer the one that was saved (${then}, now ${now})`] : [];
  });
}
