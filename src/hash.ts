// A hash that costs nothing to load: a guest's agent would pay for node:crypto before it can start.

/** FNV-1a, 64 bits as 16 hexadecimal digits, over the text's UTF-16 units. `offset` is the basis: another one, another hash. */
export function fnv1a(text: string, offset = 0xcbf29ce484222325n): string {
  let low = Number(offset & 0xffffffffn);
  let high = Number(offset >> 32n);
  for (let at = 0; at < text.length; at++) {
    low = (low ^ text.charCodeAt(at)) >>> 0;
    // times 0x100000001b3, in halves that stay exact
    const product = low * 0x1b3;
    const carry = Math.floor(product / 2 ** 32);
    high = (high * 0x1b3 + low * 0x100 + carry) % 2 ** 32;
    low = product >>> 0;
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}
