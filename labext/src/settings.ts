/** What the settings say about new clusters, as the form's fields. Pure function. */
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { IStartForm } from './startForm';

/** Read the settings of schema/panel.json; what is 0 or empty there is an empty field. */
export function readDefaults(settings: ReadonlyPartialJSONObject): Partial<IStartForm> {
  const number = (name: string): string => {
    const value = settings[name];
    return typeof value === 'number' && value > 0 ? String(value) : '';
  };
  const { memory, lifetime } = settings;
  return {
    workers: number('workers') || '1',
    cores: number('cores'),
    memory: typeof memory === 'string' ? memory : '',
    lifetime: lifetime === 'kernel' || lifetime === 'detached' ? lifetime : 'server',
    idleMinutes: number('idleMinutes')
  };
}
