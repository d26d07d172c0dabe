import { describe, expect, test } from '@jest/globals';
import { platformDistance } from '../image/platform.ts';
import { formatPlatform, hostPlatform, OciError, parsePlatform } from '../index.ts';

describe('parsePlatform', () => {
  test.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64', 'linux/arm64'],
    ['linux/aarch64', 'linux/arm64'],
    ['Linux/X86_64', 'linux/amd64'],
    ['amd64', 'linux/amd64'],
    ['arm64', 'linux/arm64'],
    ['x86_64', 'linux/amd64'],
    ['x86-64', 'linux/amd64'],
    ['x64', 'linux/amd64'],
    ['i386', 'linux/386'],
    ['ia32', 'linux/386'],
    ['armhf', 'linux/arm/v7'],
    ['armel', 'linux/arm/v6'],
    ['s390x', 'linux/s390x'],
    ['linux/arm/v7', 'linux/arm/v7'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/riscv64', 'linux/riscv64'],
    ['linux', formatPlatform(hostPlatform())],
  ])('%s is %s', (text, expected) => {
    expect(formatPlatform(parsePlatform(text))).toBe(expected);
  });

  test.each([
    '',
    '/',
    'linux/',
    'linux/amd64/v1/x',
    'linux//v7',
    'linux/a b',
    'linux/../etc',
    'foo',
    'windows',
    'adm64',
  ])('refuses %j', (text) => {
    expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'invalid_platform' }));
    expect(() => parsePlatform(text)).toThrow('write it as os/architecture[/variant], such as linux/amd64');
  });

  test('systems other than linux are refused by name', () => {
    expect(() => parsePlatform('windows/amd64')).toThrow(OciError);
    expect(() => parsePlatform('windows/amd64')).toThrow('only images for linux');
  });
});

describe('platformDistance', () => {
  const distance = (wanted: string, offered: string) => platformDistance(parsePlatform(wanted), parsePlatform(offered));

  test.each([
    ['linux/amd64', 'linux/amd64', 0],
    ['linux/arm64', 'linux/arm64/v8', 0],
    ['linux/arm/v7', 'linux/arm/v6', 1],
    ['linux/arm/v7', 'linux/arm/v5', 2],
    ['linux/amd64/v3', 'linux/amd64', 2],
    ['linux/arm/v6', 'linux/arm/v7', undefined],
    ['linux/amd64', 'linux/amd64/v2', undefined],
    ['linux/amd64', 'linux/arm64', undefined],
    ['linux/arm/v7', 'linux/arm/weird', undefined],
    ['linux/riscv64/rva22u64', 'linux/riscv64/rva22u64', 0],
    ['linux/ppc64le/power8', 'linux/ppc64le/power9', undefined],
  ])('%s runs %s at distance %s', (wanted, offered, expected) => {
    expect(distance(wanted, offered)).toBe(expected);
  });
});
