// Memory failures through madvise(2), counted and kept in a journal so that each can be told, and undone, later.
import { measure, type Mapping } from '../native.js';
import type { Injector } from '../workload/types.js';

export interface Injection {
  method: 'madvise-hwpoison';
  /** Physical frame that was poisoned, where the page table told it. */
  pfn?: number;
  offset: number;
  length: number;
}

/** An injector that writes every failure into `journal` before it happens. */
export function madviseInjector(journal: Injection[]): Injector {
  const note = (mapping: Mapping, offset: number, length: number): void => {
    const page = mapping.pagemap(offset, 1)[0];
    journal.push({ method: 'madvise-hwpoison', offset, length, ...(page?.present ? { pfn: page.pfn } : {}) });
  };
  return {
    hwpoison(mapping, offset, length = 4096) {
      note(mapping, offset, length);
      return mapping.madvise(offset, length, 'hwpoison');
    },
    hwpoisonTimed(mapping, offset) {
      note(mapping, offset, 4096);
      const { steps, signal } = measure(1, [{ op: 'madvise', mapping, at: offset, length: 4096, advice: 'hwpoison', timed: true, mayFault: true }]);
      return { ns: steps[0]!.samples![0]!, ...(signal === undefined ? {} : { signal }) };
    },
    get count() {
      return journal.length;
    },
  };
}
