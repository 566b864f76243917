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

interface Node {
  edges: Map<number, number>;
  fail: number;
  words: number[];
}

/** The automaton for ASCII words; word i is reported as i. */
export function buildMatcher(words: readonly string[]): Matcher {
  const nodes: Node[] = [{ edges: new Map(), fail: 0, words: [] }];
  const classOf = new Uint8Array(256);
  let classes = 1;
  for (const [index, word] of words.entries()) {
    let at = 0;
    for (const char of word) {
      const byte = char.charCodeAt(0);
      if (classOf[byte] === 0) classOf[byte] = classes++;
      let to = nodes[at]!.edges.get(byte);
      if (to === undefined) {
        to = nodes.push({ edges: new Map(), fail: 0, words: [] }) - 1;
        nodes[at]!.edges.set(byte, to);
      }
      at = to;
    }
    nodes[at]!.words.push(index);
  }

  // Breadth first: a node's failure link is shorter than itself, so it is complete when it is needed.
  const order = [0];
  for (let head = 0; head < order.length; head++) {
    const id = order[head]!;
    for (const [byte, child] of nodes[id]!.edges) {
      let fail = nodes[id]!.fail;
      while (fail !== 0 && !nodes[fail]!.edges.has(byte)) fail = nodes[fail]!.fail;
      const target = nodes[fail]!.edges.get(byte);
      nodes[child]!.fail = target === undefined || target === child ? 0 : target;
      nodes[child]!.words.push(...nodes[nodes[child]!.fail]!.words);
      order.push(child);
    }
  }

  const plain = order.filter((id) => nodes[id]!.words.length === 0);
  const rows = [...plain, ...order.filter((id) => nodes[id]!.words.length > 0)];
  const rowOf = new Map(rows.map((id, row) => [id, row * classes]));
  const next = new Uint32Array(rows.length * classes);
  for (const id of order) {
    const row = rowOf.get(id)!;
    if (id !== 0) next.copyWithin(row, rowOf.get(nodes[id]!.fail)!, rowOf.get(nodes[id]!.fail)! + classes);
    for (const [byte, child] of nodes[id]!.edges) next[row + classOf[byte]!] = rowOf.get(child)!;
  }
  return {
    classOf,
    next,
    accepting: plain.length * classes,
    width: classes,
    words: rows.slice(plain.length).map((id) => [...new Set(nodes[id]!.words)]),
  };
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
