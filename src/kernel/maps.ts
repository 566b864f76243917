// The memory maps of a boot, read from its log: what firmware reported, what the user made of it, how nodes and zones lie.
import type { E820Range, NodeRange, PmemRange, ZoneRange } from './types.js';

const RANGE = String.raw`\[mem (0x[0-9a-f]+)-(0x[0-9a-f]+)\]`;
const E820 = new RegExp(String.raw`^(BIOS-e820|BIOS-88|BIOS-e801|user|modified|extended|reserve setup_data|setup_data)(?:: | \w+: )${RANGE}(?: +[\d.]+ +[KMGT]?B)? +(.+?)$`);
const EARLY_NODE = new RegExp(String.raw`^node +(\d+): ${RANGE}`);
const NODE_SPAN = new RegExp(String.raw`^Initmem setup node (\d+)(?: as memoryless| ${RANGE})`);
const ZONE = new RegExp(String.raw`^(DMA|DMA32|Normal|HighMem|Movable|Device) +${RANGE}`);
const SRAT = new RegExp(String.raw`^(?:ACPI: )?SRAT: Node (\d+) PXM \d+ ${RANGE}(.*)`);
const RESERVED_PMEM = /^(?:pmem|persistent)/i;

/** Kernels from 7.0 on call the types otherwise; the older names are kept, so that maps compare. */
const RENAMED: Record<string, string> = {
  'System RAM': 'usable',
  'device reserved': 'reserved',
  'persistent RAM': 'persistent (type 7)',
  'persistent RAM (type 7)': 'persistent (type 7)',
  'persistent RAM (type 12)': 'persistent (type 12)',
};

export const MAP_WORDS = ['BIOS-e820: ', 'user: [mem', 'modified: [mem', 'SRAT: Node', 'Initmem setup node', ' node ', 'node  ', 'DMA ', 'DMA32 ', 'Normal ', 'Movable ', 'Device ', 'HighMem '];

/** Bounds what a log of many boots, or of nonsense, can make this keep. */
const MAX_RANGES = 1024;

/** Collects the maps of a log's first boot. */
export class MemoryMaps {
  readonly e820: { bios: E820Range[]; user: E820Range[] } = { bios: [], user: [] };
  readonly nodes: NodeRange[] = [];
  readonly nodeSpans: NodeRange[] = [];
  readonly zones: ZoneRange[] = [];
  readonly srat: (NodeRange & { flags?: string })[] = [];

  line(indented: string): void {
    const text = indented.trimStart();
    const e820 = E820.exec(text);
    if (e820 !== null) {
      const [, map, start, end, type] = e820;
      const range = { start: shorten(start!), end: shorten(end!), type: RENAMED[type!] ?? type! };
      if (map!.startsWith('BIOS')) push(this.e820.bios, range);
      else if (map === 'user') push(this.e820.user, range);
      return;
    }
    const node = EARLY_NODE.exec(text);
    if (node !== null) return push(this.nodes, { node: Number(node[1]), start: shorten(node[2]!), end: shorten(node[3]!) });
    const span = NODE_SPAN.exec(text);
    if (span !== null) {
      if (span[2] !== undefined) push(this.nodeSpans, { node: Number(span[1]), start: shorten(span[2]), end: shorten(span[3]!) });
      return;
    }
    const zone = ZONE.exec(text);
    if (zone !== null) return push(this.zones, { zone: zone[1]!, start: shorten(zone[2]!), end: shorten(zone[3]!) });
    const srat = SRAT.exec(text);
    if (srat !== null) {
      const flags = srat[4]!.trim();
      push(this.srat, { node: Number(srat[1]), start: shorten(srat[2]!), end: shorten(srat[3]!), ...(flags === '' ? {} : { flags }) });
    }
  }

  /** Persistent memory as the maps show it; the user's map replaces the firmware's. */
  pmem(): PmemRange[] {
    const [map, source] = this.e820.user.length > 0 ? [this.e820.user, 'user-defined e820 map'] : [this.e820.bios, 'BIOS-provided e820 map'];
    return map.filter((range) => RESERVED_PMEM.test(range.type)).map(({ start, end }) => ({ start, end, source }));
  }
}

/** 0x0000000100000000 -> 0x100000000. */
function shorten(address: string): string {
  return `0x${BigInt(address).toString(16)}`;
}

function push<T>(list: T[], item: T): void {
  if (list.length < MAX_RANGES) list.push(item);
}
