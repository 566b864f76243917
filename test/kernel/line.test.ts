// What a raw log line is made of, whatever carried it.
import { describe, expect, it } from 'vitest';
import { parseLine } from '../../src/kernel/line.js';

const JULY = Date.UTC(2018, 6, 3, 14, 3, 22) / 1000;

describe('parseLine', () => {
  it.each([
    ['[   12.345678] text', { text: 'text', time: 12.345678, stamped: true, wall: false }],
    ['[ 12.345678] text', { text: 'text', time: 12.345678 }],
    ['[12345.678901]  func+0x1/0x2', { text: ' func+0x1/0x2', time: 12345.678901 }],
    ['<4>[    0.000000] text', { text: 'text', time: 0 }],
    ['[    1.000000][    T1] text', { text: 'text', time: 1, caller: 'T1' }],
    ['[    1.000000] [   C12] text', { text: 'text', caller: 'C12' }],
    ['> > [    1.000000] text', { text: 'text', time: 1, shown: '[    1.000000] text' }],
    ['>> | [    1.000000] text', { text: 'text', time: 1 }],
    ['[drm] text', { text: '[drm] text', stamped: false }],
    ['[mem 0x1-0x2] text', { text: '[mem 0x1-0x2] text', stamped: false }],
    ['\x1b[0;31m[    1.000000] text\x1b[0m\r', { text: 'text', time: 1, shown: '[    1.000000] text' }],
    ['pm1 login: [    1.000000] text', { text: 'text', time: 1, mixed: true }],
    ['** 3 printk messages dropped ** [    1.000000] text', { text: 'text', time: 1 }],
    ['[Tue Jul  3 14:03:22 2018] text', { text: 'text', time: JULY, wall: true }],
    ['[  +0.000012] text', { text: 'text', stamped: true }],
    ['2018-07-03T14:03:22,000000+02:00 text: more', { text: 'text: more', time: JULY - 7200, wall: true }],
    ['2018-07-03T14:03:22+0000 pm1 kernel: text', { text: 'text', time: JULY, user: false }],
    ['2018-07-03T14:03:22+0000 pm1 ndctl[12]: text', { text: 'text', user: true }],
    ['2018-07-03T14:03:22.1234567Z [    1.000000] text', { text: 'text', time: 1, wall: false }],
    ['Jul  3 14:03:22 pm1 kernel: text', { text: 'text', wall: true, user: false }],
    ['Jul  3 14:03:22 pm1 kernel: [    1.000000] text', { text: 'text', time: 1, wall: false, user: false }],
    ['Jul 03 14:03:22 pm1 systemd[1]: text', { text: 'text', user: true }],
    ['gen 04 18:01:34 D9330 kernel: text', { text: 'text', user: false }],
    ['[    1.000000] pm1 kernel: text', { text: 'text', time: 1, user: false }],
    ['[    1.000000] systemd[1]: text', { text: 'systemd[1]: text', user: true }],
    ['[    1.000000] foo[12]: segfault at 0', { user: false }],
    ['4,339,5140900,-;text', { text: 'text', time: 5.1409, user: false }],
    ['4,339,5140900,-,caller=C3;text', { text: 'text', caller: 'C3' }],
    ['30,339,5140900,-;systemd: text', { user: true }],
    ['kern  :warn  : [    1.000000] text', { text: 'text', time: 1, user: false }],
    ['daemon:info  : [    1.000000] text', { text: 'text', user: true }],
    ['1530626602.123456 pm1 kernel: text', { text: 'text', time: 1530626602.123456, wall: true }],
    ['{"MESSAGE":"text","_TRANSPORT":"kernel","_SOURCE_MONOTONIC_TIMESTAMP":"1500000"}', { text: 'text', time: 1.5, user: false }],
    ['{"MESSAGE":[116,101,120,116],"_TRANSPORT":"kernel","__REALTIME_TIMESTAMP":"1530626602000000"}', { text: 'text', wall: true }],
    ['{"MESSAGE":"text","_TRANSPORT":"journal"}', { text: 'text', user: true }],
    ['{broken json', { text: '{broken json', stamped: false }],
    ['text without anything', { text: 'text without anything', stamped: false, user: false }],
    ['', { text: '', stamped: false }],
  ])('%j', (raw, expected) => {
    expect(parseLine(raw)).toMatchObject(expected);
  });

  it('ends a line where another message begins in it', () => {
    expect(parseLine('[    1.000000] BUG: unable to handle[    1.000100] usb 1-1: new device')).toMatchObject({ text: 'BUG: unable to handle', merged: true });
    expect(parseLine('[    1.000000] text [mem 0x0-0x1]')).not.toHaveProperty('merged');
  });
});
