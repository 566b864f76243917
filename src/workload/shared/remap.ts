// mremap of one small page out of a huge mapping: the kernel has to split or drop the huge entry, or to refuse.
// Success with the right data and refusal are both right; a wrong byte on either side, or a signal, is not.
import { SystemError } from '../../errors.js';
import type { Place } from '../../device/place.js';
import { Mapping, type Pattern } from '../../native.js';
import { PAGE, PMD, mapped, proveLevel } from './huge.js';
import type { Context } from '../types.js';

export function remapOut(ctx: Context, place: Place, mapping: Mapping, level: 'pmd' | 'pud' | 'pte'): void {
  const length = Math.min(mapping.length, PMD);
  const pattern: Pattern = { kind: 'words', seed: ctx.seed + 7, base: 0 };
  mapping.fill(0, length, pattern);
  proveLevel(ctx, place, mapping, 0, level, 'before mremap');
  const anonymous = mapped(ctx, Mapping.anonymous({ length: PMD, align: PMD }));
  anonymous.fill(0, PMD, { kind: 'byte', value: 0xa5 });

  const at = length / 2;
  ctx.step('moving 4 KiB out of the huge mapping');
  let moved = true;
  try {
    mapping.remapOnto(at, PAGE, anonymous, 0);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    moved = false;
    ctx.prove('mremap', `refused: ${error.code}`);
    ctx.expect(['EINVAL', 'EFAULT', 'EOPNOTSUPP'].includes(error.code), 'mremap should be refused with EINVAL, EFAULT or EOPNOTSUPP if at all', error.code);
  }
  const base = at;
  if (moved) {
    ctx.prove('mremap', 'moved');
    const page = anonymous.verify(0, PAGE, { ...pattern, base } as Pattern);
    // A device maps by its own alignment alone: older kernels let the move happen and refuse the fault (dev_dax_huge_fault).
    const refusedAtFault = place.kind === 'devdax' && page.signal?.signal === 'SIGBUS' && page.signal.code === 'BUS_ADRERR';
    if (refusedAtFault) ctx.prove('mremap', 'moved; the fault was refused: BUS_ADRERR');
    ctx.expect(page.ok || refusedAtFault, 'the moved page should show the data at its new address, or be refused', page);
    if (!refusedAtFault) {
      const gone = mapping.touch({ offset: at, count: 1, stride: PAGE, access: 'read' });
      ctx.expect(gone.signal !== undefined, 'the old address of a moved page should be unmapped', gone);
    }
  } else {
    const kept = mapping.verify(at, PAGE, { ...pattern, base } as Pattern);
    ctx.expect(kept.ok, 'after a refusal the mapping should be as before', kept);
  }
  // mremap(2) unmaps the target page before it looks at the source: that one page may be gone even after a refusal.
  const rest = anonymous.verify(PAGE, PMD - PAGE, { kind: 'byte', value: 0xa5 });
  ctx.expect(rest.ok, 'ordinary memory around the moved page should be untouched', rest);
  for (const [from, to] of [[0, at], [at + PAGE, length]] as const) {
    const part = mapping.verify(from, to - from, { ...pattern, base: from } as Pattern);
    ctx.expect(part.ok, `the mapping should keep its data around the page (${from}..${to})`, part);
  }
}
