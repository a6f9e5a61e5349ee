import { ApiError, ClusterApi, readClusters, readColumns } from '../clusterApi';
import type { IStartRequest } from '../tokens';
import { clusterJson, FakeServer } from './support/server';

const REQUEST: IStartRequest = {
  name: 'one',
  workers: 2,
  cores: 3,
  memoryBytes: 4e9,
  lifetime: 'detached',
  idleTimeoutS: 60,
  kernelName: 'python3',
  kernelId: null
};

let server: FakeServer;
let api: ClusterApi;

beforeEach(() => {
  server = new FakeServer();
  api = new ClusterApi(server.settings);
});

test('the list comes in our own words', async () => {
  server.answers.set('GET clusters', { json: [clusterJson('one', { memory_bytes: 7 })] });
  const [cluster] = await api.list();
  expect(cluster).toMatchObject({ name: 'one', memoryBytes: 7, memoryLimitBytes: 100 });
  expect(JSON.stringify(cluster)).not.toContain('_');
});

test('a start is asked for in the words of the server', async () => {
  server.answers.set('POST clusters', { status: 202, json: clusterJson('one') });
  await api.start(REQUEST);
  expect(server.requests[0]?.body).toEqual({
    name: 'one',
    workers: 2,
    cores: 3,
    memory_bytes: 4e9,
    lifetime: 'detached',
    idle_timeout_s: 60,
    kernel_name: 'python3',
    kernel_id: null
  });
});

test('names are encoded once', async () => {
  server.answers.set('DELETE clusters/a%20b%2Fc', { status: 204 });
  await expect(api.stop('a b/c')).resolves.toBeUndefined();
});

test('a refusal carries its text, status and fields', async () => {
  const fields = { memory_bytes: 'too small', workers: 'too few' };
  server.answers.set('POST clusters', { status: 400, json: { message: 'No.', fields } });
  const error: unknown = await api.start(REQUEST).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ApiError);
  expect(error).toMatchObject({
    message: 'No.',
    status: 400,
    fields: { memoryBytes: 'too small', workers: 'too few' }
  });
});

test('the page of a proxy becomes a sentence', async () => {
  server.answers.set('GET clusters', { status: 502, text: '<html>Bad gateway</html>' });
  await expect(api.list()).rejects.toMatchObject({
    status: 502,
    message: expect.stringContaining('502') as string
  });
});

test('a server that is gone becomes a sentence', async () => {
  await expect(api.list()).rejects.toMatchObject({
    status: 0,
    message: expect.stringContaining('does not answer') as string
  });
});

test('log lines are named', async () => {
  server.answers.set('GET clusters/one/logs', {
    json: { entries: [['worker-1', 'stderr', 12.5, 'oh']] }
  });
  await expect(api.logs('one', null, 10)).resolves.toEqual([
    { source: 'worker-1', stream: 'stderr', time: 12.5, text: 'oh' }
  ]);
});

test('messages of other kinds are no lists and no columns', () => {
  expect(readClusters({ type: 'other' })).toBeNull();
  expect(readColumns({ type: 'error', message: 'x' })).toBeNull();
  expect(readClusters({ type: 'clusters', clusters: [] })).toEqual([]);
});
