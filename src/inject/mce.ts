// Uncorrected memory errors as machine checks report them, by the kernel's own injector (arch/x86/kernel/cpu/mce/inject.c,
// flag "sw"): everybody who listens for them hears of one, nothing happens to the memory itself. On an ACPI NFIT bus it
// becomes a bad block (drivers/acpi/nfit/mce.c).
import fs from 'node:fs';
import path from 'node:path';

const FOLDER = '/sys/kernel/debug/mce-inject';

/** MCi_STATUS: uncorrected, enabled, with an address; the codes by which AMD and Intel know an error of memory. */
const STATUS = (1n << 61n) | (1n << 60n) | (1n << 59n) | (1n << 58n) | (8n << 16n) | 0x9fn;
/** MCi_MISC: a physical address, good to 64 bytes. */
const MISC = (2n << 6n) | 6n;
/** AMD's memory controller; any will do elsewhere. */
const BANK = 4;

/** True where machine checks can be reported by hand: the module mce_inject is loaded, and debugfs mounted. */
export const canReportMemoryErrors = (): boolean => fs.existsSync(path.join(FOLDER, 'bank'));

/** Reports that the 64 bytes at a physical address are lost. The kernel tells listeners a moment later. */
export function reportMemoryError(address: number): void {
  const write = (name: string, value: string): void => fs.writeFileSync(path.join(FOLDER, name), `${value}\n`); // flags lose their last character
  write('flags', 'sw');
  write('status', `0x${STATUS.toString(16)}`);
  write('misc', `0x${MISC.toString(16)}`);
  write('addr', `0x${address.toString(16)}`);
  write('cpu', '0');
  write('bank', String(BANK)); // the last one: it sets the report off
}
