// Median and quartiles of samples, kept beside them so that a trend need not read them all.

export interface Quartiles {
  median: number;
  q1: number;
  q3: number;
}

/** By linear interpolation between the ordered samples. Throws nothing for one sample or more. */
export function quartiles(samples: Float64Array): Quartiles {
  const ordered = samples.length === 1 ? samples : Float64Array.from(samples).sort();
  const at = (share: number): number => {
    const place = share * (ordered.length - 1);
    const low = ordered[Math.floor(place)]!;
    return low + (ordered[Math.ceil(place)]! - low) * (place % 1);
  };
  return { q1: at(0.25), median: at(0.5), q3: at(0.75) };
}

/** Samples as they are stored, and back. Node runs on little-endian machines only. */
export function samplesOf(data: Buffer): Float64Array {
  // A copy: the buffer may start anywhere.
  return new Float64Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}
