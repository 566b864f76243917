// Makes the kernel's free words fit for a title: what differs from run to run is taken out or given a common name.

const SCRUB: readonly [RegExp, string][] = [
  [/\(device [^)]*\)/g, ''],
  [/\bexitcode ?=? ?0x[0-9a-f]+/g, ''],
  [/\bunknown-block\([\d,x]+\)/g, 'unknown-block'],
  [/\bon unknown-block\b/g, ''],
  [/\[<[0-9a-f]+>\]/g, ''],
  [/\[mem 0x[0-9a-f]+-0x[0-9a-f]+[^\]]*\]/g, 'range'],
  [/\b0x[0-9a-f]+\b/gi, 'ADDR'],
  [/\b(?=[0-9a-f]*\d)[0-9a-f]{8,16}\b/g, 'ADDR'],
  [/\bCPU ?#?\d+\b/gi, 'CPU'],
  [/\b(?:pid|process|task|inode)[ :#]+\d+\b/gi, 'N'],
  [/\+ADDR\/ADDR/g, ''],
  [/\b([a-z]+)\d+(\.\d+)+\b/g, '$1'],
  [/\b(pmem|dax|namespace|region|nmem|btt|pfn|ndbus|loop|dm-|md|vd[a-z]|sd[a-z]|nvme)\d+[\w.]*\b/g, '$1'],
  [/(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])/g, 'N'],
  [/\s+/g, ' '],
];

/** A piece of kernel text without addresses, pids, CPU numbers, sizes or device numbers. */
export function scrub(text: string): string {
  let out = text;
  for (const [match, replacement] of SCRUB) out = out.replace(match, replacement);
  return out.replace(/[.!:;, ]+$/, '').trim();
}
