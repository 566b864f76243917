import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { ndRegions } from '../../src/device/nd.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-nd-'));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

function device(name: string, attributes: Record<string, string>, block?: string): void {
  fs.mkdirSync(path.join(root, name, ...(block === undefined ? [] : ['block', block])), { recursive: true });
  for (const [attribute, value] of Object.entries(attributes)) fs.writeFileSync(path.join(root, name, attribute), `${value}\n`);
}

it('orders regions by number, gives each its own namespaces, and leaves seeds out', () => {
  device('ndbus0', {});
  device('region10', { size: '536870912', resource: '0x160000000' });
  device('region1', { size: '1073741824', resource: '0x100000000' });
  device('namespace1.0', { size: '1073741824', mode: 'memory', holder: '' }, 'pmem1');
  device('namespace10.1', { size: '0', mode: 'raw', holder: '' });
  device('namespace10.0', { size: '536870912', mode: 'dax', holder: 'dax10.0' });
  device('pfn1.0', { mode: 'none' });
  expect(ndRegions(root)).toEqual([
    { dev: 'region1', size: 2 ** 30, resource: 2 ** 32, namespaces: [{ dev: 'namespace1.0', size: 2 ** 30, mode: 'memory', holder: '', blockdev: 'pmem1' }] },
    { dev: 'region10', size: 2 ** 29, resource: 0x160000000, namespaces: [{ dev: 'namespace10.0', size: 2 ** 29, mode: 'dax', holder: 'dax10.0', blockdev: undefined }] },
  ]);
  expect(ndRegions(path.join(root, 'absent'))).toEqual([]);
});
