/** Numbers as people read them, and back. Pure functions. */

const UNITS: Readonly<Record<string, number>> = {
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40
};

/** '1.2 GB', '35 MB': as many digits as tell something, in decimal units. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (value < 999.5 || unit === 'TB') {
      return `${Number(value.toFixed(value < 9.95 ? 1 : 0))} ${unit}`;
    }
    value /= 1000;
  }
  return '';
}

/** '4 GB', '1.5GiB', '512m' in bytes; null for what is no size. A bare number is in GB. */
export function parseBytes(text: string): number | null {
  const match = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]i?)?b?\s*$/i.exec(text);
  if (!match) {
    return null;
  }
  return Math.round(Number(match[1]) * UNITS[(match[2] || 'g').toLowerCase()]);
}

/** '950', '12,034', '1.25 M': at most six characters or so. */
export function formatCount(count: number): string {
  if (count < 100_000) {
    return count.toLocaleString('en');
  }
  return count < 1e6
    ? `${Math.floor(count / 1e3)} k`
    : `${(Math.floor(count / 1e4) / 100).toFixed(2)} M`;
}
