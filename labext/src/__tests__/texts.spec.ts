import { attachAt, loadsMagics } from '../attach';
import { nullTranslator } from '@jupyterlab/translation';
import { formatBytes, formatCount, parseBytes } from '../format';
import { runningText } from '../words';

function apply(source: string, cursor: number, isLoaded = true): string {
  const { offset, text } = attachAt(source, cursor, 'one', isLoaded);
  return source.slice(0, offset) + text + source.slice(offset);
}

test('an empty cell gets the magic, and what loads it where that is missing', () => {
  expect(apply('', 0)).toBe('%cluster attach one');
  expect(apply('', 0, false)).toBe('%load_ext cellspan\n%cluster attach one');
});

test('the magic gets lines of its own', () => {
  expect(apply('x = 1', 5)).toBe('x = 1\n%cluster attach one');
  expect(apply('x = 1', 0)).toBe('%cluster attach one\nx = 1');
  expect(apply('ab', 1)).toBe('a\n%cluster attach one\nb');
  expect(apply('a\n\nb', 2)).toBe('a\n%cluster attach one\nb');
  expect(apply('a\nb', 1)).toBe('a\n%cluster attach one\nb');
});

test('the magic is not indented', () => {
  expect(apply('if x:\n    ', 10)).toBe('if x:\n%cluster attach one    ');
});

test('cells that load the magics are seen', () => {
  expect(loadsMagics(['x', '  %load_ext cellspan  \ny'])).toBe(true);
  expect(loadsMagics(['%reload_ext cellspan'])).toBe(true);
  expect(loadsMagics(['# %load_ext cellspan', '%load_ext cellspan2'])).toBe(false);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1 kB'],
  [1234, '1.2 kB'],
  [12_345_678, '12 MB'],
  [999_999_999, '1 GB'],
  [8e9, '8 GB'],
  [25_276_502_016, '25 GB'],
  [5e15, '5000 TB']
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  ['4 GB', 4e9],
  ['4', 4e9],
  ['512m', 512e6],
  ['1.5GiB', 1.5 * 2 ** 30],
  [' .5 tb ', 5e11],
  ['0', 0]
])('%j is a size', (text, bytes) => {
  expect(parseBytes(text)).toBe(bytes);
});

test.each(['', 'GB', '-1 GB', '1 2', '1 XB', '1e9', 'NaN'])('%j is no size', text => {
  expect(parseBytes(text)).toBeNull();
});

test.each([
  [0, '0'],
  [12_034, '12,034'],
  [123_456, '123 k'],
  [999_999, '999 k'],
  [1_259_999, '1.25 M']
])('%d tasks are %s', (count, text) => {
  expect(formatCount(count)).toBe(text);
});

test('one task runs, two tasks run', () => {
  const trans = nullTranslator.load('cellspan');
  expect(runningText(1, trans)).toBe('1 task running');
  expect(runningText(2, trans)).toBe('2 tasks running');
});
