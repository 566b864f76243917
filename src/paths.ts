// Where the program itself lies: beside this file in dist/, and so does whatever is bundled from it.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The folder of the program: package.json, dist, build. */
export const programRoot = path.dirname(here);

/** A file below dist/. */
export const programFile = (name: string): string => path.join(here, name);
