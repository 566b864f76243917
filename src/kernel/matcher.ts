// Finds many literal words in bytes in one pass (Aho-Corasick), so that a log line costs the same however many rules
// there are. Newline is a word of its own: the scanner then needs a single test per byte.

export interface Matcher {
  /** Byte value -> column of the transition table. */
  readonly classOf: Uint8Array;
  /** Transitions; a state is the offset of its row. */
  readonly next: Uint32Array;
  /** Rows from this offset on are accepting. */
  readonly accepting: number;
  /** Row length. */
  readonly width: number;
  /** Words that end in an accepting row, by (row - accepting) / width. */
  readonly words: readonly (readonly number[])[];
}

/** The automaton for ASCII words; word i is reported as i. In flat arrays: it is built at every start, emulated ones too. */
export function buildMatcher(words: readonly string[]): Matcher {
  const most = words.reduce((sum, word) => sum + word.length, 1);
  const firstChild = new Uint32Array(most); // 0: none, since the root is nobody's child
  const sibling = new Uint32Array(most);
  const byteOf = new Uint8Array(most);
  const fail = new Uint32Array(most);
  const ends: (number[] | undefined)[] = new Array<undefined>(most);
  const childOf = (node: number, byte: number): number => {
    let child = firstChild[node]!;
    while (child !== 0 && byteOf[child] !== byte) child = sibling[child]!;
    return child;
  };

  const classOf = new Uint8Array(256);
  let classes = 1;
  let nodes = 1;
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    let at = 0;
    for (let i = 0; i < word.length; i++) {
      const byte = word.charCodeAt(i);
      if (classOf[byte] === 0) classOf[byte] = classes++;
      let to = childOf(at, byte);
      if (to === 0) {
        to = nodes++;
        byteOf[to] = byte;
        sibling[to] = firstChild[at]!;
        firstChild[at] = to;
      }
      at = to;
    }
    (ends[at] ??= []).push(index);
  }

  // Breadth first: a node's failure link is shorter than itself, so it is complete when it is needed.
  const order = new Uint32Array(nodes);
  let known = 1;
  for (let head = 0; head < nodes; head++) {
    const node = order[head]!;
    for (let child = firstChild[node]!; child !== 0; child = sibling[child]!) {
      const byte = byteOf[child]!;
      let link = fail[node]!;
      while (link !== 0 && childOf(link, byte) === 0) link = fail[link]!;
      const target = childOf(link, byte);
      fail[child] = target === child ? 0 : target;
      const inherited = ends[fail[child]!];
      if (inherited) ends[child] = [...new Set([...(ends[child] ?? []), ...inherited])];
      order[known++] = child;
    }
  }

  const plain = order.filter((node) => ends[node] === undefined);
  const final = order.filter((node) => ends[node] !== undefined);
  const rowOf = new Uint32Array(nodes);
  plain.forEach((node, row) => (rowOf[node] = row * classes));
  final.forEach((node, row) => (rowOf[node] = (plain.length + row) * classes));
  const next = new Uint32Array(nodes * classes);
  for (const node of order) {
    const row = rowOf[node]!;
    if (node !== 0) next.copyWithin(row, rowOf[fail[node]!]!, rowOf[fail[node]!]! + classes);
    for (let child = firstChild[node]!; child !== 0; child = sibling[child]!) next[row + classOf[byteOf[child]!]!] = rowOf[child]!;
  }
  return { classOf, next, accepting: plain.length * classes, width: classes, words: Array.from(final, (node) => ends[node]!) };
}

/** Runs the automaton over bytes that come in pieces. */
export class Scanner {
  readonly #matcher: Matcher;
  #state = 0;

  constructor(matcher: Matcher) {
    this.#matcher = matcher;
  }

  /** Index of the next byte in [from, end) that completes a word, or `end`. */
  find(bytes: Uint8Array, from: number, end: number): number {
    // Locals, and a loop with nothing else in it: this runs once per byte of the log.
    const { classOf, next, accepting } = this.#matcher;
    let state = this.#state;
    let at = from;
    for (; at < end; at++) {
      state = next[state + classOf[bytes[at]!]!]!;
      if (state >= accepting) break;
    }
    this.#state = state;
    return at;
  }

  /** The words that end at the byte `find` stopped at. */
  get words(): readonly number[] {
    const { accepting, width, words } = this.#matcher;
    return words[(this.#state - accepting) / width]!;
  }

  /** Forgets what it has seen: a new line begins. */
  reset(): void {
    this.#state = 0;
  }
}
