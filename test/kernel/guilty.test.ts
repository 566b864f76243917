// Which function gets the blame, and what a title may contain.
import { describe, expect, it } from 'vitest';
import { parseBody, parseFrame } from '../../src/kernel/body.js';
import { isHelper, sourceName } from '../../src/kernel/guilty.js';
import { scrub } from '../../src/kernel/titles.js';

describe('isHelper', () => {
  it.each(['memcpy', '__memcpy_mcsafe', 'memset_erms', '_raw_spin_lock_irqsave', 'native_queued_spin_lock_slowpath', 'kasan_report', '__asan_load8', 'dump_stack_lvl', 'panic', '__warn', 'report_bug', 'exc_page_fault', 'asm_exc_page_fault', '__list_del_entry_valid', 'refcount_warn_saturate', 'copy_mc_fragile', 'kmem_cache_alloc_trace', '__kmalloc', 'mutex_lock', 'down_read', 'xas_load', 'might_sleep', '___might_sleep', 'strlen', 'put_device'])(
    '%s is one',
    (name) => expect(isHelper(name)).toBe(true),
  );

  it.each(['memory_failure', 'memremap_pages', 'memmap_init_zone_device', 'dax_insert_entry', 'dax_lock_mapping_entry', 'grab_mapping_entry', 'fs_dax_release', 'stable_page_flags', 'arch_add_memory', 'ext4_fill_super', 'xfs_file_dax_read', 'pmem_do_bvec', 'nvdimm_bus_probe', 'sysrq_handle_crash', 'lock_two_nondirectories', 'copy_page_range', 'clear_hwpoisoned_pages', 'truncate_inode_pages_range', 'panic_blink_drill', 'memcpy_drill_module'.replace('memcpy_drill', 'drill_memcpy')])(
    '%s is none',
    (name) => expect(isHelper(name)).toBe(false),
  );

  it('knows what waiting CPUs and blocked tasks stand in', () => {
    expect(isHelper('smp_call_function_many_cond')).toBe(false);
    expect(isHelper('smp_call_function_many_cond', 'waiting')).toBe(true);
    expect(isHelper('io_schedule')).toBe(false);
    expect(isHelper('io_schedule', 'blocking')).toBe(true);
    expect(isHelper('get_unlocked_entry', 'blocking')).toBe(false);
  });
});

describe('sourceName', () => {
  it.each([
    ['dax_iomap_pmd_fault.isra.0', 'dax_iomap_pmd_fault'],
    ['do_exit.cold.14', 'do_exit'],
    ['vfs_kern_mount.part.29', 'vfs_kern_mount'],
    ['foo.constprop.0.cold', 'foo'],
    ['foo.llvm.1234567890', 'foo'],
    ['__x64_sys_madvise', 'sys_madvise'],
    ['SyS_write', 'sys_write'],
    ['__arm64_sys_msync', 'sys_msync'],
    ['.ipr_error', 'ipr_error'],
    ['ksys_write', 'ksys_write'],
  ])('%s -> %s', (symbol, name) => expect(sourceName(symbol)).toBe(name));
});

describe('scrub', () => {
  it.each([
    ['at ffff88003dd4a1f8 in task', 'at ADDR in task'],
    ['address 0x14d400 (pid 123)', 'address ADDR (N)'],
    ['stuck on CPU#3 for 22s!', 'stuck on CPU for 22s'],
    ['could not reserve region [mem 0x140000000-0x17fffffff]', 'could not reserve region range'],
    ['error -22 on pmem0p1', 'error N on pmem'],
    ['unable to mount on unknown-block(254,1)', 'unable to mount'],
  ])('%j -> %j', (text, title) => expect(scrub(text)).toBe(title));
});

describe('parseFrame', () => {
  it.each([
    [' [<ffffffff8107b7b4>] ? warn_slowpath_common+0x84/0xa0', { name: 'warn_slowpath_common', reliable: false, shown: 'warn_slowpath_common+0x84/0xa0' }],
    [' nd_pfn_validate+0x14b/0x650 [libnvdimm]', { name: 'nd_pfn_validate', module: 'libnvdimm', reliable: true }],
    [' xfs_iread+0x1/0x2 [xfs 0123456789abcdef0123456789abcdef01234567]', { name: 'xfs_iread', module: 'xfs', shown: 'xfs_iread+0x1/0x2 [xfs]' }],
    ['  kpageflags_read (fs/proc/page.c:249)', { name: 'kpageflags_read', source: 'fs/proc/page.c:249' }],
    [' vfs_read (fs/read_write.c:417 (discriminator 3)) ', { name: 'vfs_read' }],
    [' get_page include/linux/mm.h:500 [inline]', { name: 'get_page' }],
    ['[c000000f1a2b3ed0] [c0000000006f1e00] pmem_make_request+0x190/0x3c0 (unreliable)', { name: 'pmem_make_request', reliable: false }],
    ['[<80165504>] (kthread_stop) from [<825e31d8>] (foo+0x1/0x2)', { name: 'kthread_stop' }],
    [' __dabt_svc from memcpy+0x48/0x330', { name: '__dabt_svc' }],
  ])('%j', (text, expected) => expect(parseFrame(text)).toMatchObject(expected));

  it.each(['Modules linked in: a b', 'EXT4-fs (pmem0): mounted filesystem', 'see fs/dax.c:123 for why', ''])('%j is none', (text) => expect(parseFrame(text)).toBeUndefined());
});

describe('parseBody', () => {
  it.each([
    ['RIP: 0010:fs_dax_release+0x5/0x90', { type: 'pc', user: false, frame: { name: 'fs_dax_release' } }],
    ['RIP: 0010:[<ffffffff812a3b45>]  [<ffffffff812a3b45>] fs_dax_release+0x5/0x90', { type: 'pc', frame: { name: 'fs_dax_release' } }],
    ['IP: [<ffffffff812a3b45>] fs_dax_release+0x5/0x90', { type: 'pc', frame: { name: 'fs_dax_release' } }],
    ['RIP: 0033:0x7f1a2b3c4d5e', { type: 'pc', user: true }],
    ['RIP: 0010:0x0', { type: 'pc', user: false }],
    ['pc : dax_flush+0x1c/0x58', { type: 'pc', frame: { name: 'dax_flush' } }],
    ['NIP [c0000000006f1a2c] pmem_do_bvec+0xac/0x2f0', { type: 'pc', frame: { name: 'pmem_do_bvec' } }],
    ['CPU: 1 PID: 1234 Comm: kworker/u8:3 Tainted: G        W  OE     4.4.0-21-generic #37-Ubuntu', { type: 'cpu', cpu: 1, pid: 1234, task: 'kworker/u8:3', tainted: 'GWOE', release: '4.4.0-21-generic' }],
    ['CPU: 0 UID: 0 PID: 1 Comm: my prog Not tainted 6.12.0 #1', { type: 'cpu', pid: 1, task: 'my prog', release: '6.12.0' }],
    ['RAX: 0000000000000000 RBX: ffff9f2b3a5c8000 RCX: 0000000000000001', { type: 'registers' }],
    ['RSP: 0018:ffffb3a6c0c93d78 EFLAGS: 00010246', { type: 'registers' }],
    ['Code: 0f 1f 44 00 <48> 8b 07', { type: 'code', code: '0f 1f 44 00 <48> 8b 07' }],
    ['Call Trace:', { type: 'trace' }],
    [' </TASK>', { type: 'stack', name: 'TASK', open: false }],
    ['Workqueue: events_unbound async_run_entry_fn', { type: 'workqueue', name: 'async_run_entry_fn' }],
    ['---[ end trace 2a9f3a5ad1f2ab47 ]---', { type: 'end' }],
    ['Allocated by task 2431:', { type: 'other-trace' }],
  ])('%j', (text, expected) => expect(parseBody(text)).toMatchObject(expected));

  it('knows what belongs to no report', () => {
    for (const text of ['EXT4-fs (pmem0): mounted filesystem', 'usb 1-1: new device', 'audit: type=1400', '']) expect(parseBody(text), text).toBeUndefined();
  });
});
