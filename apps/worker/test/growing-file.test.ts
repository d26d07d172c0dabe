import { describe, expect, test } from '@jest/globals';
import { GrowingFile } from '../image/growing-file.ts';

const MEGABYTE = 1024 * 1024;

describe('GrowingFile', () => {
  test('tells what is there at once, then in steps, and always the end', () => {
    const file = new GrowingFile(MEGABYTE);
    file.grown(1000);
    const heard: number[] = [];
    const stop = file.follow((bytes) => heard.push(bytes));
    file.grown(2000);
    file.grown(MEGABYTE / 2);
    file.grown(MEGABYTE / 2 + 1);
    file.grown(MEGABYTE - 1);
    file.grown(MEGABYTE);
    stop();
    file.grown(MEGABYTE);
    expect(heard).toEqual([1000, MEGABYTE / 2, MEGABYTE - 1, MEGABYTE]);
  });

  test('it is ahead while its reader has a megabyte to read, or it is whole', () => {
    const file = new GrowingFile(10 * MEGABYTE);
    let changes = 0;
    const unwatch = file.watch(() => changes++);
    expect(file.isAhead).toBe(false);
    file.grown(2 * MEGABYTE);
    expect(file.isAhead).toBe(true);
    file.readUpTo(1.5 * MEGABYTE);
    expect(file.isAhead).toBe(false);
    file.grown(10 * MEGABYTE);
    expect(file.isAhead).toBe(true);
    unwatch();
    file.readUpTo(10 * MEGABYTE);
    expect(file.isAhead).toBe(true);
    expect(changes).toBe(3);
  });

  test('one who comes after the end hears it', () => {
    const file = new GrowingFile(10);
    file.grown(10);
    const heard: number[] = [];
    file.follow((bytes) => heard.push(bytes));
    expect(heard).toEqual([10]);
  });

  test('a download that begins anew can be followed from its beginning', () => {
    const file = new GrowingFile(MEGABYTE);
    const heard: number[] = [];
    file.follow((bytes) => heard.push(bytes));
    file.grown(MEGABYTE / 2);
    file.grown(0);
    file.grown(MEGABYTE);
    expect(heard.at(-1)).toBe(MEGABYTE);
  });
});
