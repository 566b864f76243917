import { describe, expect, it } from 'vitest';
import { differences, selfCosts, type Profile } from '../../src/measure/profile.js';

/** As 6.1 writes it, with a module's function, an interrupted beginning and a flag for long ones. */
const TRACE = `# tracer: function_graph
#
# CPU  DURATION                  FUNCTION CALLS
# |     |   |                     |   |   |   |
 0)   0.500 us    |  } /* ksys_write */
 0)               |  handle_mm_fault() {
 0)   0.600 us    |    __rcu_read_lock();
 0)               |    ext4_dax_huge_fault [ext4]() {
 0)               |      dax_iomap_fault() {
 0)   0.700 us    |        _raw_spin_lock_irq();
 0) + 11.300 us   |      } /* dax_iomap_fault */
 0) ! 112.000 us  |    } /* ext4_dax_huge_fault [ext4] */
 0) ! 120.600 us  |  } /* handle_mm_fault */
 0)   0.650 us    |  up_read(); /* ret=0x0 */
 ------------------------------------------
 0)               |  down_write() {
`;

describe('a function graph trace', () => {
  it('is added up by function, each without those it calls', () => {
    const costs = new Map(selfCosts(TRACE).map(({ name, ...cost }) => [name, cost]));
    expect(Object.fromEntries(costs)).toEqual({
      __rcu_read_lock: { calls: 1, self: 600, children: 0 },
      _raw_spin_lock_irq: { calls: 1, self: 700, children: 0 },
      dax_iomap_fault: { calls: 1, self: 10_600, children: 1 },
      ext4_dax_huge_fault: { calls: 1, self: 100_700, children: 1 },
      handle_mm_fault: { calls: 1, self: 8000, children: 2 },
      up_read: { calls: 1, self: 650, children: 0 },
    });
  });

  it('has nothing where nothing was traced', () => {
    expect(selfCosts('')).toEqual([]);
    expect(selfCosts('# tracer: nop\n')).toEqual([]);
  });

  it('loses a call whose end is missing, not its caller', () => {
    const costs = selfCosts(' 0)               |  a() {\n 0)               |    b() {\n 0)   2.000 us    |  } /* a */\n');
    expect(costs).toEqual([{ name: 'a', calls: 1, self: 2000, children: 0 }]);
  });
});

describe('differences between two profiles', () => {
  // 500 ns within each call and 300 ns between it and its caller are the tracer's, as long as a leaf takes none itself.
  const traced = (costs: Record<string, [calls: number, own: number, children: number]>): Profile => ({
    operations: 10,
    functions: Object.entries(costs).map(([name, [calls, own, children]]) => ({ name, calls: calls * 10, children: children * 10, self: 10 * (calls * 500 + own + children * 300) })),
  });

  it('says what the functions themselves cost, whatever the tracer did', () => {
    const a = traced({ fault: [1, 4000, 3], lock: [2, 0, 0], insert: [1, 1000, 0] });
    const b = traced({ fault: [1, 4000, 5], lock: [4, 0, 0], insert: [1, 1130, 0], extra: [1, 70, 0] });
    const found = differences(a, 5000, b, 5200);
    expect(found.slice(0, 2)).toEqual([
      { function: 'insert', a: 1000, b: 1130, callsA: 1, callsB: 1 },
      { function: 'extra', a: 0, b: 70, callsA: 0, callsB: 1 },
    ]);
    expect(found.find((one) => one.function === 'lock')).toMatchObject({ a: 0, b: 0, callsA: 2, callsB: 4 });
    expect(found.reduce((sum, one) => sum + one.b - one.a, 0)).toBeCloseTo(200, 6);
  });
});
