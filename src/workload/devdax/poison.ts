// Guards memory failure on devdax mappings (report R4's relatives; mm/memory-failure.c: memory_failure_dev_pagemap).
import type { Pattern } from '../../native.js';
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { PAGE, PMD, proveLevel } from '../shared/huge.js';
import { expectSoftOfflineRefused, poisonOnce } from '../shared/poison.js';
import { defineWorkload, type Context } from '../types.js';

const SHIFT = { pte: 12, pmd: 21, pud: 30 } as const;

export default defineWorkload({
  name: 'devdax/poison',
  about: 'soft offline refused; memory failure in the middle of a devdax page: signal, what is unmapped, neighbours, rewrite',
  guards: ['ndctl device-dax: test_dax_soft_offline, test_dax_poison'],
  needs: { dax: 'devdax', size: 8 * PMD, kconfig: ['MEMORY_FAILURE'] },
  params: { map: ['mem', 'dev'], align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] },
  quick: { map: ['mem'] },
  expectsLog: ['memory-failure', 'mce'],
  async run(ctx: Context) {
    const { align } = ctx.devdax;
    const level = levelOf(align);
    const fd = openDevdax(ctx);
    const length = Math.max(2 * PMD, align);
    const mapping = mapDevdax(ctx, fd, 0, length);
    const pattern: Pattern = { kind: 'words', seed: 31, base: 0 };
    const shown = 2 * PMD;
    mapping.fill(0, shown, pattern);
    proveLevel(ctx, ctx.devdax, mapping, 0, level, 'before poison');
    const at = PMD / 2;
    await expectSoftOfflineRefused(ctx, mapping, at);
    await poisonOnce(ctx, mapping, at, SHIFT[level], `the middle of a page of ${align} bytes`);

    // The kernel unmaps the block that si_addr_lsb tells, and nothing beside it: that one entry is made anew by the first access to it.
    const beside = [0, at - PAGE, at + PAGE, shown - PAGE];
    const faults = beside.map((offset) => mapping.touch({ offset, count: 1, access: 'read' }).minorFaults);
    ctx.prove('faults beside the poisoned page', Object.fromEntries(beside.map((offset, i) => [offset, faults[i]])));
    ctx.expect(faults.join() === (align > PAGE ? '1,0,0,0' : '0,0,0,0'), `of the pages beside it, those in the same ${align} bytes should be unmapped, and no others`, faults);
    for (const offset of beside) {
      const check = mapping.verify(offset, PAGE, { ...pattern, base: offset } as Pattern);
      ctx.expect(check.ok, `the page at ${offset}, beside the poisoned one, should stay readable`, check);
    }
    ctx.step('rewriting the poisoned page');
    const fresh: Pattern = { kind: 'words', seed: 32, base: at };
    const written = mapping.fill(at, PAGE, fresh);
    ctx.expect(written.signal === undefined, 'the page should take new data', written.signal);
    const check = mapping.verify(at, PAGE, fresh);
    ctx.expect(check.ok, 'the page that was poisoned should read back the new data', check);
  },
});
