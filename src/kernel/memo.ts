// Remembering what pure functions of short texts gave: the lines and names of reports repeat.

/** `compute` with a memory of the texts it was asked for of late: between `entries` and twice as many. */
export function memoized<T>(compute: (text: string) => T, entries = 4096): (text: string) => T {
  let young = new Map<string, T>();
  let old = new Map<string, T>();
  return (text) => {
    let value = young.get(text);
    if (value !== undefined || young.has(text)) return value as T;
    value = old.get(text);
    if (value === undefined && !old.has(text)) value = compute(text);
    if (young.size >= entries) {
      old = young;
      young = new Map();
    }
    young.set(text, value as T);
    return value as T;
  };
}

