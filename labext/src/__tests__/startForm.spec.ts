import { nullTranslator } from '@jupyterlab/translation';
import { checkForm, freeName, type IStartForm, parseWorkers } from '../startForm';
import { readDefaults } from '../settings';

const trans = nullTranslator.load('cellspan');

const FORM: IStartForm = {
  name: 'one',
  workers: '2',
  cores: '',
  memory: '',
  lifetime: 'server',
  idleMinutes: '',
  kernelName: 'python3'
};

function check(change: Partial<IStartForm>, taken: string[] = [], kernelId: string | null = null) {
  return checkForm({ ...FORM, ...change }, taken, kernelId, trans);
}

test('what is left empty is left to the server', () => {
  expect(check({})).toEqual({
    errors: {},
    request: {
      name: 'one',
      workers: 2,
      cores: null,
      memoryBytes: null,
      lifetime: 'server',
      idleTimeoutS: null,
      kernelName: 'python3',
      kernelId: null
    }
  });
});

test('what is typed is understood', () => {
  const { request } = check({
    name: ' a.b-c_1 ',
    workers: ' 12 ',
    cores: '4',
    memory: '1.5 GiB',
    lifetime: 'detached',
    idleMinutes: '0.5',
    kernelName: ''
  });
  expect(request).toEqual({
    name: 'a.b-c_1',
    workers: 12,
    cores: 4,
    memoryBytes: 1.5 * 2 ** 30,
    lifetime: 'detached',
    idleTimeoutS: 30,
    kernelName: null,
    kernelId: null
  });
});

test.each<[keyof IStartForm, string]>([
  ['name', ''],
  ['name', '  '],
  ['name', 'my cluster'],
  ['name', '-one'],
  ['name', '../one'],
  ['name', 'x'.repeat(64)],
  ['name', 'taken'],
  ['workers', ''],
  ['workers', '0'],
  ['workers', '-1'],
  ['workers', '1.5'],
  ['workers', 'two'],
  ['workers', '1e3'],
  ['workers', '1001'],
  ['cores', '0'],
  ['cores', '-2'],
  ['cores', '0.5'],
  ['cores', 'all'],
  ['memory', 'plenty'],
  ['memory', '-4 GB'],
  ['memory', '1 kB'],
  ['memory', '4 XB']
])('%s %j is refused with a sentence', (field, value) => {
  const { request, errors } = check({ [field]: value }, ['taken']);
  expect(request).toBeNull();
  expect(Object.keys(errors)).toEqual([field]);
  expect(errors[field]).toMatch(/\.$/);
});

test('all that is wrong is said at once', () => {
  expect(Object.keys(check({ name: '', workers: '0', cores: 'x', memory: 'x' }).errors)).toEqual([
    'name',
    'workers',
    'cores',
    'memory'
  ]);
});

test('idle minutes matter to detached clusters only', () => {
  expect(check({ idleMinutes: '-1' }).errors).toEqual({});
  expect(check({ idleMinutes: '-1', lifetime: 'detached' }).errors.idleMinutes).toBeDefined();
  expect(check({ idleMinutes: 'x', lifetime: 'detached' }).errors.idleMinutes).toBeDefined();
  expect(check({ lifetime: 'detached' }).request?.idleTimeoutS).toBeNull();
});

test('a cluster can end with a kernel only if there is one', () => {
  expect(check({ lifetime: 'kernel' }).errors.lifetime).toBeDefined();
  expect(check({ lifetime: 'kernel' }, [], 'the kernel').request?.kernelId).toBe('the kernel');
  expect(check({}, [], 'the kernel').request?.kernelId).toBeNull();
});

test('free names', () => {
  expect(freeName([])).toBe('local');
  expect(freeName(['local', 'local-2', 'other'])).toBe('local-3');
});

test('workers for the stepper', () => {
  expect(parseWorkers('3', trans)).toBe(3);
  expect(parseWorkers('0', trans)).toBe('A cluster has at least 1 worker.');
});

test('settings fill the form', () => {
  expect(readDefaults({ workers: 3, cores: 0, memory: '2 GB', lifetime: 'detached' })).toEqual({
    workers: '3',
    cores: '',
    memory: '2 GB',
    lifetime: 'detached',
    idleMinutes: ''
  });
  expect(readDefaults({ lifetime: 'nonsense' })).toMatchObject({
    workers: '1',
    lifetime: 'server'
  });
});
