// Report formats by name. A new one is a file beside this and a line here.
import { UsageError } from '../errors.js';
import type { RunDocument } from '../run/runner.js';
import { junit } from './junit.js';
import { ktap } from './ktap.js';

export const FORMATS: Record<string, (document: RunDocument) => string> = { ktap, junit };
/** Part of the contract, not built yet. */
export const PLANNED_FORMATS = ['kcidb', 'lava', 'openmetrics', 'html'] as const;

export interface FormatRequest {
  format: string;
  /** Undefined: standard output. */
  file?: string;
}

/** One --format value, NAME[=FILE]. `text` is what is shown anyway. */
export function parseFormat(value: string): FormatRequest {
  const at = value.indexOf('=');
  const format = at < 0 ? value : value.slice(0, at);
  const file = at < 0 ? undefined : value.slice(at + 1);
  if ((PLANNED_FORMATS as readonly string[]).includes(format)) throw new UsageError(`--format ${format}: not available yet; there are text, ${Object.keys(FORMATS).join(', ')}`);
  if (format !== 'text' && !FORMATS[format]) throw new UsageError(`--format ${format}: unknown; there are text, ${Object.keys(FORMATS).join(', ')}`);
  if (file === '') throw new UsageError(`--format ${value}: names no file after the "="`);
  return file === undefined ? { format } : { format, file };
}
