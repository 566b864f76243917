// Sizes, addresses and durations: one parser and one printer each, used by the command line, layouts and log parsers.
import { UsageError } from './errors.js';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const SUFFIX: Record<string, number> = { '': 1, K: KiB, M: MiB, G: GiB, T: TiB, P: 1024 * TiB };

/**
 * Bytes of a size as the kernel's memparse() reads it: decimal or 0x-hex with an optional K, M, G, T or P.
 * Throws UsageError with `what` named when the text is no size, or is larger than a safe integer.
 */
export function parseSize(text: string, what = 'size'): number {
  const match = /^(0x[0-9a-f]+|[0-9]+)([KMGTP]?)$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * SUFFIX[match[2]!.toUpperCase()]! : NaN;
  if (!Number.isSafeInteger(bytes))
    throw new UsageError(`${what}: "${text}" is not a size; write a number with K, M, G or T, for example 512M or 4G`);
  return bytes;
}

/** JSON in which 64-bit words, such as addresses, are "0x..." text. */
export const jsonText = (value: unknown): string => JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part));

/** The shortest exact form of a byte count: 1G, 448M, 12K, 100. */
export function formatSize(bytes: number): string {
  for (const [suffix, unit] of [['T', TiB], ['G', GiB], ['M', MiB], ['K', KiB]] as const)
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${suffix}`;
  return String(bytes);
}

/** A rounded byte count for people: 1.5 GiB, 31 MiB, 12 B. */
export function humanSize(bytes: number): string {
  for (const [suffix, unit] of [['TiB', TiB], ['GiB', GiB], ['MiB', MiB], ['KiB', KiB]] as const)
    if (bytes >= unit) return `${(bytes / unit).toFixed(bytes / unit < 10 && bytes % unit !== 0 ? 1 : 0)} ${suffix}`;
  return `${bytes} B`;
}

/** An address as "0x...", the form of every address in JSON output. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** Value rounded down, or up, to a multiple of `unit`. */
export const roundDown = (value: number, unit: number): number => Math.floor(value / unit) * unit;
export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** A duration in seconds for people: 0.16 s, 12.3 s, 2 m 05 s. */
export function formatSeconds(seconds: number): string {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} m ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
}

/** A measured value for people: five digits at least, and never an exponent: instructions are shown to the last one. */
export function formatValue(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 1e5) return value.toFixed(0);
  return String(Number(value.toPrecision(5)));
}
