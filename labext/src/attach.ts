/**
 * Where `%cluster attach NAME` goes in a notebook. Pure functions on texts: the command applies what
 * they return.
 */

const LOAD = '%load_ext cellspan';

/** Text to insert into a cell's source at an offset. */
export interface IInsertion {
  readonly offset: number;
  readonly text: string;
}

/** Whether one of these cells loads the magics. */
export function loadsMagics(sources: readonly string[]): boolean {
  return sources.some(source => /^\s*%(load|reload)_ext\s+cellspan\s*$/m.test(source));
}

/**
 * What attaches a cluster, put at the cursor. A magic needs lines of its own: where there is text
 * before or behind the cursor, line breaks go between.
 */
export function attachAt(
  source: string,
  cursor: number,
  cluster: string,
  isLoaded: boolean
): IInsertion {
  const lines = [...(isLoaded ? [] : [LOAD]), `%cluster attach ${cluster}`].join('\n');
  const before = source.slice(source.lastIndexOf('\n', cursor - 1) + 1, cursor);
  const after = source.slice(cursor).split('\n', 1)[0] ?? '';
  const head = before.trim() ? '\n' : '';
  const tail = after.trim() ? '\n' : '';
  // On a blank line its indentation goes behind the magic, which must not be indented.
  const offset = head ? cursor : cursor - before.length;
  return { offset, text: `${head}${lines}${tail}` };
}
