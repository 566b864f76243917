// What is mounted where, from /proc/self/mountinfo (proc(5)).
import fs from 'node:fs';
import path from 'node:path';

export interface Mount {
  /** "major:minor" of the device. */
  dev: string;
  mountPoint: string;
  type: string;
  source: string;
  /** Options of the mount and of the file system (super block). */
  options: string[];
}

const unescape = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

export function parseMountinfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    if (right === undefined) return [];
    const [, , dev, , mountPoint, options] = left!.split(' ');
    const [type, source, superOptions] = right.split(' ');
    return [{ dev: dev!, mountPoint: unescape(mountPoint!), type: type!, source: unescape(source!), options: [...options!.split(','), ...(superOptions ?? '').split(',')] }];
  });
}

export const mounts = (): Mount[] => parseMountinfo(fs.readFileSync('/proc/self/mountinfo', 'utf8'));

/** The mount that a path lies on: the longest mount point above it, the last one mounted there. */
export function mountOf(target: string, all: readonly Mount[] = mounts()): Mount | undefined {
  const real = path.resolve(target);
  return all
    .filter(({ mountPoint }) => mountPoint === '/' || real === mountPoint || real.startsWith(`${mountPoint}/`))
    .reduce<Mount | undefined>((best, mount) => (best && best.mountPoint.length > mount.mountPoint.length ? best : mount), undefined);
}
