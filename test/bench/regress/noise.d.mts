// Types of noise.mjs, for the tests.
export class Random {
  constructor(seed: number);
  /** In [0, 1). */
  uniform(): number;
  normal(): number;
  chance(p: number): boolean;
  between(low: number, high: number): number;
}

export interface Model {
  outliers?: number;
  boot?: number;
  shared?: number;
  drift?: number;
  modes?: number;
  bootModes?: number;
  skewed?: boolean;
}

export const MODELS: Record<
  'iid' | 'outliers' | 'boot' | 'drift' | 'hard' | 'multimodal' | 'bootmodes' | 'skewed',
  Model
>;

export function comparison(
  random: Random,
  model: Model,
  options: { blocks: number; samples: number; cv: number; shift?: number },
): { a: number[][]; b: number[][] };

export function sessions(
  random: Random,
  model: Model,
  options: { count: number; samples: number; cv: number; shift?: number; at?: number },
): number[][];
