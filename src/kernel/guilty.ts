// Which function of a trace to name: the first that is no helper. A helper does what its caller asked for (copies,
// locks, reports, allocates, waits); naming it would give one title to many faults and many titles to one.
import { memoized } from './memo.js';

/** Compiler-made clones carry the name of the function they were made from. */
const CLONE = /(?:_noprof)?\.(?:isra|constprop|part|cold|llvm|lto_priv|warm|text|unlikely)\b.*$/;
/** Entry points of one system call, as kernels of different ages name them. */
const SYSCALL_ENTRY = /^(?:SyS_|SYSC_|__(?:x64|ia32|arm64|s390x?|riscv|se|do|powerpc)_sys_)/;

/** A function's name as it is in the source, the same for every kernel built from it. */
export const sourceName = memoized((symbol: string): string => {
  return symbol.replace(/^\./, '').replace(CLONE, '').replace(/_noprof$/, '').replace(SYSCALL_ENTRY, 'sys_');
});

function table(groups: Record<string, readonly string[]>): RegExp {
  return new RegExp(`^(?:${Object.values(groups).flat().join('|')})$`);
}

/** Helpers of every report. */
const HELPER = table({
  'print the report': [
    'dump_stack(?:_lvl|_print_info)?', '__dump_stack', 'show_stack(?:_log_lvl)?', 'show_regs(?:_print_info)?', 'show_trace\\w*', 'walk_stackframe',
    'dump_backtrace\\w*', 'dump_page(?:_badflags)?', '_?_?v?printk\\w*', '_printk', 'va_format', '(?:v|vs|sc|vsc|s)n?printf', 'kv?asprintf\\w*',
    'pointer', 'string(?:_nocheck)?', '_?dev_(?:emerg|alert|crit|err|warn|notice|info|printk\\w*)', 'print_(?:report|address_description|unlock\\w*|usage_bug\\w*|circular_bug|trace_\\w+|tainted)',
    'arch_stack_walk', 'stack_trace_\\w+', 'save_stack\\w*', 'unwind_\\w+', 'profile_pc',
  ],
  'raise it': [
    'panic', 'vpanic', 'nmi_panic', '__warn\\w*', 'warn_slowpath\\w*', 'report_bug\\w*', '__report_bug', 'fixup_bug\\w*', 'handle_bug', 'oops_\\w+', 'die', '__die\\w*', 'die_\\w+', 'no_context', 'bug_handler',
    'page_fault_oops', 'kernelmode_fixup_or_oops', '_{0,2}bad_area\\w*', 'bad_area\\w*', 'do_trap\\w*', 'do_error_trap\\w*', '__ubsan_\\w+', 'ubsan_\\w+', 'handle_overflow', 'val_to_string',
    '__stack_chk_fail', '__fortify_\\w+', 'fortify_\\w+', 'brk_handler', 'call_break_hook', 'do_debug_exception', 'assfail', 'asswarn', 'x?fs_assert\\w*', 'usercopy_\\w+', '__check_(?:object_size|heap_object)', 'check_(?:stack_object|heap_object|page_span)',
    'add_taint', 'watchdog_timer_fn', 'watchdog_overflow_callback', 'rust_\\w*panic\\w*', 'rust_begin_unwind', '_R\\w*(?:panicking|rust_begin_unwind)\\w*',
  ],
  'fault and interrupt entry': [
    '(?:asm_|async_|trace_|__)?(?:do_)?(?:exc_)?page_fault', 'asm_\\w+', 'exc_\\w+', 'async_page_fault', 'do_user_addr_fault', 'do_kern_addr_fault', 'do_kernel_fault', 'do_translation_fault', 'do_mem_abort', 'do_alignment_fault', 'do_bad',
    'do_general_protection', 'general_protection', 'do_invalid_op', 'invalid_op', 'divide_error', 'do_divide_error', 'double_fault', 'do_double_fault', 'stack_segment', 'error_entry', 'paranoid_entry', 'spurious_\\w+',
    'el[01]\\w*', '__el[01]\\w*', '(?:__)?(?:sysvec_)?apic_timer_interrupt', '(?:smp_|local_|__sysvec_|sysvec_)\\w*apic_timer_interrupt', 'smp_trace_\\w+', 'sysvec_\\w+', '__sysvec_\\w+', 'ret_from_intr', 'retint_\\w+', 'common_interrupt', 'do_IRQ', 'handle_(?:irq|edge_irq|fasteoi_irq|level_irq)\\w*',
    'irq_exit\\w*', '__irq_exit_rcu', 'nmi', 'do_nmi', 'end_repeat_nmi', 'default_do_nmi', 'nmi_handle', 'perf_event_nmi_handler', 'machine_check', 'mce_\\w+', 'do_machine_check', 'bad_stack', 'handle_bad_stack', '__do_kernel_fault', 'die_kernel_fault',
    'data_access_\\w+', 'instruction_access_\\w+', 'handle_page_fault', 'program_check_\\w+', 'do_bad_\\w+', 'hash__do_page_fault', '___do_page_fault', 'pgm_check_handler', '__do_pgm_check', 'ret_from_exception', 'handle_exception', '_save_context', 'bad_page_fault\\w*',
  ],
  'copy and compare': [
    '_{0,3}(?:pi_)?mem(?:cpy|set|move|cmp|chr|scan|dup)(?:_\\w+)?', 'str(?:len|nlen|cmp|ncmp|cpy|ncpy|lcpy|scpy|cat|lcat|ncat|str|nstr|chr|rchr|sep|dup|ndup|spn|cspn)(?:_\\w+)?', 'sized_strscpy', 'kstrdup\\w*', 'kmemdup\\w*', 'read_word_at_a_time',
    '_{0,3}copy_(?:to|from|in)_\\w+', '_{0,2}copy_(?:user|mc)(?:_\\w+)?', 'copy_(?:page|folio)(?:_(?:regs|rep|erms|mc|to_iter|from_iter))?', 'copyin', 'copyout\\w*', 'rep_movs\\w*', 'clear_page\\w*', '_{0,2}clear_user\\w*', 'clear_user\\w*', '_{0,2}(?:get|put)_user\\w*', 'mcsafe_handle_tail', '__memcpy_mcsafe', 'arch_(?:wb_cache_pmem|copy)\\w*', 'clean_cache_range', '__arch_copy_\\w+',
    'csum_partial\\w*', 'crc(?:32|16|64|_t10dif)\\w*', '__crc32\\w*', 'iov_iter_\\w+', '_copy_(?:to|from)_iter\\w*', 'hex_dump_to_buffer', 'print_hex_dump\\w*', '_{0,2}(?:read|write)_once\\w*',
  ],
  'lock': [
    '(?:__|_|do_|arch_|native_|pv_|__pv_)?(?:raw_)?(?:queued_)?(?:spin|read|write)_(?:try|un)?lock\\w*', '_raw_\\w+lock\\w*', 'do_raw_\\w+', 'spin_(?:dump|bug)', 'native_queued_\\w+', '(?:__)?pv_queued_\\w+', 'queued_(?:read|write|spin)_\\w+', 'rwlock_bug', '__lock_text_start',
    '(?:__|___)?(?:ww_)?mutex_(?:lock|unlock|trylock|is_locked|spin|optimistic)\\w*', '__mutex_\\w+', 'mutex_\\w*lock\\w*', 'rt_mutex_\\w+', '__rt_mutex_\\w+', 'rt_spin_\\w+', '(?:__)?(?:down|up)(?:_(?:read|write|trylock|interruptible|killable|timeout)\\w*)?', 'rwsem_\\w+', '__rwsem\\w*', '(?:percpu|__percpu)_(?:down|up)_\\w+', 'call_rwsem_\\w+', 'osq_lock', 'rwsem_spin_on_owner', 'owner_on_cpu',
    'lock_(?:acquire|release|is_held\\w*|downgrade)', '__lock_(?:acquire|release)\\w*', 'lockdep_\\w+', 'validate_chain', 'check_(?:prev\\w*|noncircular|usage\\w*|deadlock|irq_usage|chain_key|wait_context|flags)', 'mark_(?:lock|held_locks|usage)\\w*', 'register_lock_class', 'assign_lock_key', 'find_held_lock', 'debug_\\w+', 'trace_hard(?:irq|irqs)\\w*', 'trace_softirqs\\w*', 'valid_state', 'print_lock\\w*', 'lock_set_class', '_{0,2}ww_mutex\\w+', 'bit_spin_\\w+', 'seqprop_\\w+', 'lock_page\\w*', '__lock_page\\w*', 'folio_(?:un)?lock', '__folio_lock\\w*', 'lock_(?:sock|buffer)\\w*',
    'local_bh_\\w+', '__local_bh_\\w+', 'preempt_\\w+', '__preempt\\w*', '_{0,2}might_(?:sleep|fault|resched)\\w*', '___might_sleep', '__cant_sleep', 'check_preemption_disabled', 'debug_smp_processor_id', 'rcu_(?:read_\\w+|lockdep_\\w+|is_watching|note_\\w+)', '__rcu_read_\\w+', '__this_cpu_\\w+', 'arch_local_irq_\\w+', 'native_(?:save|restore|irq)\\w*',
  ],
  'check and count': [
    'refcount_\\w+', '__refcount_\\w+', 'kref_\\w+', 'arch_atomic\\w+', 'atomic(?:64)?_\\w+', 'lockref_\\w+', '_{0,2}list_(?:add|del|splice|move|replace|cut|lru_\\w+)\\w*', '__hlist_\\w+', 'hlist_\\w+', 'rb_(?:erase|insert|next|prev|first|last|replace)\\w*', '__rb_\\w+', 'check_bytes_and_report', 'check_(?:object|slab)', 'slab_\\w+', 'object_err', 'print_trailer',
    'bad_page', 'free_pages_check\\w*', 'check_new_page\\w*', 'page_ref_\\w+', '(?:test|set|clear|change)_(?:and_\\w+_)?bit\\w*', 'find_(?:next|first)_\\w*bit\\w*', '_find_(?:next|first)_\\w*bit\\w*', 'xa[s_]_?(?:load|find|start|store|next|descend|reload|get_mark|set_mark|clear_mark)\\w*', 'should_fail\\w*', 'xas_\\w+', 'xa_\\w+', 'radix_tree_\\w+', '__radix_tree_\\w+', 'virt_to_\\w+', '__phys_addr\\w*', '__virt_addr_valid', 'debug_check_no_obj\\w*', '__debug_\\w+', 'work_is_static_object',
  ],
  'sanitizers': ['\\w*kasan_\\w+', '__asan_\\w+', '__hwasan_\\w+', '\\w*kmsan_\\w+', '__msan_\\w+', 'kfence_\\w+', '__kfence_\\w+', '\\w*kcsan_\\w+', '__tsan_\\w+', 'check_(?:memory_region|region_inline)\\w*', 'memory_is_\\w+', 'kmemleak_\\w+', '__sanitizer_\\w+', 'end_report', 'check_canary\\w*', 'object_is_static'],
  'allocate and free': ['(?:__)?k(?:v|z|m)?(?:v|z|m|c)?alloc\\w*', '__kmalloc\\w*', '__do_kmalloc\\w*', 'krealloc\\w*', 'kv?free\\w*', '__kfree\\w*', 'vfree\\w*', '__vfree\\w*', '__vunmap', 'v[mz]alloc\\w*', '__vmalloc\\w*', 'kmem_cache_(?:alloc|free|zalloc|destroy)\\w*', '__kmem_cache_\\w+', '__slab_\\w+', '___slab_\\w+', 'allocate_slab', 'new_slab', 'do_slab_free', 'slab_(?:alloc|free)\\w*', 'cache_(?:alloc|free)\\w*', '___cache_\\w+', '__alloc_pages\\w*', 'alloc_pages\\w*', '__alloc_frozen_pages\\w*', 'get_page_from_freelist', 'prep_new_page', 'post_alloc_hook', '__free_pages\\w*', 'free_(?:unref|hot_cold|pcppages|pages|frozen)\\w*', '__free_(?:page|frozen|one)\\w*', '__put_(?:single_)?page', 'warn_alloc\\w*', '_{0,2}get_free_pages?', 'get_zeroed_page', 'folio_alloc\\w*', '_{0,2}folio_alloc\\w*', 'vma_alloc_folio\\w*', 'mempool_\\w+', 'qlist_free_all', 'quarantine_\\w+', '___cache_free', 'memcg_\\w+charge\\w*', 'rmqueue\\w*', 'expand'],
  'driver core and timers': [
    'kobject_\\w+', 'kset_\\w+', 'add_uevent_var', 'get_device_parent', 'put_device', 'get_device', 'device_(?:add|del|unregister|destroy|release\\w*|for_each_child|remove_\\w+)', 'devres_\\w+', 'release_nodes', 'sysfs_(?:create|remove|add|warn|do)_\\w+', 'klist_\\w+', 'kernfs_(?:remove|find|name)\\w*', 'ida_(?:free|alloc\\w*)', 'idr_\\w+',
    '(?:try_to_)?del_timer\\w*', 'timer_(?:delete|shutdown|is_static)\\w*', '_{0,2}mod_timer\\w*', 'add_timer\\w*', '_{0,2}timer_delete\\w*', 'hrtimer_(?:cancel|try_to_cancel|start)\\w*', 'lock_timer_base', '_{0,2}queue_(?:delayed_)?work\\w*', 'insert_work', '_{0,2}flush_work\\w*', '_{0,2}cancel_\\w*work\\w*', 'start_flush_work', 'flush_workqueue', '_{0,2}flush_workqueue', 'drain_workqueue', 'destroy_workqueue', 'try_to_grab_pending',
    'complete(?:_all)?', '_{0,2}wake_up\\w*', 'try_to_wake_up', 'finish_wait', 'prepare_to_wait\\w*', 'wait_for_completion\\w*', 'kthread_stop', 'call_rcu\\w*', '_{0,2}call_rcu\\w*', 'kvfree_call_rcu', 'tasklet_\\w+', 'skb_(?:panic|over_panic|under_panic|push|pull|put|trim)', '_{0,2}skb_\\w*panic', 'create_object', 'hlock_class', 'look_up_lock_class', 'reacquire_held_locks', 'warn_bogus_irq_restore', '_{0,2}seqprop_\\w+', 'klp_\\w+', 'i(?:put|hold)', 'iput_final', 'drop_nlink', '_{0,2}stack_trace\\w*', 'check_panic_on_warn', '_{0,2}panic',
  ],
  'dispatch': ['__x86_indirect_thunk_\\w+', '__x86_return_thunk', 'retpoline_\\w+', '__SCT__\\w+', '__SCK__\\w+', '__traceiter_\\w+', 'perf_trace_\\w+', 'trace_event_\\w+', 'ftrace_\\w+', 'kprobe_\\w+', 'optimized_callback', 'bpf_\\w*trampoline\\w*', 'function_trace_call', 'call_\\w*fentry\\w*', '0x[0-9a-f]+', 'memory_corrupted', 'relocate_kernel', '__noinstr_text_start', '__entry_text_\\w+', '_stext', '_text', '_etext', 'asm_call_\\w+'],
});

/** Where a CPU that is being asked for its state stands: busy waiting and idling say nothing about who is guilty. */
const WAITING = table({
  spin: ['smp_call_function\\w*', '__smp_call_\\w+', 'csd_lock_wait\\w*', 'on_each_cpu\\w*', 'generic_exec_\\w+', 'flush_tlb_\\w+', 'native_flush_\\w+', 'cpu_relax', 'rep_nop', '_{0,2}(?:const_)?udelay', '_{0,2}delay\\w*', 'delay_\\w+', 'native_pause', 'kvm_wait', 'pv_wait\\w*', '_{0,2}kvm_\\w*hypercall\\w*', 'multi_cpu_stop', 'read_(?:hpet|tsc\\w*)', 'ktime_get\\w*', '_{0,2}ktime_\\w+', 'kvm_clock_\\w+', 'acpi_pm_read', 'cpu_stopper_thread', 'rcu_momentary_\\w+', 'stop_machine_yield'],
  idle: ['default_idle\\w*', 'arch_cpu_idle', 'native_safe_halt', 'native_halt', 'mwait_idle\\w*', 'acpi_(?:idle|safe_halt|processor_ffh)\\w*', 'intel_idle\\w*', 'cpuidle_\\w+', 'poll_idle', 'do_idle', 'cpu_startup_entry', 'start_secondary', 'rest_init', 'cpu_idle\\w*', 'pv_native_safe_halt', 'io_idle', 'tdx_\\w*halt'],
  report: ['nmi_\\w+', 'arch_trigger_\\w+', 'trigger_\\w*backtrace\\w*', 'rcu_(?:dump_cpu_stacks|check_callbacks|sched_clock_irq|pending|stall\\w*)\\w*', 'print_(?:cpu_stall\\w*|other_cpu_stall)', 'check_cpu_stall', 'update_process_times', 'tick_\\w+', '_{0,2}hrtimer_\\w+', 'sched_show_task', 'sched_clock\\w*', '__do_softirq', 'do_softirq\\w*', 'run_timer_softirq', 'call_timer_fn', '__run_timers'],
});

/** Where a task that does not run stands: what it waits with, not what it waits for. */
const BLOCKING = table({
  schedule: ['context_switch', '__switch_to\\w*', '_{0,2}schedule\\w*', 'schedule_\\w+', 'io_schedule\\w*', 'preempt_schedule\\w*', 'rt_mutex_schedule', 'kthread\\w*', 'ret_from_\\w+'],
  wait: ['\\w*wait_(?:for|on)_(?:common|completion|bit|page|buffer|sb|reserved|event)\\w*', '_{0,2}wait_for_common\\w*', 'do_wait_for_common', '__wait_(?:on|rcu|event)\\w*', 'wait_on_\\w+', 'bit_wait\\w*', 'out_of_line_wait\\w*', 'wait_for_\\w*completion\\w*', '_{0,2}folio_wait_\\w+', 'folio_wait_\\w+', 'folio_wait_bit\\w*', 'put_and_wait_\\w+', 'prepare_to_wait\\w*', '_{0,2}synchronize_\\w+', 'wait_rcu_gp\\w*', 'rcu_barrier\\w*', 'wakeup_\\w+', '\\w*fdatawait\\w*', 'ldsem_\\w+', 'console_lock', 'p9_\\w*rpc', '_{0,2}sched_text_start', 'wait_transaction_locked', 'jbd2_log_wait_commit', 'd_alloc_parallel', '_{0,2}flush_work\\w*', '__cancel_work\\w*', 'cancel_(?:delayed_)?work\\w*', 'flush_\\w*workqueue', 'msleep\\w*', 'usleep_\\w+', 'autoremove_\\w+', 'rq_qos_wait', 'swait_\\w+', '_{0,2}swait\\w*'],
});

/** True when `name` only did what its caller asked for, by kind of report. */
const HELPERS = {
  none: memoized((name) => HELPER.test(name)),
  waiting: memoized((name) => HELPER.test(name) || WAITING.test(name) || BLOCKING.test(name)),
  blocking: memoized((name) => HELPER.test(name) || BLOCKING.test(name)),
};

export type Skipping = keyof typeof HELPERS;

/** True when `name` only did what its caller asked for. */
export const isHelper = (name: string, skipping: Skipping = 'none'): boolean => HELPERS[skipping](name);
