// Kernel versions: only what a prediction depends on, major and minor.
import { UsageError } from '../errors.js';

export interface KernelVersion {
  major: number;
  minor: number;
}

/** "4.20", "5.3.0-rc2", "6.1.0-13-amd64", "v7.3-rc7" -> major and minor. */
export function parseKernelVersion(text: string): KernelVersion {
  const match = /^v?(\d{1,3})\.(\d{1,3})(?:[.\-+ ~_]|$)/.exec(text.trim());
  if (match === null) throw new UsageError(`kernel version: "${text}" is none; write for example 4.20 or 6.1.0-13-amd64`);
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** True when `version` is older than "major.minor". */
export function isBefore(version: KernelVersion, than: string): boolean {
  const other = parseKernelVersion(than);
  return version.major !== other.major ? version.major < other.major : version.minor < other.minor;
}
