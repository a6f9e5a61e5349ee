/**
 * The border to the server extension: JSON with underscores out there, our types in here; HTTP errors
 * become `ApiError`. Nobody else makes requests or knows the routes.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { ICluster, ILogEntry, IStartRequest, IViewInfo, ViewColumns } from './tokens';

/** A request that was not carried out. The message is a sentence for people. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The HTTP status, or 0 when the server could not be reached. */
    readonly status: number,
    /** What is wrong with single fields of the request, by their name in `IStartRequest`. */
    readonly fields: Readonly<Record<string, string>> = {}
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

/** A cluster as the server writes it. */
interface IClusterJson {
  name: string;
  id: string | null;
  state: ICluster['state'];
  reason: string | null;
  workers: number;
  wanted: number;
  cores: number | null;
  slots: number;
  memory_bytes: number;
  memory_limit_bytes: number;
  tasks: ICluster['tasks'];
  lifetime: ICluster['lifetime'];
  idle_timeout_s: number | null;
  interpreter: string | null;
  answers: boolean;
}

const FIELD_NAMES: Readonly<Record<string, string>> = {
  memory_bytes: 'memoryBytes',
  idle_timeout_s: 'idleTimeoutS',
  kernel_name: 'kernelName',
  kernel_id: 'kernelId'
};

function toCluster(json: IClusterJson): ICluster {
  return {
    name: json.name,
    id: json.id,
    state: json.state,
    reason: json.reason,
    workers: json.workers,
    wanted: json.wanted,
    cores: json.cores,
    slots: json.slots,
    memoryBytes: json.memory_bytes,
    memoryLimitBytes: json.memory_limit_bytes,
    tasks: json.tasks,
    lifetime: json.lifetime,
    idleTimeoutS: json.idle_timeout_s,
    interpreter: json.interpreter,
    answers: json.answers
  };
}

/** What the events socket says, or null for a message of another kind. */
export function readClusters(message: unknown): ICluster[] | null {
  const json = message as { type?: string; clusters?: IClusterJson[] };
  return json.type === 'clusters' && json.clusters ? json.clusters.map(toCluster) : null;
}

/** The columns by view that a watch socket says, or null for a message of another kind. */
export function readColumns(message: unknown): Record<string, ViewColumns> | null {
  const json = message as { type?: string; views?: Record<string, ViewColumns> };
  return json.type === 'snapshot' && json.views ? json.views : null;
}

/** The path of the socket that pushes the list. */
export const EVENTS_PATH = 'cellspan/events';

/** The path of the socket that pushes the columns of a cluster's views. */
export function watchPath(cluster: string): string {
  return `cellspan/clusters/${encodeURIComponent(cluster)}/watch`;
}

export class ClusterApi {
  constructor(readonly settings: ServerConnection.ISettings) {}

  async list(): Promise<ICluster[]> {
    return (await this.request<IClusterJson[]>('GET', 'clusters')).map(toCluster);
  }

  /** Returns when the start has begun. */
  async start(request: IStartRequest): Promise<ICluster> {
    const json = await this.request<IClusterJson>('POST', 'clusters', {
      name: request.name,
      workers: request.workers,
      cores: request.cores,
      memory_bytes: request.memoryBytes,
      lifetime: request.lifetime,
      idle_timeout_s: request.idleTimeoutS,
      kernel_name: request.kernelName,
      kernel_id: request.kernelId
    });
    return toCluster(json);
  }

  async scale(name: string, workers: number): Promise<ICluster> {
    return toCluster(await this.request<IClusterJson>('PATCH', clusterPath(name), { workers }));
  }

  /** Returns when the cluster is stopped. */
  async stop(name: string): Promise<void> {
    await this.request<null>('DELETE', clusterPath(name));
  }

  async logs(name: string, source: string | null, lines: number): Promise<ILogEntry[]> {
    const query = URLExt.objectToQueryString({ lines, ...(source === null ? {} : { source }) });
    const { entries } = await this.request<{
      entries: [string, ILogEntry['stream'], number, string][];
    }>('GET', `${clusterPath(name)}/logs${query}`);
    return entries.map(([from, stream, time, text]) => ({ source: from, stream, time, text }));
  }

  views(): Promise<IViewInfo[]> {
    return this.request<IViewInfo[]>('GET', 'views');
  }

  viewItem(view: string): Promise<unknown> {
    return this.request<unknown>('GET', `views/${encodeURIComponent(view)}`);
  }

  private async request<T>(method: string, path: string, body?: object): Promise<T> {
    // Joined by hand: URLExt.join would encode what is encoded already.
    const url = `${this.settings.baseUrl}cellspan/${path}`;
    const init: RequestInit = { method, ...(body ? { body: JSON.stringify(body) } : {}) };
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(url, init, this.settings);
    } catch (reason) {
      throw new ApiError(`The Jupyter server does not answer. ${messageOf(reason)}`, 0);
    }
    const text = await response.text();
    if (!response.ok) {
      throw toError(response, text);
    }
    return (text ? JSON.parse(text) : null) as T;
  }
}

function clusterPath(name: string): string {
  return `clusters/${encodeURIComponent(name)}`;
}

function toError(response: Response, text: string): ApiError {
  let json: { message?: string; fields?: Record<string, string> } = {};
  try {
    json = JSON.parse(text) as typeof json;
  } catch {
    // A proxy's page: its status has to say it.
  }
  const message = json.message ?? `The server answered ${response.status} ${response.statusText}.`;
  const fields = Object.entries(json.fields ?? {}).map(([name, wrong]): [string, string] => [
    FIELD_NAMES[name] ?? name,
    wrong
  ]);
  return new ApiError(message, response.status, Object.fromEntries(fields));
}

/** What to show for something that was thrown. */
export function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
