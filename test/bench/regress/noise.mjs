// Seeded noise for the bench and the tests: what timings on real machines do to a detector. Every model is multiplicative
// around a level of 1 and skewed to the slow side; `cv` is the spread of one sample about its block's level.

/** Small fast generator of uniform numbers (sfc32), seeded through splitmix32. */
export class Random {
  #a;
  #b;
  #c;
  #counter = 1;
  #spare;

  constructor(seed) {
    let state = seed >>> 0;
    const next = () => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    [this.#a, this.#b, this.#c] = [next(), next(), next()];
    for (let i = 0; i < 12; i++) this.uniform();
  }

  uniform() {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  }

  normal() {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  chance(p) {
    return this.uniform() < p;
  }

  between(low, high) {
    return low + (high - low) * this.uniform();
  }
}

/**
 * What each model adds to the noise of the samples. `outliers`: the share of samples made 1.5 to 3 times as slow. `boot`:
 * spread of the level from boot to boot, in units of cv. `shared`: spread of a level that both boots of a block have, in
 * units of cv. `drift`: standard deviation, in units of cv, of an AR(1) process with coefficient 0.9 that steps once per
 * boot. `modes`: samples fall on the base level or 25% above; `bootModes`: whole boots do. `skewed`: an exponential tail
 * to the slow side instead of normal noise.
 */
export const MODELS = {
  iid: {},
  outliers: { outliers: 0.05 },
  boot: { boot: 0.5, shared: 1 },
  drift: { drift: 1 },
  hard: { outliers: 0.05, boot: 0.5, shared: 1, drift: 1 },
  multimodal: { modes: 0.35 },
  bootmodes: { modes: 0.35, bootModes: 0.3 },
  skewed: { skewed: true },
};

class Machine {
  constructor(random, model, cv) {
    this.random = random;
    this.model = model;
    this.cv = cv;
    this.drift = (model.drift ?? 0) * cv * random.normal();
  }

  /** Samples of one boot, `level` being the logarithm of what a quiet machine would show. */
  boot(samples, level) {
    const { random, model, cv } = this;
    const innovation = Math.sqrt(1 - 0.9 ** 2) * (model.drift ?? 0) * cv;
    this.drift = 0.9 * this.drift + innovation * random.normal();
    const high = model.bootModes !== undefined && random.chance(model.bootModes);
    const boot = level + this.drift + (model.boot ?? 0) * cv * random.normal() + (high ? Math.log(1.25) : 0);
    return Array.from({ length: samples }, () => {
      let log = boot + cv * (model.skewed ? -Math.log(1 - random.uniform()) : random.normal());
      if (model.modes !== undefined && random.chance(model.modes)) log += Math.log(1.25);
      if (model.outliers !== undefined && random.chance(model.outliers)) log += Math.log(random.between(1.5, 3));
      return 1000 * Math.exp(log);
    });
  }
}

/** Blocks of two boots in random order, B slower by the factor 1 + shift. */
export function comparison(random, model, { blocks, samples, cv, shift = 0 }) {
  const machine = new Machine(random, model, cv);
  const a = [];
  const b = [];
  for (let i = 0; i < blocks; i++) {
    const level = (model.shared ?? 0) * cv * random.normal();
    const boots = [
      [a, level],
      [b, level + Math.log1p(shift)],
    ];
    if (random.chance(0.5)) boots.reverse();
    for (const [side, value] of boots) side.push(machine.boot(samples, value));
  }
  return { a, b };
}

/** Sessions in time order; from index `at` on they are slower by the factor 1 + shift. */
export function sessions(random, model, { count, samples, cv, shift = 0, at = count }) {
  const machine = new Machine(random, model, cv);
  return Array.from({ length: count }, (_, i) => {
    const level = (model.shared ?? 0) * cv * random.normal();
    return machine.boot(samples, level + (i >= at ? Math.log1p(shift) : 0));
  });
}
