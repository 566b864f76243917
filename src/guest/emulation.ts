// What goes wrong in QEMU's TCG and must not be laid at the kernel's door.

/** Bits of EFLAGS that are zero, and the one that is set, on every x86 CPU (Intel SDM, volume 1, section 3.4.3). */
const ALWAYS_ZERO = 0xffc0_8028;
const ALWAYS_ONE = 0x2;

/**
 * The flags in a crash's own registers, which the CPU itself stored at that moment, when no CPU can have them; undefined otherwise.
 * TCG works flags out when they are asked for: once in many hundred guests (QEMU 7.2, an interrupt behind a decrement) it took an
 * address for them, and the kernel went down on its return to them.
 */
export function impossibleFlags(report: string): string | undefined {
  const text = /\bEFLAGS: ([0-9a-f]{8})\b/.exec(report)?.[1];
  if (text === undefined) return undefined;
  const flags = parseInt(text, 16);
  return (flags & ALWAYS_ZERO) !== 0 || (flags & ALWAYS_ONE) === 0 ? text : undefined;
}
