#!/bin/sh
# --guest-setup: makes the fault path longer on purpose, the same on every kernel with ftrace and without building anything. A function
# with a trigger pays for the trampoline and for a handler that finds tracing off already: some 45 to 75 instructions a call.
set -e
[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
echo 0 >/sys/kernel/tracing/tracing_on
echo 'dax_iomap_fault:traceoff' >/sys/kernel/tracing/set_ftrace_filter
grep -q traceoff /sys/kernel/tracing/set_ftrace_filter
