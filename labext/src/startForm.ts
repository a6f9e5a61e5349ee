/**
 * The form for a new cluster, without its looks: what was typed in, and whether it means a cluster.
 * Pure functions; the texts are those that stand beside the fields.
 */
import { parseBytes } from './format';
import type { IStartRequest, Lifetime, Translations } from './tokens';

/** What the fields hold, as typed. */
export interface IStartForm {
  readonly name: string;
  readonly workers: string;
  readonly cores: string;
  readonly memory: string;
  readonly lifetime: Lifetime;
  readonly idleMinutes: string;
  readonly kernelName: string;
}

export type FormErrors = Readonly<Partial<Record<keyof IStartForm, string>>>;

export interface IChecked {
  /** Null while there are errors. */
  readonly request: IStartRequest | null;
  readonly errors: FormErrors;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const MOST_WORKERS = 1_000;
const MOST_CORES = 4_096;
const LEAST_MEMORY_BYTES = 64 * 2 ** 20;

/** The first name of 'local', 'local-2', ... that is free. */
export function freeName(taken: readonly string[]): string {
  let name = 'local';
  for (let number = 2; taken.includes(name); number++) {
    name = `local-${number}`;
  }
  return name;
}

/** The number of workers that a text means, or why it means none. */
export function parseWorkers(text: string, trans: Translations): number | string {
  const workers = wholeNumber(text);
  if (workers === null) {
    return trans.__('Enter a whole number of workers.');
  }
  if (workers < 1) {
    return trans.__('A cluster has at least 1 worker.');
  }
  return workers > MOST_WORKERS ? trans.__('At most 1,000 workers.') : workers;
}

/**
 * Check a form. `taken` are the names in use; `kernelId` the kernel of the active notebook, with which
 * a cluster of lifetime 'kernel' ends.
 */
export function checkForm(
  form: IStartForm,
  taken: readonly string[],
  kernelId: string | null,
  trans: Translations
): IChecked {
  const errors: Partial<Record<keyof IStartForm, string>> = {};
  const name = form.name.trim();
  if (!NAME.test(name)) {
    errors.name = name
      ? trans.__("Use letters, digits, '-', '_' and '.' only, and begin with a letter or digit.")
      : trans.__('Give the cluster a name.');
  } else if (taken.includes(name)) {
    errors.name = trans.__('There is a cluster named “%1” already.', name);
  }
  const workers = parseWorkers(form.workers, trans);
  if (typeof workers === 'string') {
    errors.workers = workers;
  }
  const cores = form.cores.trim() ? wholeNumber(form.cores) : undefined;
  if (cores === null || (cores !== undefined && (cores < 1 || cores > MOST_CORES))) {
    errors.cores = trans.__('Enter 1 to 4,096 cores, or leave it empty for all.');
  }
  const memory = form.memory.trim() ? parseBytes(form.memory) : undefined;
  if (memory === null) {
    errors.memory = trans.__('Enter a size such as 4 GB, or leave it empty for all.');
  } else if (memory !== undefined && memory < LEAST_MEMORY_BYTES) {
    errors.memory = trans.__('A worker needs at least 64 MiB.');
  }
  const idle = form.idleMinutes.trim() ? Number(form.idleMinutes) : null;
  if (form.lifetime === 'detached' && idle !== null && !(idle > 0 && Number.isFinite(idle))) {
    errors.idleMinutes = trans.__('Enter minutes above 0, or leave it empty for an hour.');
  }
  if (form.lifetime === 'kernel' && kernelId === null) {
    errors.lifetime = trans.__('Open a notebook with a running kernel for this.');
  }
  if (Object.keys(errors).length > 0 || typeof workers === 'string') {
    return { request: null, errors };
  }
  return {
    errors,
    request: {
      name,
      workers,
      cores: cores ?? null,
      memoryBytes: memory ?? null,
      lifetime: form.lifetime,
      idleTimeoutS: form.lifetime === 'detached' && idle !== null ? idle * 60 : null,
      kernelName: form.kernelName || null,
      kernelId: form.lifetime === 'kernel' ? kernelId : null
    }
  };
}

/** Where the server's word for a field of a request stands in the form. */
export const FORM_FIELD: Readonly<Partial<Record<string, keyof IStartForm>>> = {
  name: 'name',
  workers: 'workers',
  cores: 'cores',
  memoryBytes: 'memory',
  lifetime: 'lifetime',
  idleTimeoutS: 'idleMinutes',
  kernelName: 'kernelName',
  kernelId: 'lifetime'
};

function wholeNumber(text: string): number | null {
  return /^\s*[-+]?\d{1,9}\s*$/.test(text) ? Number(text) : null;
}
