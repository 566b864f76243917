// Memory failures through madvise(2), counted and kept in a journal so that each can be told, and undone, later.
import type { Mapping } from '../native.js';
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
  return {
    hwpoison(mapping, offset, length = 4096) {
      const page = (mapping as Mapping).pagemap(offset, 1)[0];
      journal.push({ method: 'madvise-hwpoison', offset, length, ...(page?.present ? { pfn: page.pfn } : {}) });
      return mapping.madvise(offset, length, 'hwpoison');
    },
    get count() {
      return journal.length;
    },
  };
}
