import { describe, expect, test } from '@jest/globals';
import { formatImages } from '../image-command.ts';
import { formatAge, formatTable, shortDigest } from '../terminal/table.ts';

describe('tables', () => {
  test('the image list', () => {
    const now = Date.parse('2026-01-02T12:00:00Z');
    const image = {
      ref: 'docker.io/library/python:3.12',
      digest: `sha256:${'0123456789abcdef'.repeat(4)}`,
      platform: 'linux/amd64',
      size_bytes: 2e9,
      disk_bytes: 1_023_000_000,
      warnings: [],
    };
    expect(
      formatImages(
        [
          { ...image, name: 'python-3.12', created_at: '2026-01-02T11:59:30Z' },
          { ...image, name: 'py', created_at: '2025-12-30T12:00:00Z' },
        ],
        now,
      ),
    ).toBe(
      [
        'NAME         REF                            SIZE    CREATED     DIGEST',
        'python-3.12  docker.io/library/python:3.12  1.0 GB  just now    0123456789ab',
        'py           docker.io/library/python:3.12  1.0 GB  3 days ago  0123456789ab',
        '',
      ].join('\n'),
    );
  });

  test('without rows there is the header', () => {
    expect(formatTable(['NAME', 'REF'], [])).toBe('NAME  REF\n');
  });

  test.each([
    [0, 'just now'],
    [59, 'just now'],
    [60, '1 minute ago'],
    [3599, '59 minutes ago'],
    [3600, '1 hour ago'],
    [86_400, '1 day ago'],
    [14 * 86_400, '2 weeks ago'],
    [60 * 86_400, '2 months ago'],
    [800 * 86_400, '2 years ago'],
    [-5, 'just now'],
  ])('%i seconds are %s', (seconds, text) => {
    expect(formatAge(1e12, 1e12 + seconds * 1000)).toBe(text);
  });

  test('a short digest', () => {
    expect(shortDigest('sha256:0123456789abcdef')).toBe('0123456789ab');
  });
});
