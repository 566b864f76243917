// Configuration preflight: capabilities, what is missing and what that needs, by version; a hash that names a configuration.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CAPABILITIES, checkKconfig, kconfigHash, kconfigVersion, parseKconfig, type CapabilityCheck } from '../../src/kernel/kconfig.js';

const read = (name: string): string => readFileSync(new URL(`../fixtures/kconfig/${name}`, import.meta.url), 'utf8');
const check = (name: string, version?: string): Map<string, CapabilityCheck> =>
  new Map(checkKconfig(parseKconfig(read(name)), version === undefined ? {} : { version }).map((result) => [result.capability, result]));

describe('parseKconfig', () => {
  it('reads values, strings and what is not set', () => {
    const config = parseKconfig('# Linux/x86 6.1.192 Kernel Configuration\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="text"\nCONFIG_E=0x10\nCONFIG_F=n\n  CONFIG_G=y\r\n');
    expect([...config]).toEqual([['A', 'y'], ['B', 'm'], ['D', 'text'], ['E', '0x10'], ['G', 'y']]);
    expect(kconfigVersion(read('full-6.1'))).toBe('6.1.0');
    expect(kconfigVersion('CONFIG_A=y')).toBeUndefined();
  });
});

describe('checkKconfig', () => {
  it('is content with a configuration that has everything', () => {
    const results = [...check('full-6.1', '6.1').values()];
    expect(results.filter(({ ok, debug }) => !ok && debug !== true)).toEqual([]);
    expect(results.find(({ capability }) => capability === 'devdax')!.modules).toEqual(['DEV_DAX', 'DEV_DAX_PMEM']);
  });

  it('names ZONE_DEVICE and what it depends on', () => {
    const results = check('no-zone-device-4.17', '4.17');
    const dax = results.get('dax')!;
    expect(dax.ok).toBe(false);
    expect(dax.missing.map(({ option }) => option)).toEqual(['ZONE_DEVICE', 'MEMORY_HOTPLUG', 'MEMORY_HOTREMOVE', 'FS_DAX_PMD']);
    expect(dax.missing[0]).toMatchObject({ option: 'ZONE_DEVICE', needs: ['MEMORY_HOTPLUG', 'MEMORY_HOTREMOVE'], why: expect.stringContaining('without DAX') });
    // What stands on it lacks it too.
    expect(results.get('fsdax-xfs')!.missing.map(({ option }) => option)).toContain('ZONE_DEVICE');
    expect(results.get('memory-failure')!.ok).toBe(true);
  });

  it('says what cloud kernels lack', () => {
    const results = check('cloud-6.1', '6.1');
    expect(results.get('memory-failure')).toMatchObject({ ok: false, missing: [{ option: 'MEMORY_FAILURE', why: expect.stringContaining('MADV_HWPOISON') }] });
    expect(results.get('hwpoison-inject')!.missing.map(({ option }) => option)).toEqual(['MEMORY_FAILURE', 'HWPOISON_INJECT']);
    expect(results.get('dax')!.ok).toBe(true);
  });

  it('asks of a version only what it has', () => {
    const bare = checkKconfig(parseKconfig('CONFIG_FS_DAX=y\n'), { version: '4.4' }).find(({ capability }) => capability === 'kmem')!;
    expect(bare.missing.map(({ option }) => option)).not.toContain('DEV_DAX_KMEM');
    const modern = checkKconfig(parseKconfig('CONFIG_FS_DAX=y\n'), { version: '5.1' }).find(({ capability }) => capability === 'kmem')!;
    expect(modern.missing.map(({ option }) => option)).toContain('DEV_DAX_KMEM');
  });

  it('knows renamed options, and that a console as a module comes too late', () => {
    const option = (text: string, capability: string): string[] =>
      checkKconfig(parseKconfig(text)).find((result) => result.capability === capability)!.missing.map((missing) => missing.option);
    expect(option('CONFIG_LOCKUP_DETECTOR=y\nCONFIG_DETECT_HUNG_TASK=y', 'hang-detection')).toEqual([]);
    expect(option('CONFIG_SERIAL_8250=m\nCONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_PRINTK=y\nCONFIG_PRINTK_TIME=y', 'serial-console')).toEqual(['SERIAL_8250']);
  });

  it('builds only on capabilities that come before', () => {
    const seen = new Set<string>();
    for (const { name, builtOn = [] } of CAPABILITIES) {
      for (const below of builtOn) expect(seen, `${name} on ${below}`).toContain(below);
      expect(seen).not.toContain(name);
      seen.add(name);
    }
  });
});

describe('kconfigHash', () => {
  it('depends on the options alone', () => {
    const hash = kconfigHash(parseKconfig('CONFIG_A=y\nCONFIG_B=m\n'));
    expect(hash).toMatch(/^[0-9a-f]{32}$/);
    expect(kconfigHash(parseKconfig('# comment\nCONFIG_B=m\n\n# CONFIG_C is not set\nCONFIG_A=y\nCONFIG_CC_VERSION_TEXT="gcc"\n'))).toBe(hash);
    expect(kconfigHash(parseKconfig('CONFIG_A=y\nCONFIG_B=y\n'))).not.toBe(hash);
    expect(kconfigHash(parseKconfig(''))).not.toBe(hash);
  });
});
