// Guards that one devdax device mapped by several processes is one memory (drivers/dax/device.c: dev_dax_huge_fault for
// each address space; mm/memory.c: copy_page_range leaves such areas to be faulted anew): stores are seen across, by fork
// and by independent opens, and one process's end takes nothing from the other.
import { levelOf, mapDevdax, openDevdax } from '../shared/devdax-map.js';
import { tookFaults } from '../shared/faults.js';
import { PAGE, PMD, proveLevel } from '../shared/huge.js';
import { startPeer } from '../shared/peer.js';
import { defineWorkload, type Context } from '../types.js';

const words = (seed: number, base = 0) => ({ kind: 'words', seed, base }) as const;

export default defineWorkload({
  name: 'devdax/two-processes',
  about: 'a devdax device mapped by a parent, its fork and an independent process: stores seen across, ends survived, remote reads',
  guards: ['ndctl device-dax: fork', 'kernel copy_page_range, process_vm_readv on devdax'],
  needs: { dax: 'devdax', size: 8 * PMD },
  params: { align: ['2M', '4K', '1G'] },
  thorough: { align: ['4K', '1G'] }, // devdax/fault and verify have small pages
  async run(ctx: Context) {
    const { path, align } = ctx.devdax;
    const fd = openDevdax(ctx);
    const length = Math.max(2 * PMD, align);
    const shown = 2 * PMD;
    using mapping = mapDevdax(ctx, fd, 0, length);
    mapping.fill(0, shown, words(1));

    ctx.step('fork');
    const child = mapping.forkVerify(0, shown, words(1));
    ctx.expect(child.outcome === 'equal', 'a forked child should see the parent\'s data', child);
    const wrote = mapping.forkWrite(PMD, PMD, words(2, PMD));
    ctx.expect(wrote.outcome === 'written', 'a forked child should be able to store', wrote);
    const seen = mapping.verify(PMD, PMD, words(2, PMD));
    ctx.expect(seen.ok, 'the parent should see the child\'s stores', seen);

    ctx.step('an independent process');
    const peer = startPeer(ctx);
    await peer.ask({ do: 'map', path, length, align: Math.max(PMD, align) });
    const first = await peer.ask({ do: 'verify', offset: 0, length: PMD, pattern: words(1) });
    ctx.expect(first.ok === true, 'another process should see what was stored before it mapped', first);
    mapping.fill(0, PAGE, words(3));
    const live = await peer.ask({ do: 'verify', offset: 0, length: PAGE, pattern: words(3) });
    ctx.expect(live.ok === true, 'another process should see a store at once', live);
    await peer.ask({ do: 'fill', offset: 8 * PAGE, length: PAGE, pattern: words(4) });
    const back = mapping.verify(8 * PAGE, PAGE, words(4));
    ctx.expect(back.ok, 'this process should see the other\'s store', back);
    const remote = await peer.ask({ do: 'vm-verify', pid: process.pid, address: mapping.address + BigInt(PMD), length: PMD, pattern: words(2) });
    ctx.expect(remote.ok === false, 'a pattern of another position should not compare equal', remote); // the comparison itself can fail
    const right = await peer.ask({ do: 'vm-verify', pid: process.pid, address: mapping.address + BigInt(PMD), length: PMD, pattern: words(2, PMD) });
    ctx.expect(right.ok === true, 'process_vm_readv by another process should give the data', right);

    ctx.step('the other process ends');
    await peer.end();
    for (const [offset, size, pattern] of [[0, PAGE, words(3)], [8 * PAGE, PAGE, words(4)], [PMD, PMD, words(2, PMD)]] as const) {
      const check = mapping.verify(offset, size, pattern);
      ctx.expect(check.ok, `after the other process ended, ${offset} should hold its data`, check);
    }
    const faults = mapping.countFaults({ offset: 0, length: shown, step: PAGE });
    ctx.expect(tookFaults(faults.minorFaults, 0, shown / PAGE), 'another process\'s end should unmap nothing here', faults);
    proveLevel(ctx, ctx.devdax, mapping, 0, levelOf(align), 'after the other process ended');
  },
});
