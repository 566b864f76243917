// Prepared guests of one target: where several instances ask for the same place, it is made once, in a guest that is saved anew, and
// each of them runs in a fresh copy of that.
import os from 'node:os';
import { filledIn } from '../device/provision.js';
import type { PreparedGuest } from '../guest/prepare.js';
import type { SavedState } from '../guest/state.js';
import { GiB, jsonText } from '../units.js';
import type { PlannedInstance } from './plan.js';
import { placeRequest } from './prepared.js';

/** Preparing costs about as much as two instances spend on it. */
const WORTH_IT = 3;

/** Free memory below which nothing more is prepared: a prepared guest takes some 300 MiB for as long as instances are left for it. */
const FREE_MEMORY = 3 * GiB;

interface Group {
  /** Instances that are still to be started. */
  left: number;
  /** Undefined inside: it did not come about, and its instances make their places themselves. */
  guest?: Promise<PreparedGuest | undefined>;
}

/** Those that only measure, and on request, have their guest's whole life to themselves. */
const isAlone = ({ workload }: PlannedInstance): boolean => workload.onRequest === true;

export class PreparedGuests {
  readonly #groups = new Map<string, Group>();
  readonly #legacy: boolean;

  /** `legacy`: the guest's regions are memmap='s. */
  constructor(legacy: boolean) {
    this.#legacy = legacy;
  }

  /** Announces instances that will come. */
  expect(instances: readonly PlannedInstance[]): void {
    for (const instance of instances) {
      if (isAlone(instance)) continue;
      const group = this.#groups.get(this.#keyOf(instance)) ?? { left: 0 };
      group.left++;
      this.#groups.set(this.#keyOf(instance), group);
    }
  }

  /**
   * Has `start` begin the instance in a copy of the guest prepared for it, which `prepare` makes when the first one asks. Undefined
   * where there is none.
   */
  async start<T>(instance: PlannedInstance, prepare: () => Promise<PreparedGuest | undefined>, start: (state: SavedState) => Promise<T>): Promise<T | undefined> {
    // One that was not counted must not count as having begun: the guest would go before the last that was.
    const group = isAlone(instance) ? undefined : this.#groups.get(this.#keyOf(instance));
    if (!group) return undefined;
    if (!group.guest) {
      if (group.left < WORTH_IT || os.freemem() < FREE_MEMORY) {
        group.left--;
        return undefined;
      }
      group.guest = prepare();
    }
    try {
      const guest = await group.guest;
      return guest && (await start(guest.state));
    } finally {
      if (--group.left === 0) await this.#release(group);
    }
  }

  async #release(group: Group): Promise<void> {
    const guest = await group.guest?.catch(() => undefined);
    delete group.guest;
    guest?.release();
  }

  /** Lets go of all of them. */
  async close(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => this.#release(group)));
    this.#groups.clear();
  }

  /** Equal for instances that get the same place. */
  #keyOf({ workload, params }: PlannedInstance): string {
    const request = placeRequest(workload, params);
    return request ? jsonText(filledIn(request, this.#legacy)) : '';
  }
}
